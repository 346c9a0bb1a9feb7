/**
 * Looking again at what changes by itself: at growing intervals, and not while nobody sees the page.
 * @module
 */

import { pause } from "./connection.js";
import { Problem } from "./http.js";

const GROWTH = 1.5;

/**
 * Call `look` until it returns true or the signal aborts. Times are in milliseconds.
 * A problem ends it quietly: what was looked at is gone, and whoever opens it next is told.
 */
export async function poll(look, { signal, first = 1000, longest = 30_000 }) {
  for (let wait = first; !signal.aborted; wait = Math.min(wait * GROWTH, longest)) {
    try {
      await pause(wait, signal);
      await visible(signal);
      if (await look()) return;
    } catch (error) {
      if (signal.aborted || error instanceof Problem) return;
      throw error;
    }
  }
}

function visible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve, reject) => {
    document.addEventListener("visibilitychange", () => resolve(), { once: true, signal });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
