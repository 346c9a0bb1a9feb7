/**
 * All identities of the user, with their health at a glance.
 * @module
 */

import { get, withQuery } from "../api.js";
import { element, whenNear } from "../dom.js";
import { healthChart, healthOf, lastChecked, lastDay } from "../health.js";
import { check, kindOf, pageOf, resourceOf, setStatus, stateBadge, trouble } from "../identity.js";
import { endlessList } from "../list.js";
import { notify } from "../notice.js";
import { poll } from "../poll.js";
import { pageAt } from "../router.js";
import { busy, button, buttonLink, emptyState, skeleton } from "../widgets.js";

const PATH = "/api/v2/identities";
const ADD = "#/identities/new";

export default async function view(page) {
  page.entitle("Identities", { actions: [buttonLink("Add account", ADD, { kind: "primary", symbol: "add" })] });
  const { signal } = page;
  const remotes = identityList("Accounts at other providers", "remotes", signal, () =>
    emptyState(
      "identities",
      "Add your first account",
      "Type an address that you have at another provider. Its servers are found for you, and you can send from it here.",
      buttonLink("Add account", ADD, { kind: "primary", symbol: "add" }),
      buttonLink("Write from your address here", "#/compose"),
    ),
  );
  const locals = identityList("Hosted here", "locals", signal, () =>
    element("p", { class: "quiet-text" }, "You have no address here."),
  );
  page.render(group("At other providers", remotes.node), group("Hosted here", locals.node));
  await Promise.all([remotes.ready, locals.ready]);
}

function group(title, node) {
  return element("section", { class: "section" }, element("h2", {}, title), node);
}

function identityList(label, kind, signal, empty) {
  return endlessList({
    page: async (range) => {
      const answer = await get(withQuery(`${PATH}/${kind}`, range), { signal });
      return { total: answer.total, items: answer.remote_identities ?? answer.local_identities };
    },
    row: (identity) => card(identity, signal),
    key: (identity) => identity.identity_id,
    empty,
    shape: "card-shape",
    label,
    signal,
  });
}

/** A card, which renews itself after every action and until the first check has ended. */
function card(identity, signal) {
  const chart = element("div", { class: "chart-place" }, skeleton("chart-shape"));
  const node = element("article", { class: "card identity" });
  const drawChart = () =>
    lastDay(resourceOf(identity), signal).then(
      (checks) => chart.replaceChildren(healthChart(checks)),
      () => chart.replaceChildren(),
    );

  function show(renewed) {
    const isChecked = renewed.last_check !== identity.last_check;
    identity = renewed;
    const [head, ...rest] = content(identity, renew);
    node.replaceChildren(head, chart, ...rest);
    if (isChecked) drawChart();
  }

  async function renew(action, control) {
    try {
      const after = await busy(control, action(identity));
      show(after ?? (await get(resourceOf(identity), { signal })));
      node.querySelector(`[data-action=${control.dataset.action}]`)?.focus();
      announce(identity);
    } catch (problem) {
      if (!signal.aborted) notify(problem.message, { tone: "bad" });
    }
  }

  show(identity);
  whenNear(chart, drawChart, signal);
  if (!identity.last_check && identity.status === "active") awaitFirstCheck(identity, show, signal);
  return node;
}

function announce(identity) {
  const { tone, words } = healthOf(identity);
  notify(`${identity.identifier}: ${words}`, { tone: tone === "bad" ? "bad" : "good" });
}

function awaitFirstCheck(identity, show, signal) {
  poll(
    async () => {
      const renewed = await get(resourceOf(identity), { signal });
      if (!renewed.last_check) return false;
      show(renewed);
      return true;
    },
    { signal },
  );
}

function content(identity, renew) {
  const name = identity.display_name === identity.identifier ? null : identity.display_name;
  return [
    element(
      "header",
      { class: "card-head" },
      element(
        "div",
        { class: "titled" },
        element("h3", {}, element("a", { href: pageOf(identity) }, identity.identifier)),
        stateBadge(identity),
      ),
      element(
        "p",
        { class: "meta" },
        name && element("span", {}, name),
        element("span", {}, kindOf(identity)),
        lastChecked(identity),
      ),
    ),
    trouble(identity, ...remedies(identity)),
    element("div", { class: "actions" }, actions(identity, renew)),
  ].filter(Boolean);
}

function remedies(identity) {
  if (identity.type === "local" || healthOf(identity).tone !== "bad") return [];
  return [buttonLink("Correct the account", pageOf(identity), { symbol: "settings" })];
}

function actions(identity, renew) {
  const write =
    identity.status === "active" &&
    buttonLink("Write", pageAt("/compose", { identity: identity.identity_id }), { kind: "quiet", symbol: "write" });
  if (identity.type === "local") return [write];
  const isActive = identity.status === "active";
  const act = (action) => (event) => renew(action, event.currentTarget);
  return [
    write,
    button("Check now", act(check), { kind: "quiet", symbol: "refresh", "data-action": "check" }),
    isActive
      ? button(
          "Pause",
          act((each) => setStatus(each, "inactive")),
          { kind: "quiet", symbol: "pause", "data-action": "status" },
        )
      : button(
          "Activate",
          act((each) => setStatus(each, "active")),
          { kind: "quiet", symbol: "play", "data-action": "status" },
        ),
    buttonLink("Settings", pageOf(identity), { kind: "quiet", symbol: "settings" }),
  ];
}
