/**
 * The console: which page an address opens, for whom.
 * @module
 */

import { notify } from "./notice.js";
import { Page } from "./page.js";
import { go, matching } from "./router.js";
import { user, watchSession } from "./session.js";
import { mainElement, markPlace, showEntrance, showFrame } from "./shell.js";
import account from "./views/account.js";
import compose from "./views/compose.js";
import connect from "./views/connect.js";
import drafts from "./views/drafts.js";
import identities from "./views/identities.js";
import identity from "./views/identity.js";
import message from "./views/message.js";
import missing from "./views/missing.js";
import sent from "./views/sent.js";
import signIn from "./views/sign-in.js";
import signUp from "./views/sign-up.js";

const HOME = "#/identities";

/** Pages of whoever is signed in; those with a `place` stand in the navigation, in this order. */
const ROUTES = [
  {
    path: "/compose",
    title: "New message",
    view: compose,
    place: { words: "Write", symbol: "write", prominent: true },
  },
  {
    path: "/identities",
    title: "Identities",
    view: identities,
    place: { words: "Identities", symbol: "identities" },
  },
  { path: "/identities/new", title: "Add an account", view: connect },
  { path: "/identities/:kind/:id", title: "Identity", view: identity },
  { path: "/drafts", title: "Drafts", view: drafts, place: { words: "Drafts", symbol: "drafts" } },
  { path: "/drafts/:id", title: "Draft", view: compose },
  { path: "/sent", title: "Sent", view: sent, place: { words: "Sent", symbol: "sent" } },
  { path: "/sent/:id", title: "Message", view: message },
  { path: "/account", title: "Account", view: account, place: { words: "Account", symbol: "account" } },
];

const ENTRANCE = [
  { path: "/sign-in", title: "Sign in", view: signIn },
  { path: "/sign-up", title: "Create an account", view: signUp },
];

const NOWHERE = { path: "/missing", title: "Page not found", view: missing };

let leaving = new AbortController();

/** Open the page that the address names; whoever is not signed in gets to it by way of the sign-in. */
async function open() {
  const isEntrance = matching(ENTRANCE, location.hash) !== null;
  if (user() && (isEntrance || !location.hash)) return go(HOME, { replace: true });
  leaving.abort();
  leaving = new AbortController();
  const routes = user() ? ROUTES : ENTRANCE;
  const found = matching(routes, location.hash) ?? { route: user() ? NOWHERE : ENTRANCE[0], params: {}, query: {} };
  const { signal } = leaving;
  const page = new Page(mainElement(), { ...found, title: found.route.title, signal, reload: open });
  markPlace(found.route.path);
  scrollTo(0, 0);
  const ready = found.route.view(page);
  if (!page.main.contains(document.activeElement)) page.heading.focus();
  return Promise.resolve(ready).catch((error) => page.fail(error));
}

function frame() {
  if (user())
    showFrame(
      ROUTES.filter((route) => route.place),
      user(),
    );
  else showEntrance();
}

watchSession(({ expired }) => {
  frame();
  if (expired) notify("Your session has ended. Sign in again.", { tone: "bad" });
  else if (!user()) go("#/sign-in", { replace: true });
  open();
});
addEventListener("hashchange", open);
frame();
open();
