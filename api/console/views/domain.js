/**
 * One domain: its status, what its checks say, the DNS records to publish.
 * @module
 */

import { get } from "../api.js";
import { BACK, check, isManaged, navigation, openDomain, resourceOf, stateBadge, stateOf } from "../domain.js";
import { element, icon } from "../dom.js";
import { lastChecked } from "../health.js";
import { attempt, notify } from "../notice.js";
import { poll } from "../poll.js";
import { recordTable } from "../records.js";
import { roleName } from "../roles.js";
import { button, section } from "../widgets.js";

const CHECKS = {
  domain_exist: "The domain is in the DNS",
  mx: "Mail for the domain comes here",
  cname_imap: "Mail programs find the incoming server",
  cname_smtp: "Mail programs find the outgoing server",
  cname_webmail: "The webmail is found",
  spf: "Our servers may send for the domain (SPF)",
  dkim: "Signatures can be verified (DKIM)",
  postfix: "The mail servers know the domain",
  ox: "The groupware knows the domain",
  cert: "There is a certificate for its names",
};

export default async function view(page) {
  let domain = await openDomain(page, "");
  const status = element("section", { class: "card card-head", "aria-label": "Status" });
  const rest = element("div", { class: "content" });
  const show = (renewed) => {
    domain = renewed;
    status.replaceChildren(...statusOf(domain));
    rest.replaceChildren(...[checks(domain), records(domain)].filter(Boolean));
  };
  const checkNow = async () => {
    show(await check(domain));
    notify(`Checked: ${stateOf(domain).words}`, { tone: domain.status === "failed" ? "bad" : "good" });
  };
  const checkButton = button("Check now", (event) => attempt(event.currentTarget, checkNow), { symbol: "refresh" });
  page.entitle(domain.name, { back: BACK, actions: isManaged(domain) ? [checkButton] : [] });
  show(domain);
  page.render(navigation(domain, ""), status, rest);
  if (domain.status === "pending") await awaitFirstCheck(domain, show, page.signal);
}

function awaitFirstCheck({ name }, show, signal) {
  return poll(
    async () => {
      const renewed = await get(resourceOf(name), { signal });
      if (renewed.status === "pending") return false;
      show(renewed);
      return true;
    },
    { signal },
  );
}

function statusOf(domain) {
  return [
    element("div", { role: "status" }, stateBadge(domain)),
    element("p", {}, stateOf(domain).sentence),
    element(
      "p",
      { class: "meta" },
      element("span", {}, `You are ${roleName(domain.role).toLowerCase()}`),
      lastChecked(domain),
    ),
  ];
}

function checks(domain) {
  const all = Object.entries(domain.checks);
  if (all.length === 0) return null;
  const isOurs = ([, { internal }]) => internal;
  return section(
    "Checks",
    element(
      "div",
      { class: "card halves" },
      checkList(
        "In the DNS: for you to publish",
        all.filter((each) => !isOurs(each)),
      ),
      checkList("At the mail servers: ours", all.filter(isOurs)),
    ),
  );
}

/** Return a list of checks, those that fail first. */
function checkList(title, all) {
  const lines = [...all.filter(([, { ok }]) => !ok), ...all.filter(([, { ok }]) => ok)].map(checkLine);
  return (
    lines.length > 0 && element("div", {}, element("h3", {}, title), element("ul", { class: "checklist" }, lines))
  );
}

function checkLine([name, { ok, errors }]) {
  return element(
    "li",
    { class: ok ? "verdict good" : "verdict bad" },
    icon(ok ? "check" : "warning"),
    element(
      "div",
      {},
      element("strong", {}, CHECKS[name] ?? name),
      ok ? element("em", {}, "OK") : errors.map(({ detail }) => element("span", {}, detail)),
    ),
  );
}

function records(domain) {
  const [hint, table] =
    domain.expected_config.length > 0
      ? [
          "Some DNS providers ask for the full name, others for the short one; @ is the domain itself.",
          recordTable(domain),
        ]
      : ["The mail servers have not told them yet. They appear with the next check.", null];
  return section("DNS records to publish", element("p", { class: "quiet-text" }, hint), table);
}
