/**
 * Accepting an invitation: by its link, or with its token entered by hand.
 * @module
 */

import { post } from "../api.js";
import { pageOf } from "../domain.js";
import { element } from "../dom.js";
import { Form, blaming, textField } from "../form.js";
import { forgetInvitation, tokenIn, waitingToken } from "../invitation.js";
import { notify } from "../notice.js";
import { roleName } from "../roles.js";
import { go } from "../router.js";

const VOID = "No invitation waits for this token: it was used or taken back, or it is over. Ask for a new one.";

export default function view(page) {
  page.entitle("Accept an invitation", { back: ["#/domains", "Domains"] });
  const token = textField(
    "Token",
    { name: "token", required: true, autocapitalize: "off", spellcheck: "false", value: waitingToken() },
    { hint: "It stands in the mail that invites you. The whole link will do as well." },
  );
  const form = new Form({
    fields: [token],
    content: token.node,
    words: "Accept",
    submit: () => accept(page, tokenIn(token.value)).catch(blaming(token, 404, VOID)),
  });
  page.render(element("div", { class: "card" }, form.node));
  if (waitingToken()) form.run();
  else token.focus();
}

async function accept(page, token) {
  const { domain, role } = await post("/api/v2/invitations/accept", { token }).catch((problem) => {
    if (problem.status !== 401) forgetInvitation(); // else it is accepted after the sign-in
    throw problem;
  });
  forgetInvitation();
  notify(`You are ${roleName(role).toLowerCase()} of ${domain} now.`);
  if (!page.signal.aborted) go(pageOf(domain), { replace: true });
}
