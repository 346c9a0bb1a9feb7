/**
 * The pieces that pages are made of.
 * @module
 */

import { element, icon } from "./dom.js";

/** A button with words; `kind` is primary, danger, quiet, or none of them. It takes no click while it is busy. */
export function button(words, onclick, { kind = "", symbol, type = "button", ...attributes } = {}) {
  const unlessBusy = onclick && ((event) => isBusy(event.currentTarget) || onclick(event));
  return element(
    "button",
    { class: `button ${kind}`.trim(), type, onclick: unlessBusy, ...attributes },
    symbol && icon(symbol),
    words,
  );
}

/** A button that shows an icon only; `words` are for who does not see it, and its tooltip. */
export function iconButton(words, symbol, onclick, attributes = {}) {
  return element(
    "button",
    { class: "icon-button", type: "button", "aria-label": words, title: words, onclick, ...attributes },
    icon(symbol),
  );
}

/** A link that looks like a button. */
export function buttonLink(words, href, { kind = "", symbol, ...attributes } = {}) {
  return element("a", { class: `button ${kind}`.trim(), href, ...attributes }, symbol && icon(symbol), words);
}

/** A short word in a coloured pill; `tone` is good, bad, warn or none. */
export function badge(words, tone = "none", symbol) {
  return element("span", { class: `badge ${tone}` }, symbol && icon(symbol), words);
}

/** A box that tells something; `tone` as of a badge. */
export function callout(tone, title, ...content) {
  const symbol = { bad: "warning", warn: "warning", good: "check", none: "info" }[tone];
  return element(
    "div",
    { class: `callout ${tone}` },
    icon(symbol),
    element("div", { class: "callout-text" }, element("strong", {}, title), content),
  );
}

/** What a page shows that has nothing yet: what it is for, and what to do first. */
export function emptyState(symbol, title, text, ...actions) {
  return element(
    "div",
    { class: "empty" },
    element("span", { class: "empty-icon" }, icon(symbol)),
    element("h2", {}, title),
    element("p", {}, text),
    actions.length > 0 && element("div", { class: "actions" }, actions),
  );
}

/** Boxes in place of what is being loaded, as large as that will be; `shape` is a class of style/pieces.css. */
export function skeleton(shape, count = 1) {
  const boxes = Array.from({ length: count }, () => element("div", { class: `skeleton ${shape}` }));
  return element("div", { class: "stack", "aria-hidden": "true" }, boxes);
}

/** Mark a button as working until the promise settles; return what that returns. The focus stays on it. */
export async function busy(control, promise) {
  control.setAttribute("aria-busy", "true");
  control.setAttribute("aria-disabled", "true");
  try {
    return await promise;
  } finally {
    control.removeAttribute("aria-busy");
    control.removeAttribute("aria-disabled");
  }
}

export function isBusy(control) {
  return control.hasAttribute("aria-busy");
}

/** A section of a page with a heading. */
export function section(title, ...content) {
  return element("section", { class: "section" }, element("h2", {}, title), content);
}
