/**
 * A domain as lists and pages show it.
 * @module
 */

import { get, post } from "./api.js";
import { element } from "./dom.js";
import { isAtLeast } from "./roles.js";
import { user } from "./session.js";
import { badge, skeleton } from "./widgets.js";

const STATES = {
  pending: {
    tone: "none",
    symbol: "later",
    words: "Pending",
    sentence: "The first check is running. This page shows what it finds as soon as it has ended.",
  },
  enabled: {
    tone: "good",
    symbol: "check",
    words: "Enabled",
    sentence: "Everything is in place: mail comes in and goes out.",
  },
  action_required: {
    tone: "warn",
    symbol: "warning",
    words: "Action required",
    sentence:
      "The DNS is not as it has to be. Publish what is missing where the domain's DNS is kept; it is looked at every hour. Until then new mailboxes wait, and those in use stay in use.",
  },
  failed: {
    tone: "bad",
    symbol: "warning",
    words: "Failed",
    sentence:
      "The DNS is right, and something is wrong at the mail servers. That is for whoever runs this gateway to mend: there is nothing for you to do. Until then new mailboxes wait, and those in use stay in use.",
  },
  disabled: {
    tone: "none",
    symbol: "pause",
    words: "Disabled",
    sentence:
      "An owner has put this domain out of use: nothing is added to it until an owner takes it into use again. Mailboxes in use stay in use.",
  },
};

const PLACES = [
  ["", "Overview"],
  ["mailboxes", "Mailboxes"],
  ["aliases", "Aliases"],
  ["people", "People"],
  ["settings", "Settings"],
];
/** The page above those of a domain. */
export const BACK = ["#/domains", "Domains"];

/** What a domain can be used for: value, words, meaning. */
export const FEATURES = [
  ["mailbox", "Mailboxes", "Addresses with mail of their own."],
  ["webmail", "Webmail", "Mail read and written in the browser."],
  ["alias", "Aliases", "Addresses whose mail goes elsewhere."],
];

/** Return the resource of a domain, or of what is below it. */
export function resourceOf(name, ...below) {
  return `/api/v2/domains/${[name, ...below].map(encodeURIComponent).join("/")}`;
}

/** Return the address of the page of a domain, or of what is below it. */
export function pageOf(name, ...below) {
  return `#/domains/${[name, ...below].map(encodeURIComponent).join("/")}`;
}

/** Return a domain's status: `tone`, `symbol`, `words`, and a `sentence` with what to do. */
export function stateOf(domain) {
  return STATES[domain.status];
}

/** Return its status as a badge. */
export function stateBadge(domain) {
  const { words, tone, symbol } = stateOf(domain);
  return badge(words, tone, symbol);
}

/** Return whether the user may change what the domain has. */
export function isManaged(domain) {
  return isAtLeast(domain.role, "administrator");
}

/** Check a domain now; return it as it is after that. */
export function check(domain) {
  return post(`${resourceOf(domain.name)}/actions`, { actions: ["check"] });
}

let opened = null; // the domain that was read last, and by whom: its navigation stands while it is read anew

/** Begin a page of a domain, or of what is below it; resolves to the domain. */
export async function openDomain(page, place, { title = page.params.name, back = BACK } = {}) {
  const { name } = page.params;
  page.entitle(title, { back });
  if (place) document.title = `${new Map(PLACES).get(place)} · ${document.title}`;
  const known = opened?.reader === user().user_id && opened.domain.name === name;
  page.render(known && navigation(opened.domain, place), skeleton("form-shape"));
  const domain = await get(resourceOf(name), { signal: page.signal });
  opened = { reader: user().user_id, domain };
  return domain;
}

/** Return the navigation between the pages of a domain. */
export function navigation({ name, role }, place) {
  const links = PLACES.filter(([path]) => path !== "settings" || isAtLeast(role, "owner")).map(([path, words]) =>
    element(
      "a",
      { href: path ? pageOf(name, path) : pageOf(name), "aria-current": path === place ? "page" : null },
      words,
    ),
  );
  return element("nav", { class: "tabs", "aria-label": "Domain" }, links);
}
