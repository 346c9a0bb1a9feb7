/**
 * The console: which page an address opens, for whom.
 * @module
 */

import { takeInvitation, waitingToken } from "./invitation.js";
import { notify } from "./notice.js";
import { Page } from "./page.js";
import { go, matching } from "./router.js";
import { user, watchSession } from "./session.js";
import { mainElement, markPlace, showEntrance, showFrame } from "./shell.js";
import account from "./views/account.js";
import aliases from "./views/aliases.js";
import compose from "./views/compose.js";
import connect from "./views/connect.js";
import domainSettings from "./views/domain-settings.js";
import domain from "./views/domain.js";
import domains from "./views/domains.js";
import drafts from "./views/drafts.js";
import identities from "./views/identities.js";
import identity from "./views/identity.js";
import invitation from "./views/invitation.js";
import mailbox from "./views/mailbox.js";
import mailboxes from "./views/mailboxes.js";
import message from "./views/message.js";
import missing from "./views/missing.js";
import newDomain from "./views/new-domain.js";
import newMailbox from "./views/new-mailbox.js";
import people from "./views/people.js";
import sent from "./views/sent.js";
import signIn from "./views/sign-in.js";
import signUp from "./views/sign-up.js";

const HOME = "#/identities";
const INVITATION = "/invitation";

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
  { path: "/domains", title: "Domains", view: domains, place: { words: "Domains", symbol: "domains" } },
  { path: "/domains/new", title: "Add a domain", view: newDomain },
  { path: "/domains/:name", title: "Domain", view: domain },
  { path: "/domains/:name/mailboxes", title: "Mailboxes", view: mailboxes },
  { path: "/domains/:name/mailboxes/:local_part", title: "Mailbox", view: mailbox },
  { path: "/domains/:name/new-mailbox", title: "Add a mailbox", view: newMailbox },
  { path: "/domains/:name/aliases", title: "Aliases", view: aliases },
  { path: "/domains/:name/people", title: "People", view: people },
  { path: "/domains/:name/settings", title: "Settings", view: domainSettings },
  { path: INVITATION, title: "Accept an invitation", view: invitation },
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
  takeInvitation();
  const isEntrance = matching(ENTRANCE, location.hash) !== null;
  if (user() && (isEntrance || !location.hash))
    return go(waitingToken() ? `#${INVITATION}` : HOME, { replace: true });
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
