/**
 * What has to be in the DNS of a domain, and whether it is there.
 * @module
 */

import { copyable } from "./clipboard.js";
import { element } from "./dom.js";
import { badge } from "./widgets.js";

const PRIORITY = 10; // of an MX record: any will do, where there is no other
const COLUMNS = ["Name", "Type", "Value", "Now"];

/** Return the records to publish as a table; on phones each row is a card. */
export function recordTable(domain) {
  // The roles are the elements' own, which browsers forget where a row is no row any more.
  const head = COLUMNS.map((words) => element("th", { role: "columnheader", scope: "col" }, words));
  return element(
    "table",
    { class: "records", role: "table", "aria-label": "DNS records to publish" },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, head)),
    element(
      "tbody",
      { role: "rowgroup" },
      domain.expected_config.map((record) => row(domain, record)),
    ),
  );
}

function row(domain, { target, type, value }) {
  const [zone, kind] = [asciiName(domain.name), type.toUpperCase()];
  const full = target ? `${target}.${zone}` : zone;
  const cells = [
    [copyable(full, `the name ${full}`), copyable(target || "@", `the short name ${target || "@"}`)],
    [element("strong", {}, kind), kind === "MX" && element("span", { class: "priority" }, `priority ${PRIORITY}`)],
    [copyable(value, `the value of ${kind} ${full}`)],
    [publicationBadge(domain.checks[checkOf(target, type, value)])],
  ];
  return element(
    "tr",
    { role: "row" },
    cells.map((content, index) =>
      element("td", { role: "cell", "data-column": COLUMNS[index] }, element("div", { class: "cell" }, content)),
    ),
  );
}

/** Return the name of a domain as the DNS has it: in A-labels (RFC 5890). */
function asciiName(name) {
  return new URL(`http://${name}`).hostname;
}

/** Return the check that looks at a record. */
function checkOf(target, type, value) {
  if (type === "mx") return "mx";
  if (type === "cname") return `cname_${target}`;
  return value.startsWith("v=spf1") ? "spf" : "dkim";
}

function publicationBadge(check) {
  if (!check) return badge("Not checked yet", "none", "later");
  if (check.ok) return badge("Published", "good", "check");
  const [{ code }] = check.errors;
  if (code === "no_answer") return badge("No answer", "warn", "warning");
  return code.startsWith("wrong_") ? badge("Wrong", "bad", "warning") : badge("Missing", "warn", "warning");
}
