/**
 * Signing in.
 * @module
 */

import { element } from "../dom.js";
import { Form, passwordField, textField } from "../form.js";
import { invitationNote } from "../invitation.js";
import { signIn } from "../session.js";

export default function view(page) {
  const username = textField("User name", {
    name: "username",
    autocomplete: "username",
    required: true,
    autocapitalize: "off",
    spellcheck: "false",
  });
  const password = passwordField("Password", {
    name: "password",
    autocomplete: "current-password",
    required: true,
  });
  const form = new Form({
    fields: [username, password],
    content: [username.node, password.node],
    words: "Sign in",
    submit: () => signIn(username.value.trim(), password.value),
  });
  page.render(
    invitationNote() ?? element("p", { class: "lead" }, "Every account from which you send mail, in one place."),
    form.node,
    element("p", { class: "aside" }, "New here? ", element("a", { href: "#/sign-up" }, "Create an account")),
  );
  username.focus();
}
