/**
 * An identity as lists and pages show it, and what can be done with it from anywhere.
 * @module
 */

import { patch, post } from "./api.js";
import { element, icon } from "./dom.js";
import { healthOf, serverName } from "./health.js";
import { badge } from "./widgets.js";

const KINDS = { local: "locals", remote: "remotes" };

/** Return the resource of an identity. */
export function resourceOf(identity) {
  return `/api/v2/identities/${KINDS[identity.type]}/${identity.identity_id}`;
}

/** Return the address of its page. */
export function pageOf(identity) {
  return `#/identities/${KINDS[identity.type]}/${identity.identity_id}`;
}

/** Return what kind of account it is, in words. */
export function kindOf(identity) {
  if (identity.type === "local") return "Hosted here";
  return identity.protocol === "imap" ? "IMAP and SMTP" : "SMTP only";
}

/** Return its state as a badge. */
export function stateBadge(identity) {
  const { tone, words } = healthOf(identity);
  const symbol = { good: "check", bad: "warning", none: identity.status === "inactive" ? "pause" : "later" }[tone];
  return badge(words, tone, symbol);
}

/** Return what fails and what to do about it; null where nothing does. */
export function trouble(identity, ...actions) {
  const { failures, advice } = healthOf(identity);
  if (failures.length === 0 && !advice) return null;
  return element(
    "div",
    { class: "trouble" },
    failures.map(([server, sentence]) =>
      element("p", {}, element("strong", {}, `${serverName(server)}: `), sentence),
    ),
    advice && element("p", { class: "advice" }, icon("info"), advice),
    actions.length > 0 && element("div", { class: "actions" }, actions),
  );
}

/** Check a remote identity now; return it as it is after that. */
export function check(identity) {
  return post(`${resourceOf(identity)}/actions`, { actions: ["check"] });
}

/** Pause an identity, or make it active again. */
export async function setStatus(identity, status) {
  await patch(resourceOf(identity), { status }, { status: identity.status });
}
