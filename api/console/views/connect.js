/**
 * Adding an account: its address, the servers found for it, a check, and it is stored.
 * @module
 */

import { AccountFields } from "../account-form.js";
import { get, post, withQuery } from "../api.js";
import { element } from "../dom.js";
import { Form, textField } from "../form.js";
import { isOfSignIn } from "../health.js";
import { notify } from "../notice.js";
import { go } from "../router.js";
import { Verdicts } from "../verdicts.js";
import { button, callout, skeleton } from "../widgets.js";

const SOURCES = {
  autoconfig: "Published by the domain itself",
  provider: "Known for this provider",
  srv: "Named in the domain's DNS",
  probe: "Answers at its usual name",
};
const REMOTES = "/api/v2/identities/remotes";

export default function view(page) {
  page.entitle("Add an account", { back: ["#/identities", "Identities"] });
  const details = element("div");
  const address = textField("Mail address", {
    name: "identifier",
    type: "email",
    inputmode: "email",
    autocomplete: "email",
    required: true,
    placeholder: "you@example.org",
  });
  const byHand = button(
    "Enter servers by hand",
    () =>
      form.run(async () => {
        details.replaceChildren(new Account(page, address.value.trim(), []).node);
      }, byHand),
    { kind: "quiet" },
  );
  const form = new Form({
    fields: [address],
    content: address.node,
    words: "Find its servers",
    beside: [byHand],
    submit: async () => {
      details.replaceChildren(searching(address.value.trim()));
      const proposals = await found(address.value.trim(), page.signal).catch((problem) => {
        details.replaceChildren();
        throw problem;
      });
      const account = new Account(page, address.value.trim(), proposals);
      details.replaceChildren(account.node);
      account.start();
    },
  });
  page.render(element("div", { class: "card" }, form.node), details);
  address.focus();
}

async function found(identifier, signal) {
  return (await post("/api/v2/identities/discover", { identifier }, { signal })).proposals;
}

function searching(address) {
  const domain = address.slice(address.lastIndexOf("@") + 1);
  return element(
    "div",
    { class: "stack" },
    element("p", { role: "status", class: "quiet-text" }, `Looking for the servers of ${domain}…`),
    skeleton("form-shape"),
  );
}

/** The second step: what was found, to be corrected, checked and stored. */
class Account {
  constructor(page, identifier, proposals) {
    this.page = page;
    this.identifier = identifier;
    this.fields = new AccountFields({ isNew: true });
    this.verdicts = new Verdicts();
    this.remark = element("div");
    this.anyway = button("Save anyway", () => this.form.run(() => this.store(), this.anyway), { hidden: true });
    this.form = new Form({
      fields: this.fields.fields,
      content: [proposals.length > 1 && this.choice(proposals), this.remark, this.fields.node, this.verdicts.node],
      words: "Check and save",
      beside: [this.anyway],
      submit: () => this.checkAndStore(),
    });
    this.node = element("section", { class: "card", "aria-label": `Settings of ${identifier}` }, this.form.node);
    this.fields.username.value = identifier;
    if (proposals.length > 0) this.take(proposals[0]);
    else
      this.remark.replaceChildren(
        callout(
          "warn",
          "No servers were found",
          element("span", {}, "Enter them by hand. The help pages of your provider name them."),
        ),
      );
  }

  /** Put the focus on what is left to fill in. */
  start() {
    const left = [this.fields.outgoing.host, this.fields.password, this.fields.token];
    left.find((field) => !field.value && !field.node.hidden)?.focus();
  }

  choice(proposals) {
    const options = proposals.map((proposal, index) =>
      element(
        "label",
        { class: "option" },
        element("input", {
          type: "radio",
          name: "proposal",
          checked: index === 0,
          onchange: () => this.take(proposal),
        }),
        element(
          "span",
          { class: "option-text" },
          element("strong", {}, servers(proposal)),
          element("span", {}, SOURCES[proposal.source]),
        ),
      ),
    );
    return element(
      "fieldset",
      { class: "fieldset" },
      element("legend", {}, "These were found, the best first"),
      element("div", { class: "options" }, options),
    );
  }

  take(proposal) {
    this.fields.fill(proposal);
    this.verdicts.hide();
    this.remark.replaceChildren(...remarks(proposal));
  }

  get servers() {
    return this.fields.protocol.value === "imap" ? ["inserver", "outserver"] : ["outserver"];
  }

  async checkAndStore() {
    this.verdicts.ask(this.servers);
    try {
      await this.store({ verify: true });
    } catch (problem) {
      if (problem.status !== 424) {
        this.verdicts.hide();
        throw problem;
      }
      this.refused(problem.errors);
    }
  }

  /** Show what each server said; a refused sign-in stands at the field of the password too. */
  refused(errors) {
    const failures = Object.fromEntries(
      Object.entries(errors).map(([server, sentences]) => [server, sentences.join(" ")]),
    );
    this.verdicts.tell(this.servers, failures);
    this.anyway.hidden = false;
    const ofSignIn = Object.values(failures).find(isOfSignIn);
    if (ofSignIn) this.fields.failSignIn(ofSignIn);
    else this.verdicts.node.scrollIntoView({ block: "nearest" });
  }

  async store({ verify = false } = {}) {
    const path = withQuery(REMOTES, verify ? { verify: "true" } : {});
    const { identity_id: id } = await post(path, this.body);
    if (verify) this.verdicts.tell(this.servers, {});
    const stored = await get(`${REMOTES}/${id}`);
    notify(
      verify ? `${stored.identifier} works and is saved.` : `${stored.identifier} is saved. It is checked now.`,
    );
    if (!this.page.signal.aborted) go("#/identities");
  }

  get body() {
    const { fields } = this;
    const body = {
      identifier: this.identifier,
      protocol: fields.protocol.value,
      infos: fields.infos,
      credentials: fields.credentials,
    };
    return fields.displayName.value.trim() ? { ...body, display_name: fields.displayName.value.trim() } : body;
  }
}

function servers({ infos }) {
  return [infos.inserver, infos.outserver].filter(Boolean).join(" and ");
}

function remarks(proposal) {
  const { confirm, password, source, infos } = proposal;
  const provider = infos.provider ?? "this provider";
  return [
    confirm &&
      callout(
        "warn",
        "Are these the right servers?",
        element(
          "span",
          {},
          `They belong to another domain, and only DNS names them: ${servers(proposal)}. Go on if you know them.`,
        ),
      ),
    !confirm && callout("good", `Servers found: ${servers(proposal)}`, element("span", {}, `${SOURCES[source]}.`)),
    password === "app" &&
      callout(
        "none",
        "An app password is needed",
        element(
          "span",
          {},
          `Make one in your account's security settings at ${provider}, and enter it in place of your usual password.`,
        ),
      ),
  ].filter(Boolean);
}
