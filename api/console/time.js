/**
 * Times in words: "5 minutes ago", with the exact time beside it for whoever wants to know.
 * @module
 */

import { element } from "./dom.js";

const LOCALE = navigator.languages.find((language) => language.startsWith("en")) ?? "en-GB";
const EXACT = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short" });
const OLD_DAY = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", year: "numeric" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat(LOCALE, {
  weekday: "short",
  day: "numeric",
  month: "short",
  hour: "numeric",
  minute: "2-digit",
});
const CLOCK = new Intl.DateTimeFormat(LOCALE, { hour: "numeric", minute: "2-digit" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];
const TICK_MS = 20_000;

/** Return a `<time>` in relative words that stay true while the page is open. */
export function relativeTime(timestamp) {
  return timeElement(timestamp, relative(timestamp), { "data-relative": "" });
}

/** Return a short `<time>`: the clock today, else the day. */
export function shortTime(timestamp) {
  const date = new Date(timestamp);
  const now = new Date();
  const isToday = date.toDateString() === now.toDateString();
  const format = isToday ? CLOCK : date.getFullYear() === now.getFullYear() ? DAY : OLD_DAY;
  return timeElement(timestamp, format.format(date));
}

/** Return a `<time>` with day and clock. */
export function fullTime(timestamp) {
  return timeElement(timestamp, DAY_AND_CLOCK.format(new Date(timestamp)));
}

/** Return day and clock as text. */
export function exactly(timestamp) {
  return EXACT.format(new Date(timestamp));
}

/** Return the clock's hour and minute as text. */
export function clock(timestamp) {
  return CLOCK.format(new Date(timestamp));
}

/** Return how long ago, or in how long, in words. */
function relative(timestamp) {
  const seconds = Math.round((Date.parse(timestamp) - Date.now()) / 1000);
  const unit = UNITS.find(([, length]) => Math.abs(seconds) >= length);
  if (unit) return RELATIVE.format(Math.trunc(seconds / unit[1]), unit[0]);
  return seconds > 0 ? "in a moment" : "just now";
}

function timeElement(timestamp, words, attributes = {}) {
  return element("time", { datetime: timestamp, title: exactly(timestamp), ...attributes }, words);
}

setInterval(() => {
  for (const each of document.querySelectorAll("time[data-relative]")) {
    const words = relative(each.dateTime);
    if (each.textContent !== words) each.textContent = words;
  }
}, TICK_MS);
