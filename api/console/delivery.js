/**
 * How far the sending of a message got, in words.
 * @module
 */

import { element, icon } from "./dom.js";
import { fullTime, relativeTime } from "./time.js";
import { badge } from "./widgets.js";

const WORDS = { accepted: "Accepted", rejected: "Refused", queued: "Waiting" };
const TONES = { accepted: "good", rejected: "bad", queued: "warn" };
const SYMBOLS = { accepted: "check", rejected: "warning", queued: "later" };

/** True while a message is on its way, and will change by itself. */
export function isMoving({ delivery }) {
  return delivery !== null && (delivery.state === "queued" || delivery.state === "sending");
}

/** True where a message waits for a time that its sender chose. */
export function isScheduled({ delivery }) {
  return isMoving({ delivery }) && delivery.attempts === 0 && Date.parse(delivery.send_at ?? 0) > Date.now();
}

/** Return the state as `[words, tone, symbol]`. */
function stateOf(message) {
  const { delivery } = message;
  const recipients = Object.values(delivery.recipients);
  const accepted = recipients.filter(({ state }) => state === "accepted").length;
  if (isScheduled(message)) return ["Scheduled", "none", "later"];
  switch (delivery.state) {
    case "sending":
      return ["Being sent", "none", "sent"];
    case "queued":
      return delivery.attempts === 0 ? ["On its way", "none", "sent"] : ["Waiting to try again", "warn", "later"];
    case "failed":
      return ["Not sent", "bad", "warning"];
    case "canceled":
      return ["Canceled", "none", "close"];
    default:
      return accepted === recipients.length
        ? ["Delivered", "good", "check"]
        : [`Delivered to ${accepted} of ${recipients.length}`, "warn", "warning"];
  }
}

/** Return the state of a message as a badge; null for one that was never ordered to be sent. */
export function deliveryBadge(message) {
  return message.delivery && badge(...stateOf(message));
}

/** Return what became of every recipient, with what the servers said. */
export function recipientList({ delivery }) {
  const lines = Object.entries(delivery.recipients).map(([address, recipient]) => {
    const said = [recipient.smtp_code, recipient.smtp_reply].filter(Boolean).join(" ");
    return element(
      "li",
      { class: `verdict ${delivery.state === "canceled" ? "none" : TONES[recipient.state]}` },
      icon(SYMBOLS[recipient.state]),
      element(
        "div",
        {},
        element("strong", {}, address),
        element("span", {}, `${WORDS[recipient.state]}${said ? `: ${said}` : ""}`),
      ),
    );
  });
  return element("ul", { class: "verdicts", "aria-label": "Recipients" }, lines);
}

/** Return when something happens next, or what went wrong on the way; empty where there is nothing to say. */
export function outlook(message) {
  const { delivery } = message;
  const notes = [];
  if (isScheduled(message)) notes.push(element("p", {}, "It will be sent on ", fullTime(delivery.send_at), "."));
  else if (delivery.state === "queued" && delivery.attempts > 0 && delivery.next_attempt_at) {
    notes.push(
      element(
        "p",
        {},
        "Next attempt ",
        relativeTime(delivery.next_attempt_at),
        `, after ${delivery.attempts === 1 ? "one" : delivery.attempts} so far.`,
      ),
    );
  }
  if (delivery.last_error && delivery.state === "sent")
    notes.push(element("p", { class: "advice" }, icon("warning"), delivery.last_error));
  return notes;
}
