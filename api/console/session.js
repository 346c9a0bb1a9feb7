/**
 * Who is signed in. The tokens are kept for this tab only, and are gone with it.
 * @module
 */

import { Problem, exchange } from "./http.js";

const KEY = "session";
const EARLY_MS = 60_000;
const AUTHENTICATIONS = "/api/v1/authentications";

let current = JSON.parse(sessionStorage.getItem(KEY));
let renewal = null;
let onChange = () => {};

/** Call back whenever somebody has signed in or out; `expired` tells that it was not of his own will. */
export function watchSession(callback) {
  onChange = callback;
}

/** Return `{username, user_id}` of who is signed in, or null. */
export function user() {
  return current;
}

export async function signIn(username, password) {
  keep(await (await exchange("POST", AUTHENTICATIONS, { body: { username, password } })).json());
  onChange({ expired: false });
}

/** Sign out, here also where the gateway cannot be told of it. */
export async function signOut() {
  const token = current.tokens.access_token;
  forget();
  onChange({ expired: false });
  await exchange("DELETE", AUTHENTICATIONS, { token }).catch(() => {});
}

/** End the session without telling the gateway, whose account is gone. */
export function abandon() {
  forget();
  onChange({ expired: false });
}

/** Return an access token, a new one where the present one is about to expire. */
export async function accessToken() {
  if (!current) throw new Problem({ status: 401, detail: "Sign in first." });
  const ends = Date.parse(current.tokens.expires_at);
  return Date.now() > ends - EARLY_MS ? renewedToken(current.tokens.access_token) : current.tokens.access_token;
}

/** Return another access token than this one, which is void. All who ask meanwhile share one renewal. */
export async function renewedToken(token) {
  if (current && current.tokens.access_token === token) {
    renewal ??= renew().finally(() => {
      renewal = null;
    });
    await renewal;
  }
  if (!current) throw new Problem({ status: 401, detail: "Your session has ended. Sign in again." });
  return current.tokens.access_token;
}

async function renew() {
  const body = { refresh_token: current.tokens.refresh_token };
  try {
    keep(await (await exchange("POST", `${AUTHENTICATIONS}/refresh`, { body })).json());
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    forget();
    onChange({ expired: true });
  }
}

function keep(signedIn) {
  current = signedIn;
  sessionStorage.setItem(KEY, JSON.stringify(current));
}

function forget() {
  current = null;
  sessionStorage.removeItem(KEY);
}
