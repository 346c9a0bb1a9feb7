/**
 * All domains on which the user has a role.
 * @module
 */

import { get, withQuery } from "../api.js";
import { pageOf, resourceOf, stateBadge } from "../domain.js";
import { element } from "../dom.js";
import { lastChecked } from "../health.js";
import { endlessList } from "../list.js";
import { poll } from "../poll.js";
import { roleName } from "../roles.js";
import { buttonLink, emptyState } from "../widgets.js";

const ADD = ["Add a domain", "#/domains/new", { kind: "primary", symbol: "add" }];

export default async function view(page) {
  page.entitle("Domains", { actions: [buttonLink(...ADD)] });
  const { signal } = page;
  const list = endlessList({
    page: async (range) => {
      const { total, domains } = await get(withQuery("/api/v2/domains", range), { signal });
      return { total, items: domains };
    },
    row: (domain) => row(domain, signal),
    key: (domain) => domain.name,
    empty,
    shape: "row-shape",
    label: "Domains",
    signal,
  });
  page.render(list.node);
  await list.ready;
  page.render(list.node, invited());
}

function invited() {
  const link = element("a", { href: "#/invitation" }, "Accept an invitation");
  return element("p", { class: "aside" }, "Somebody shares a domain with you? ", link);
}

function empty() {
  return emptyState(
    "domains",
    "Bring your domain",
    "Have mailboxes at a name of your own. Add it, and you get the DNS records to publish. They are looked at every hour; once they are right the domain is enabled, and its mailboxes are created.",
    buttonLink(...ADD),
  );
}

function row(domain, signal) {
  const node = element("a", { class: "row", href: pageOf(domain.name) });
  show(node, domain);
  if (domain.status === "pending") follow(node, domain, signal);
  return node;
}

function show(node, domain) {
  node.replaceChildren(
    element("span", { class: "row-people" }, domain.name),
    element("span", { class: "row-state" }, stateBadge(domain)),
    element("span", { class: "meta" }, element("span", {}, roleName(domain.role)), lastChecked(domain)),
  );
}

/** Show what the first check finds. */
function follow(node, { name }, signal) {
  poll(
    async () => {
      const renewed = await get(resourceOf(name), { signal });
      show(node, renewed);
      return renewed.status !== "pending";
    },
    { signal },
  );
}
