/**
 * Examples: a request as a command for a shell, an answer as it comes.
 * @module
 */

import { element, icon } from "/console/dom.js";

const COPIED_MS = 2000;

const LINE = 60; // characters

/** Return JSON as people write it: what is short in one line. `before` are the characters of the line so far. */
export function json(value, indent = "", before = 0) {
  const flat = JSON.stringify(value, null, 1).replace(/\n\s*/g, " ");
  if (typeof value !== "object" || before + flat.length <= LINE) return flat;
  const inner = `${indent}  `;
  const isList = Array.isArray(value);
  const lines = Object.entries(value).map(([key, each]) => {
    const start = isList ? inner : `${inner}${JSON.stringify(key)}: `;
    return start + json(each, inner, start.length);
  });
  const [first, last] = isList ? "[]" : "{}";
  return `${first}\n${lines.join(",\n")}\n${indent}${last}`;
}

/** Return a text to look at and to copy, with what it is above. */
export function block(title, text) {
  const content = element("code", {}, text);
  const words = element("span", { role: "status" });
  const button = element(
    "button",
    { type: "button", class: "copy", "aria-label": `Copy: ${title}`, onclick: () => copy(content, words) },
    icon("copy"),
  );
  return element(
    "figure",
    { class: "example" },
    element("figcaption", {}, element("span", {}, title), words, button),
    element("pre", {}, content),
  );
}

async function copy(content, words) {
  getSelection().selectAllChildren(content);
  try {
    await navigator.clipboard.writeText(content.textContent);
    words.replaceChildren("Copied");
  } catch {
    // Browsers keep the clipboard from pages that come without TLS.
    words.replaceChildren("Selected: copy it with your keyboard");
  }
  setTimeout(() => words.replaceChildren(), COPIED_MS);
}

/**
 * Return the command that sends an operation's example.
 * @param {Schemas} schemas
 */
export function curl(verb, path, operation, schemas) {
  const parts = [`"${location.origin}${filled(path, operation.parameters)}"`];
  const content = operation.requestBody?.content ?? {};
  const form = content["multipart/form-data"];
  const body = content["application/json"];
  const isSigned = operation.security?.length !== 0;
  const command = ["curl"];
  if (verb !== "GET" && !(verb === "POST" && (form || body))) command.push(`-X ${verb}`);
  if (isSigned) command.push('-u "$USER_ID:$ACCESS_TOKEN"');
  if (form) parts.push(...Object.keys(form.schema.properties).map((name) => `-F ${name}=@menu.pdf`));
  if (body) {
    const text = json(schemas.example(body.schema)).replaceAll("'", "'\\''");
    parts.push("-H 'Content-Type: application/json'", `-d '${text}'`);
  }
  return [command.join(" "), ...parts].join(" \\\n  ");
}

/** Return a path with its parameters' examples and the query that it must have; ids are variables of the shell. */
function filled(path, parameters) {
  const query = new URLSearchParams();
  for (const { in: place, name, required, schema, example } of parameters) {
    if (place === "path") {
      const value = schema.format === "uuid" ? `$${name.toUpperCase()}` : encodeURIComponent(example);
      path = path.replace(`{${name}}`, value);
    } else if (place === "query" && required) query.append(name, example);
  }
  return query.size ? `${path}?${query}` : path;
}
