/**
 * The little Markdown that the document has: paragraphs, code, what is strong.
 * @module
 */

import { element } from "/console/dom.js";

/** Return the paragraphs of a text. */
export function prose(text) {
  return text
    .trim()
    .split(/\n\s*\n/)
    .map((paragraph) => element("p", {}, inline(paragraph)));
}

/** Return the pieces of a line of text. */
export function inline(text) {
  return text.split(/(`+[^`]+`+|\*\*[^*]+\*\*)/).map((piece) => {
    if (piece.startsWith("`")) return element("code", {}, piece.replaceAll("`", ""));
    if (piece.startsWith("**")) return element("strong", {}, piece.slice(2, -2));
    return piece;
  });
}
