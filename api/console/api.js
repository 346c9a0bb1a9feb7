/**
 * The REST API, as the signed-in user: every request has a token that lives; what only reads is tried until it
 * succeeds, so that a page waits for a gateway that is away.
 * @module
 */

import { lost, pause, regained } from "./connection.js";
import { Problem, exchange } from "./http.js";
import { accessToken, renewedToken } from "./session.js";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;
const OVERTAKEN = "It was changed somewhere else meanwhile. Open it again to see how it is now.";
const DOWNLOAD_MS = 60_000; // until when a browser has taken a file over

export { Problem };

/** Read; waits for a gateway that is away. */
export async function get(path, { signal } = {}) {
  return (await untilAnswered(() => authorized("GET", path, { signal }), signal)).json();
}

export async function post(path, body, options = {}) {
  return (await authorized("POST", path, { body, ...options })).json();
}

/** Send a merge patch; `before` are the old values of what it changes, null where they do not matter. */
export async function patch(path, changes, before, options = {}) {
  const body = before ? { ...changes, current_state: before } : changes;
  await authorized("PATCH", path, { body, ...options }).catch((problem) => {
    // What speaks of current_state is meant for programs.
    const isOvertaken = problem.status === 409 && problem.message.includes("current_state");
    throw isOvertaken ? new Problem({ status: 409, detail: OVERTAKEN }) : problem;
  });
}

export async function remove(path, body, options = {}) {
  await authorized("DELETE", path, { body, ...options });
}

/** Do something as nobody in particular: register, ask for a free name. */
export async function publicly(verb, path, body, options = {}) {
  return (await exchange(verb, path, { body, ...options })).json();
}

/**
 * Upload a file with multipart/form-data; `progress` is called with numbers from 0 to 1.
 * XMLHttpRequest is the one way to hear of progress. At a 401 it would ask the user in a dialog of the browser's:
 * the token is proven before.
 */
export async function upload(path, file, { progress, signal }) {
  await get("/api/v1/me", { signal });
  const token = await accessToken();
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("attachment", file);
    request.open("POST", path);
    request.responseType = "json";
    request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.upload.addEventListener("progress", (event) => progress(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Problem()));
    request.addEventListener("abort", () => reject(signal.reason));
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(request.response);
      else reject(new Problem({ ...request.response, status: request.status }));
    });
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** Let the browser store a file of the API under this name. */
export async function download(path, fileName) {
  const content = await (await authorized("GET", path, {})).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), DOWNLOAD_MS);
}

/** Return a path with the parameters that have a value. */
export function withQuery(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

async function authorized(verb, path, options) {
  const token = await accessToken();
  const response = await exchange(verb, path, { ...options, token }).catch(async (problem) => {
    if (problem.status !== 401) throw problem;
    return exchange(verb, path, { ...options, token: await renewedToken(token) });
  });
  regained();
  return response;
}

async function untilAnswered(attempt, signal) {
  for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(2 * wait, LONGEST_PAUSE_MS)) {
    try {
      return await attempt();
    } catch (problem) {
      if (!problem.isTemporary) throw problem;
      lost(problem);
      await pause(Math.max(wait, 1000 * problem.retryAfter), signal);
    }
  }
}
