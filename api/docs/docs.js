/**
 * The page: groups of operations, a filter, and addresses that lead to an operation.
 * @module
 */

import { element } from "/console/dom.js";
import { block, json } from "./example.js";
import { article } from "./operation.js";
import { prose } from "./prose.js";
import { Schemas } from "./schema.js";

const at = (id) => document.getElementById(id);

start();

async function start() {
  try {
    const answer = await fetch("/api/openapi.json");
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    const words = `The description of the API cannot be loaded: ${error.message}. Load the page again.`;
    at("introduction").replaceChildren(element("p", { role: "alert" }, words));
  }
}

function show(whole) {
  const schemas = new Schemas(whole.components.schemas);
  const problem = schemas.example({ $ref: "Problem" });
  at("version").replaceChildren(whole.info.version);
  at("introduction").replaceChildren(
    element("div", { class: "prose" }, prose(whole.info.description)),
    block("A problem", json(problem)),
  );
  const groups = whole.tags.map((tag) => group(tag, whole, schemas));
  at("operations").replaceChildren(...groups.map(({ section }) => section));
  document.querySelector(".groups ul").replaceChildren(...groups.map(({ link }) => link));
  at("filter").addEventListener("input", () => filter(groups));
  addEventListener("hashchange", () => reveal(groups));
  filter(groups);
  reveal(groups);
}

/** Return a group with its operations, those that differ in nothing but their path taken as one. */
function group({ name, description }, whole, schemas) {
  const all = found(whole).filter(({ operation }) => operation.tags.includes(name));
  const entries = all
    .filter(({ operation }) => !operation["x-second-path-of"])
    .map((each) => {
      const others = all.filter(
        ({ operation }) => operation["x-second-path-of"] === each.operation.operationId,
      );
      const details = article({ ...each, others }, whole, schemas);
      return { details, others, text: [each, ...others].map(searched).join(" ") };
    });
  const id = `group-${name}`;
  const section = element(
    "section",
    { class: "group", "aria-labelledby": id },
    element("h2", { id }, name),
    element("p", { class: "lead" }, description),
    entries.map(({ details }) => details),
  );
  return { section, entries, link: element("li", {}, element("a", { href: `#${id}` }, name)) };
}

function found({ paths }) {
  return Object.entries(paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => ({ verb: verb.toUpperCase(), path, operation })),
  );
}

function searched({ verb, path, operation: { operationId, summary, description, tags } }) {
  return [verb, path, operationId, summary, description, ...tags].join(" ").toLowerCase();
}

/** Show the operations that have all words of the filter; what is said of all of them only where there is none. */
function filter(groups) {
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { section, link, entries } of groups) {
    for (const { details, text } of entries) details.hidden = !words.every((word) => text.includes(word));
    section.hidden = link.hidden = entries.every(({ details }) => details.hidden);
  }
  const all = groups.flatMap(({ entries }) => entries);
  const shown = all.filter(({ details }) => !details.hidden).length;
  at("introduction").hidden = words.length > 0;
  at("found").replaceChildren(
    shown ? `${shown} of ${all.length} operations` : "Nothing has all of these words. Try fewer, or part of one.",
  );
}

/** Open the operation that the address names, and lead there. */
function reveal(groups) {
  const id = location.hash.slice(1);
  const entry = groups
    .flatMap(({ entries }) => entries)
    .find(({ details, others }) => [details.id, ...others.map(({ operation }) => operation.operationId)].includes(id));
  if (entry) {
    at("filter").value = "";
    filter(groups);
    entry.details.open = true;
    entry.details.querySelector("summary").focus();
  }
  (entry?.details ?? at(id))?.scrollIntoView();
}
