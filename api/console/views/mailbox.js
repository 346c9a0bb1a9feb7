/**
 * One mailbox: its status, its owner's names, signing in to it, deleting it.
 * @module
 */

import { get, patch, post, remove } from "../api.js";
import { confirmed } from "../dialog.js";
import { isManaged, openDomain, pageOf } from "../domain.js";
import { element } from "../dom.js";
import { Form } from "../form.js";
import { MailboxFields, isMine, mailboxBadge, mailboxPath, mailboxSentence } from "../mailbox.js";
import { attempt, notify } from "../notice.js";
import { poll } from "../poll.js";
import { go } from "../router.js";
import { badge, button, section } from "../widgets.js";

export default async function view(page) {
  const { name, local_part: localPart } = page.params;
  const back = [pageOf(name, "mailboxes"), name];
  const domain = await openDomain(page, "mailboxes", { title: `${localPart}@${name}`, back });
  const mailbox = await get(mailboxPath(domain, { local_part: localPart }), { signal: page.signal });
  new MailboxView(page, domain, back).show(mailbox);
}

class MailboxView {
  constructor(page, domain, back) {
    Object.assign(this, { page, domain, back });
    this.state = element("section", { class: "card card-head", "aria-label": "Status" });
    this.details = element("div");
    this.access = element("div");
    page.render(this.state, this.details, this.access, isManaged(domain) && this.farewell());
  }

  /** Show the mailbox as it is now. */
  show(mailbox) {
    this.path = mailboxPath(this.domain, mailbox);
    this.showState(mailbox);
    this.details.replaceChildren(this.isEditable ? this.settings() : this.facts());
    if (mailbox.status === "pending")
      this.following ??= this.follow().finally(() => {
        this.following = null;
      });
  }

  /** Show what its status is and allows; what is being typed stays. */
  showState(mailbox) {
    this.mailbox = mailbox;
    this.isEditable = isManaged(this.domain) || isMine(mailbox);
    this.page.entitle(mailbox.email, { back: this.back, actions: isManaged(this.domain) ? this.switches() : [] });
    this.state.replaceChildren(...this.status());
    this.access.hidden = !this.isEditable || mailbox.status !== "enabled";
    this.access.replaceChildren(this.signIn());
  }

  /** Look again until a mailbox that is to be created is there. */
  follow() {
    const { signal } = this.page;
    return poll(
      async () => {
        const renewed = await get(this.path, { signal });
        if (renewed.status !== this.mailbox.status) this.showState(renewed);
        return renewed.status !== "pending";
      },
      { signal },
    );
  }

  switches() {
    const { status } = this.mailbox;
    const press = (words, symbol, action) =>
      button(words, (event) => attempt(event.currentTarget, () => this.act(action)), { symbol });
    if (status === "enabled" || status === "pending") return [press("Disable", "pause", "disable")];
    if (this.domain.status === "disabled") return [];
    return [press(status === "failed" ? "Try again" : "Enable", "play", "enable")];
  }

  async act(action) {
    const mailbox = await post(`${this.path}/actions`, { actions: [action] });
    this.show(mailbox);
    this.page.heading.focus({ preventScroll: true });
  }

  status() {
    return [
      element(
        "div",
        { class: "titled", role: "status" },
        mailboxBadge(this.mailbox),
        isMine(this.mailbox) && badge("Yours"),
      ),
      element("p", {}, mailboxSentence(this.domain, this.mailbox)),
    ];
  }

  facts() {
    const { first_name: first, last_name: last, secondary_email: second } = this.mailbox;
    const rows = [
      ["Name", `${first} ${last}`],
      ["Second address", second ?? "None"],
    ];
    const list = rows.map(([words, value]) => [element("dt", {}, words), element("dd", {}, value)]);
    return section("Details", element("div", { class: "card" }, element("dl", { class: "facts" }, list)));
  }

  settings() {
    const fields = new MailboxFields(this.domain, this.mailbox);
    const form = new Form({
      fields: fields.fields,
      content: fields.node,
      words: "Save",
      kind: "",
      submit: async () => {
        await this.change(fields.values);
        notify("Saved.");
      },
    });
    return section("Details", element("div", { class: "card" }, form.node));
  }

  async change(values) {
    const changed = Object.entries(values).filter(([key, value]) => value !== this.mailbox[key]);
    if (changed.length === 0) return;
    const before = Object.fromEntries(changed.map(([key]) => [key, this.mailbox[key]]));
    await patch(this.path, Object.fromEntries(changed), before);
    this.show(await get(this.path));
    this.page.heading.focus({ preventScroll: true });
  }

  signIn() {
    const { secondary_email: second } = this.mailbox;
    if (!second)
      return section(
        "Signing in",
        element("p", { class: "quiet-text" }, "With a second address above, a link to sign in can be sent there."),
      );
    return section(
      "Signing in",
      element(
        "div",
        { class: "card row-card" },
        element("p", {}, "A link that signs in once, within a day, goes to ", element("strong", {}, second), "."),
        element(
          "div",
          { class: "actions" },
          button("Send sign-in link", (event) => attempt(event.currentTarget, () => this.sendLink())),
          isManaged(this.domain) && button("Reset password", (event) => this.reset(event.currentTarget)),
        ),
      ),
    );
  }

  async sendLink(action = "send_login_link") {
    await post(`${this.path}/actions`, { actions: [action] });
    notify(`A link to sign in is on its way to ${this.mailbox.secondary_email}.`);
  }

  async reset(control) {
    const isSure = await confirmed(
      `Reset the password of ${this.mailbox.email}?`,
      `The present one stops working at once, in mail programs too. A link to sign in goes to ${this.mailbox.secondary_email}.`,
      "Reset password",
    );
    if (isSure) await attempt(control, () => this.sendLink("reset_password"));
  }

  farewell() {
    return section(
      "Delete",
      element(
        "div",
        { class: "card row-card" },
        element("p", {}, "Delete the mailbox, with all its mail."),
        button("Delete mailbox", (event) => this.erase(event.currentTarget), { kind: "danger", symbol: "delete" }),
      ),
    );
  }

  async erase(control) {
    const { email } = this.mailbox;
    const isSure = await confirmed(
      `Delete ${email}?`,
      "All its mail is deleted with it, and that cannot be undone. Aliases that lead to it stay.",
      "Delete mailbox",
    );
    if (!isSure) return;
    await attempt(control, async () => {
      await remove(this.path);
      notify(`${email} is deleted.`);
      if (!this.page.signal.aborted) go(this.back[0], { replace: true });
    });
  }
}
