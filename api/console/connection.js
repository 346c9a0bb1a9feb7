/**
 * Whether the gateway answers; a bar at the top tells when it does not.
 * @module
 */

import { element, icon } from "./dom.js";

const text = element("span");
const bar = element("div", { class: "connection", role: "status", hidden: true }, icon("warning"), text);

/** Return the bar, for the frame of the page. */
export function connectionBar() {
  return bar;
}

/** An exchange failed, and is being tried again. */
export function lost(problem) {
  const told = `${problem.message} Trying again…`;
  if (text.textContent !== told) text.textContent = told;
  bar.hidden = false;
}

/** An exchange succeeded. */
export function regained() {
  bar.hidden = true;
}

/** Wait so many milliseconds, or until the browser is online again. Throws when the signal aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const done = new AbortController();
    const end = (settle) => () => {
      clearTimeout(timer);
      done.abort();
      settle();
    };
    const timer = setTimeout(end(resolve), milliseconds);
    addEventListener("online", end(resolve), { signal: done.signal });
    signal?.addEventListener(
      "abort",
      end(() => reject(signal.reason)),
      { signal: done.signal },
    );
    if (signal?.aborted) end(() => reject(signal.reason))();
  });
}
