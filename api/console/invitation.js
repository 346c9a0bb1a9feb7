/**
 * The invitation with whose link somebody came: it waits here, and nowhere else, until its guest has signed in.
 * @module
 */

import { callout } from "./widgets.js";

const LINK = /#invitation=([\w-]+)/;

let waiting = "";

/** Take the token of an invitation out of the address, where nobody shall see or keep it; go on to its page. */
export function takeInvitation() {
  if (!LINK.test(location.hash)) return;
  waiting = tokenIn(location.hash);
  history.replaceState(null, "", "#/invitation");
}

/** Return the token that waits, or "". */
export function waitingToken() {
  return waiting;
}

/** Let none wait any more. */
export function forgetInvitation() {
  waiting = "";
}

/** Return the token in what somebody entered, which may be the whole link. */
export function tokenIn(text) {
  return LINK.exec(text)?.[1] ?? text.trim();
}

/** Return what to tell a guest who is not signed in; null where there is none. */
export function invitationNote() {
  return waiting
    ? callout("none", "You are invited to manage a domain", "Sign in, or create an account, to accept.")
    : null;
}
