/**
 * Short notices at the edge of the window: what was done, and a way to take it back.
 * @module
 */

import { element, icon } from "./dom.js";
import { Problem } from "./http.js";
import { busy, button, iconButton } from "./widgets.js";

const STAYS_MS = 6000;
const STAYS_TO_UNDO_MS = 10_000;

const region = element("div", { class: "notices", role: "status", "aria-live": "polite" });

/** Return the place of notices, for the frame of the page. */
export function noticeRegion() {
  return region;
}

/**
 * Show a notice for a while, in place of one before that only told something; it waits for who points at it or has the focus in it.
 * @param {string} words
 * @param {Object} options `tone` good or bad; `undo` is called when the user takes back what was done, `gone`
 *     when he has not.
 */
export function notify(words, { tone = "good", undo, gone = () => {} } = {}) {
  let timer;
  const end = (settle) => () => {
    clearTimeout(timer);
    node.remove();
    settle();
  };
  const wait = () => {
    timer = setTimeout(end(gone), undo ? STAYS_TO_UNDO_MS : STAYS_MS);
  };
  const hold = () => clearTimeout(timer);
  const node = element(
    "div",
    {
      class: `notice ${tone}`,
      "data-told": !undo,
      onpointerenter: hold,
      onpointerleave: wait,
      onfocusin: hold,
      onfocusout: wait,
    },
    icon(tone === "good" ? "check" : "warning"),
    element("span", {}, words),
    undo && button("Undo", end(undo), { kind: "quiet" }),
    iconButton("Dismiss", "close", end(gone)),
  );
  for (const told of region.querySelectorAll("[data-told]")) told.remove();
  region.append(node);
  wait();
}

/** Do some work while the button is busy, and tell when it fails. */
export async function attempt(control, work) {
  try {
    await busy(control, work());
  } catch (problem) {
    if (problem.name === "AbortError") return; // the page was left
    if (!(problem instanceof Problem)) throw problem;
    notify(problem.message, { tone: "bad" });
  }
}
