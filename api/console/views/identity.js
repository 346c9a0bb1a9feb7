/**
 * One identity: its health and checks; of an account at another provider also its settings.
 * @module
 */

import { AccountFields } from "../account-form.js";
import { get, patch, remove } from "../api.js";
import { confirmed } from "../dialog.js";
import { element, icon } from "../dom.js";
import { Form } from "../form.js";
import { checkTitle, failuresIn, healthChart, isOfSignIn, lastChecked, lastDay } from "../health.js";
import { check, kindOf, resourceOf, setStatus, stateBadge, trouble } from "../identity.js";
import { notify } from "../notice.js";
import { go, pageAt } from "../router.js";
import { relativeTime } from "../time.js";
import { Verdicts } from "../verdicts.js";
import { busy, button, buttonLink, section, skeleton } from "../widgets.js";

const BACK = ["#/identities", "Identities"];
const SHOWN_CHECKS = 8;

export default async function view(page) {
  page.entitle("Identity", { back: BACK });
  page.render(skeleton("card-shape"), skeleton("form-shape"));
  const { kind, id } = page.params;
  const identity = await get(`/api/v2/identities/${kind}/${encodeURIComponent(id)}`, { signal: page.signal });
  const checks = await lastDay(resourceOf(identity), page.signal);
  page.entitle(identity.identifier, { back: BACK, actions: headActions(page, identity) });
  page.render(
    health(identity, checks),
    ...(identity.type === "remote" ? [settings(page, identity), farewell(page, identity)] : [hosted()]),
  );
}

function headActions(page, identity) {
  const isActive = identity.status === "active";
  const write =
    isActive && buttonLink("Write", pageAt("/compose", { identity: identity.identity_id }), { symbol: "write" });
  if (identity.type === "local") return [write];
  return [
    write,
    button("Check now", (event) => act(page, check(identity), event.currentTarget), { symbol: "refresh" }),
    isActive
      ? button("Pause", (event) => act(page, setStatus(identity, "inactive"), event.currentTarget), {
          symbol: "pause",
        })
      : button("Activate", (event) => act(page, setStatus(identity, "active"), event.currentTarget), {
          symbol: "play",
        }),
  ];
}

async function act(page, action, control) {
  try {
    await busy(control, action);
    page.reload();
  } catch (problem) {
    notify(problem.message, { tone: "bad" });
  }
}

function health(identity, checks) {
  return element(
    "section",
    { class: "card identity", "aria-label": "Health" },
    element(
      "header",
      { class: "card-head" },
      element("div", {}, stateBadge(identity)),
      element("p", { class: "meta" }, element("span", {}, kindOf(identity)), lastChecked(identity)),
    ),
    healthChart(checks),
    trouble(identity),
    checks.length > 0 &&
      element(
        "details",
        { class: "advanced" },
        element("summary", {}, "The latest checks"),
        element("ul", { class: "checks" }, checks.slice(0, SHOWN_CHECKS).map(checkLine)),
      ),
  );
}

function checkLine(check) {
  return element(
    "li",
    { class: check.ok ? "verdict good" : "verdict bad", title: checkTitle(check) },
    icon(check.ok ? "check" : "warning"),
    element(
      "div",
      {},
      element("strong", {}, relativeTime(check.at)),
      element("span", {}, check.error ?? `All well, in ${check.ms} ms`),
    ),
  );
}

function hosted() {
  return element(
    "p",
    { class: "quiet-text" },
    "This address is hosted here: its settings are the gateway's own, and there is nothing to set up.",
  );
}

function settings(page, identity) {
  const fields = new AccountFields({ isNew: false });
  const verdicts = new Verdicts();
  fields.fill(identity);
  const form = new Form({
    fields: fields.fields,
    content: [fields.node, verdicts.node],
    words: "Save and check",
    submit: () => save(page, identity, fields, verdicts),
  });
  return section("Settings", element("div", { class: "card" }, form.node));
}

async function save(page, identity, fields, verdicts) {
  const servers = identity.protocol === "imap" ? ["inserver", "outserver"] : ["outserver"];
  const { changes, before } = changed(identity, fields);
  verdicts.ask(servers);
  try {
    if (Object.keys(changes).length > 0) await patch(resourceOf(identity), changes, before);
    const checked = await check(identity);
    Object.assign(identity, checked);
    tell(checked, servers, fields, verdicts, page);
  } catch (problem) {
    verdicts.hide();
    fields.unfold(problem);
    throw problem;
  }
}

function tell(identity, servers, fields, verdicts, page) {
  const failures = Object.fromEntries(failuresIn(identity.infos.lastFetchError ?? ""));
  if (Object.keys(failures).length === 0) {
    notify(`${identity.identifier} works and is saved.`);
    page.reload();
    return;
  }
  verdicts.tell(servers, failures);
  const ofSignIn = Object.values(failures).find(isOfSignIn);
  if (ofSignIn) fields.failSignIn(ofSignIn);
}

/** Return what the fields change of the identity, and what stood there before. */
function changed(identity, fields) {
  const [changes, before] = [{}, {}];
  const name = fields.displayName.value.trim();
  if (name !== identity.display_name)
    [changes.display_name, before.display_name] = [name || null, identity.display_name];
  const infos = Object.entries(fields.infos).filter(([key, value]) => value !== identity.infos[key]);
  if (infos.length > 0) {
    changes.infos = Object.fromEntries(infos);
    before.infos = Object.fromEntries(infos.map(([key]) => [key, identity.infos[key] ?? null]));
  }
  if (Object.keys(fields.credentials).length > 0)
    changes.credentials = { ...(changes.infos && fields.unused), ...fields.credentials };
  // New credentials for an account that was given up for the old ones: it is to work again.
  if (changes.credentials && identity.infos.inactivereason)
    [changes.status, before.status] = ["active", identity.status];
  return { changes, before };
}

function farewell(page, identity) {
  const leave = async (event) => {
    const control = event.currentTarget;
    const isSure = await confirmed(
      `Delete ${identity.identifier}?`,
      "Its password is destroyed here at once. The account at the provider stays as it is; drafts stay readable, and cannot be sent from it any more.",
      "Delete account",
    );
    if (!isSure) return;
    try {
      await busy(control, remove(resourceOf(identity)));
      notify(`${identity.identifier} is deleted.`);
      if (!page.signal.aborted) go("#/identities");
    } catch (problem) {
      notify(problem.message, { tone: "bad" });
    }
  };
  return section(
    "Delete",
    element(
      "div",
      { class: "card row-card" },
      element("p", {}, "Take this account out of the gateway, with its password."),
      button("Delete account", leave, { kind: "danger", symbol: "delete" }),
    ),
  );
}
