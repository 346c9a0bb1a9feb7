/**
 * Choosing when a message is sent.
 * @module
 */

import { openDialog } from "./dialog.js";
import { element } from "./dom.js";
import { textField } from "./form.js";
import { button } from "./widgets.js";

const MORNING = 8;
const MONDAY = 1;

/** Ask for a time; resolves to it as a timestamp, or to "" where none was chosen. */
export function askWhen() {
  return openDialog("Send later", (close) => {
    const time = textField("Another time", { type: "datetime-local", value: local(inDays(1, 9)) });
    const choose = () => {
      const chosen = new Date(time.value);
      if (chosen > Date.now()) close(chosen.toISOString());
      else time.fail("Choose a time that is still to come.");
    };
    return [
      element(
        "div",
        { class: "options" },
        presets().map(([words, date]) => button(words, () => close(date.toISOString()), { kind: "wide" })),
      ),
      time.node,
      element(
        "div",
        { class: "actions end" },
        button("Back", () => close()),
        button("Schedule", choose, { kind: "primary" }),
      ),
    ];
  });
}

function presets() {
  const toMonday = (MONDAY + 7 - new Date().getDay()) % 7 || 7;
  return [
    ["In one hour", new Date(Date.now() + 3600 * 1000)],
    ["Tomorrow at 8:00", inDays(1, MORNING)],
    ...(toMonday > 1 ? [["Monday at 8:00", inDays(toMonday, MORNING)]] : []),
  ];
}

function inDays(days, hour) {
  const date = new Date();
  date.setDate(date.getDate() + days);
  date.setHours(hour, 0, 0, 0);
  return date;
}

/** Write a date as an input for local times has it. */
function local(date) {
  const shifted = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 16);
}
