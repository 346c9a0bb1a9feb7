/**
 * Lists of messages: drafts, and what was sent or is on its way.
 * @module
 */

import { get, withQuery } from "./api.js";
import { deliveryBadge, isMoving } from "./delivery.js";
import { element, icon } from "./dom.js";
import { messagePath } from "./draft.js";
import { choiceField } from "./form.js";
import { endlessList } from "./list.js";
import { poll } from "./poll.js";
import { shortTime } from "./time.js";

const MOST_IDENTITIES = 200;

/** Return all identities of the user, the accounts at other providers first. */
export async function allIdentities(signal) {
  const range = { limit: MOST_IDENTITIES };
  const [remotes, locals] = await Promise.all([
    get(withQuery("/api/v2/identities/remotes", range), { signal }),
    get(withQuery("/api/v2/identities/locals", range), { signal }),
  ]);
  return [...remotes.remote_identities, ...locals.local_identities];
}

/**
 * Fill a page with a list of messages, to be filtered by identity.
 * `parts` has `isDraft`, `address(message)` of a row, `empty()`, `isHidden(message)`.
 */
export async function showMessages(page, label, parts) {
  const { signal } = page;
  const list = messageList(label, page.query.identity ?? "", parts, signal);
  const filter = element("div", { class: "filter" });
  page.render(filter, list.node);
  const [identities] = await Promise.all([allIdentities(signal), list.ready]);
  if (identities.length > 1) filter.append(identityFilter(identities, page).node);
}

function identityFilter(identities, page) {
  const choices = [["", "All identities"], ...identities.map((each) => [each.identity_id, each.identifier])];
  const field = choiceField("Sent from", { name: "identity" }, choices);
  field.value = page.query.identity ?? "";
  field.control.addEventListener("change", () => {
    const [path] = location.hash.split("?");
    location.hash = withQuery(path, { identity: field.value });
  });
  return field;
}

function messageList(label, identityId, { isDraft, address, empty, isHidden }, signal) {
  return endlessList({
    page: async (range) => {
      const query = { is_draft: String(isDraft), identity_id: identityId, ...range };
      const { total, messages } = await get(withQuery("/api/v2/messages", query), { signal });
      return { total, items: messages };
    },
    row: (message) => row(message, address, signal),
    isHidden,
    key: (message) => message.message_id,
    empty,
    shape: "row-shape",
    label,
    signal,
  });
}

function row(message, address, signal) {
  const state = element("span", { class: "row-state" }, deliveryBadge(message));
  if (isMoving(message)) follow(message, state, signal);
  return element(
    "a",
    { class: "row", href: address(message) },
    element("span", { class: "row-people" }, people(message)),
    element(
      "span",
      { class: "row-time" },
      message.attachments.length > 0 && icon("attach"),
      shortTime(message.date_sort),
    ),
    element(
      "span",
      { class: "row-subject" },
      message.subject || "No subject",
      message.excerpt && element("span", { class: "row-excerpt" }, ` ${message.excerpt}`),
    ),
    state,
  );
}

/** Keep the state of a message that is on its way up to date. */
function follow(message, state, signal) {
  poll(
    async () => {
      const renewed = await get(messagePath(message.message_id), { signal });
      state.replaceChildren(deliveryBadge(renewed));
      return !isMoving(renewed);
    },
    { signal },
  );
}

/** Return whom a message is to, in a line. */
function people(message) {
  const recipients = message.participants.filter(({ type }) => ["To", "Cc", "Bcc"].includes(type));
  return recipients.map(({ label, address }) => label || address).join(", ") || "No recipient";
}
