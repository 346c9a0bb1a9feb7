/**
 * The health of an identity: in words with what to do about it, and as a picture of its last checks.
 * @module
 */

import { get, withQuery } from "./api.js";
import { element, picture } from "./dom.js";
import { clock, exactly, relativeTime } from "./time.js";

const DAY_MS = 24 * 3600 * 1000;
const BARS = 48;
const BAR_MS = DAY_MS / BARS;
const BAR_WIDTH = 6;
const HEIGHT = 28;
const PAGE = 200;

const SERVERS = { inserver: "Incoming mail", outserver: "Outgoing mail" };

/**
 * Return `{tone, words, advice, failures}`: `words` is the state in a word or two, `failures` are `[server, sentence]`
 * pairs.
 */
export function healthOf(identity) {
  const { status, infos, last_check: lastCheck, type } = identity;
  const failures = failuresIn(infos.lastFetchError ?? "");
  if (status === "inactive") return { failures, ...paused(infos.inactivereason) };
  if (failures.length > 0) return { tone: "bad", words: "Not working", failures, advice: advice(type, failures) };
  if (!lastCheck) return { tone: "none", words: "First check to come", failures, advice: "" };
  return { tone: "good", words: "Working", failures, advice: "" };
}

function paused(reason) {
  switch (reason) {
    case "credentials":
      return {
        tone: "bad",
        words: "Stopped: sign-in refused",
        advice:
          "The server refused the password three times, so it is not tried any more. Enter the current password, or an app password, then save and check.",
      };
    case "unreachable":
      return {
        tone: "bad",
        words: "Stopped: unreachable",
        advice:
          "The server could not be reached for three days. Correct its name and port if they have changed, then check again.",
      };
    default:
      return { tone: "none", words: "Paused", advice: "" };
  }
}

function advice(type, failures) {
  if (type === "local")
    return "This is for whoever runs this gateway to mend. Messages wait meanwhile, and are not lost.";
  return failures.some(([, sentence]) => isOfSignIn(sentence))
    ? "Enter the current password, or an app password, then save and check."
    : "It is tried again by itself. If the provider has changed its servers, correct them.";
}

/** True when a sentence about a server speaks of user name, password or token. */
export function isOfSignIn(sentence) {
  return /password|sign-in|sign in|access token|OAuth/i.test(sentence);
}

/** Split what a check told, "inserver: … outserver: …", into `[server, sentence]` pairs. */
export function failuresIn(text) {
  const parts = text.split(/(?:^|\s)(inserver|outserver): /).slice(1);
  return parts.flatMap((part, index) => (index % 2 ? [[parts[index - 1], part]] : []));
}

/** Return what to call a server of an account. */
export function serverName(server) {
  return SERVERS[server] ?? server;
}

/** Return when an identity was last checked, in words. */
export function lastChecked(identity) {
  if (!identity.last_check) return element("span", {}, "Not checked yet");
  return element("span", {}, "Checked ", relativeTime(identity.last_check));
}

/** Return the checks of the last 24 hours, newest first. */
export async function lastDay(path, signal) {
  const since = new Date(Date.now() - DAY_MS).toISOString();
  const checks = [];
  for (;;) {
    const query = { since, limit: PAGE, offset: checks.length };
    const page = await get(withQuery(`${path}/checks`, query), { signal });
    checks.push(...page.checks);
    if (page.checks.length === 0 || checks.length >= page.total) return checks;
  }
}

/** Return the picture of the last 24 hours, half an hour a bar: a failure stands out by height and colour. */
export function healthChart(checks) {
  const now = Date.now();
  const bars = Array.from({ length: BARS }, () => []);
  for (const check of checks) {
    const age = Math.floor((now - Date.parse(check.at)) / BAR_MS);
    bars[BARS - 1 - Math.min(Math.max(age, 0), BARS - 1)].push(check);
  }
  return element(
    "figure",
    { class: "chart" },
    picture(
      "svg",
      {
        viewBox: `0 0 ${BARS * BAR_WIDTH} ${HEIGHT}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": `Checks of the last 24 hours: ${summary(checks)}`,
      },
      bars.map(bar),
    ),
    element(
      "figcaption",
      {},
      element("span", {}, "24 h"),
      element("span", { "aria-hidden": "true" }, summary(checks)),
      element("span", {}, "now"),
    ),
  );
}

function bar(checks, index) {
  const failed = checks.filter((check) => !check.ok);
  const [kind, height] = checks.length === 0 ? ["unknown", 4] : failed.length > 0 ? ["failed", HEIGHT] : ["ok", 18];
  const rect = picture("rect", {
    class: kind,
    x: index * BAR_WIDTH + 1,
    y: HEIGHT - height,
    width: BAR_WIDTH - 2,
    height,
    rx: 1.5,
  });
  if (checks.length > 0) rect.append(picture("title", {}, barTitle(checks, failed)));
  return rect;
}

function barTitle(checks, failed) {
  const at = clock(checks[0].at);
  return failed.length > 0 ? `${at}: ${failed[0].error}` : `${at}: ${checks.length} checked, all well`;
}

function summary(checks) {
  const failed = checks.filter((check) => !check.ok);
  if (checks.length === 0) return "none recorded yet";
  if (failed.length === 0) return checks.length === 1 ? "1 check, well" : `${checks.length} checks, all well`;
  return `${failed.length} of ${checks.length} failed, last at ${clock(failed[0].at)}`;
}

/** Return one past check as a line of text. */
export function checkTitle(check) {
  return `${exactly(check.at)}, ${check.ms} ms`;
}
