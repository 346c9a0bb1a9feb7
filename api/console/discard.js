/**
 * Discarding drafts, which can be undone for a moment: until that is over a draft is only hidden.
 * @module
 */

import { remove } from "./api.js";
import { messagePath } from "./draft.js";
import { notify } from "./notice.js";
import { go } from "./router.js";

const hidden = new Set();
const pending = new Set();

/** True for a draft that is discarded, or about to be. */
export function isDiscarded(id) {
  return hidden.has(id);
}

/** Discard a draft, with a notice that offers to undo that. */
export function discard(id) {
  hidden.add(id);
  pending.add(id);
  notify("The draft is discarded.", { undo: () => restore(id), gone: () => erase(id) });
}

function restore(id) {
  hidden.delete(id);
  pending.delete(id);
  go(`#/drafts/${id}`);
}

async function erase(id, options) {
  if (!pending.delete(id)) return;
  await remove(messagePath(id), undefined, options).catch((problem) => {
    hidden.delete(id);
    notify(problem.message, { tone: "bad" });
  });
}

addEventListener("pagehide", () => {
  for (const id of pending) erase(id, { keepalive: true });
});
