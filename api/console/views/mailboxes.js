/**
 * The mailboxes of a domain.
 * @module
 */

import { get, withQuery } from "../api.js";
import { isManaged, navigation, openDomain, pageOf, resourceOf } from "../domain.js";
import { element } from "../dom.js";
import { endlessList } from "../list.js";
import { isMine, mailboxBadge, mailboxPage, mailboxPath } from "../mailbox.js";
import { poll } from "../poll.js";
import { badge, buttonLink, callout, emptyState } from "../widgets.js";

export default async function view(page) {
  const domain = await openDomain(page, "mailboxes");
  const add =
    isManaged(domain) &&
    !obstacle(domain) &&
    buttonLink("Add a mailbox", pageOf(domain.name, "new-mailbox"), { kind: "primary", symbol: "add" });
  const list = mailboxList(domain, page.signal);
  page.render(
    navigation(domain, "mailboxes"),
    element("div", { class: "section-head" }, element("h2", {}, "Mailboxes"), add),
    remark(domain),
    list.node,
  );
  await list.ready;
}

/** Return why no mailbox can be added, in words; "" where one can. */
function obstacle({ status, features }) {
  if (!features.includes("mailbox"))
    return "Mailboxes are not among the features of this domain. An owner can change that in the settings.";
  return status === "disabled" ? "The domain is disabled, so no mailbox can be added." : "";
}

function remark(domain) {
  if (obstacle(domain)) return callout("none", obstacle(domain));
  if (domain.status === "enabled") return null;
  return callout("none", "New mailboxes wait for the domain", "They are created when it is enabled.");
}

function mailboxList(domain, signal) {
  return endlessList({
    page: async (range) => {
      const { total, mailboxes } = await get(withQuery(resourceOf(domain.name, "mailboxes"), range), { signal });
      return { total, items: mailboxes };
    },
    row: (mailbox) => row(domain, mailbox, signal),
    key: (mailbox) => mailbox.local_part,
    empty: () =>
      emptyState(
        "mailbox",
        "No mailbox yet",
        isManaged(domain)
          ? "Add one for everybody who gets mail at this domain, yourself first."
          : "Who manages the domain can add one.",
      ),
    shape: "row-shape",
    label: "Mailboxes",
    signal,
  });
}

function row(domain, mailbox, signal) {
  const state = element("span", { class: "row-state" }, mailboxBadge(mailbox));
  if (mailbox.status === "pending" && domain.status === "enabled") follow(domain, mailbox, state, signal);
  return element(
    "a",
    { class: "row", href: mailboxPage(domain, mailbox) },
    element("span", { class: "row-people" }, mailbox.email),
    state,
    element("span", { class: "row-subject quiet-text" }, `${mailbox.first_name} ${mailbox.last_name}`),
    isMine(mailbox) && element("span", { class: "row-state" }, badge("Yours")),
  );
}

/** Show when a mailbox that is being created is there. */
function follow(domain, mailbox, state, signal) {
  poll(
    async () => {
      const renewed = await get(mailboxPath(domain, mailbox), { signal });
      state.replaceChildren(mailboxBadge(renewed));
      return renewed.status !== "pending";
    },
    { signal },
  );
}
