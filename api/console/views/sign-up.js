/**
 * Signing up; whoever has is signed in at once.
 * @module
 */

import { publicly, withQuery } from "../api.js";
import { element } from "../dom.js";
import { Form, passwordField, textField } from "../form.js";
import { invitationNote } from "../invitation.js";
import { signIn } from "../session.js";

export default function view(page) {
  const fields = makeFields(page);
  const [username, password] = fields;
  const form = new Form({
    fields,
    content: fields.map((field) => field.node),
    words: "Create account",
    submit: async () => {
      await publicly("POST", "/api/v1/users", body(fields));
      await signIn(username.value.trim(), password.value);
    },
  });
  page.render(
    invitationNote(),
    form.node,
    element("p", { class: "aside" }, "You have an account? ", element("a", { href: "#/sign-in" }, "Sign in")),
  );
  username.focus();
}

function makeFields(page) {
  const username = textField(
    "User name",
    {
      name: "username",
      autocomplete: "username",
      required: true,
      maxlength: "42",
      autocapitalize: "off",
      spellcheck: "false",
      onchange: () => tellIfTaken(username, page.signal),
    },
    { hint: "It becomes the first part of your address here and cannot be changed later." },
  );
  return [
    username,
    passwordField(
      "Password",
      { name: "password", autocomplete: "new-password", required: true },
      { hint: "At least 8 characters." },
    ),
    textField(
      "Your name",
      { name: "display_name", autocomplete: "name" },
      { hint: "Shown to those who get your mail.", optional: true },
    ),
    textField(
      "Recovery address",
      { name: "recovery_email", type: "email", autocomplete: "email" },
      { hint: "A mailbox elsewhere.", optional: true },
    ),
  ];
}

function body([username, password, ...optional]) {
  const given = optional.filter((field) => field.value.trim()).map((field) => [field.name, field.value.trim()]);
  return { username: username.value.trim(), password: password.value, ...Object.fromEntries(given) };
}

/** Say so while the form is being filled in; where nobody answers, the submission will tell. */
async function tellIfTaken(field, signal) {
  const username = field.value.trim();
  if (username.length < 3) return;
  const path = withQuery("/api/v2/username/isAvailable", { username });
  const answer = await publicly("GET", path, undefined, { signal }).catch(() => null);
  if (answer && !answer.available && field.value.trim() === username)
    field.fail("This name is taken, or not one of letters, digits and single . _ - between them.");
}
