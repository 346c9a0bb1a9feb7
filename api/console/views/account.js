/**
 * One's own account: name, recovery address, password, sign-out, and the end of it.
 * @module
 */

import { get, patch, remove } from "../api.js";
import { openDialog } from "../dialog.js";
import { element } from "../dom.js";
import { Form, blaming, passwordField, textField } from "../form.js";
import { notify } from "../notice.js";
import { abandon, signOut } from "../session.js";
import { button, section, skeleton } from "../widgets.js";

export default async function view(page) {
  page.entitle("Account");
  page.render(skeleton("form-shape"), skeleton("form-shape"));
  const me = await get("/api/v1/me", { signal: page.signal });
  const path = `/api/v2/users/${me.user_id}`;
  page.render(
    section("About you", element("div", { class: "card" }, profile(me, path))),
    section("Password", element("div", { class: "card" }, password(me, path))),
    section(
      "This session",
      element(
        "div",
        { class: "card row-card" },
        element("p", {}, "You are signed in in this tab, as ", element("strong", {}, me.username), "."),
        button("Sign out", signOut, { symbol: "leave" }),
      ),
    ),
    section(
      "For programs",
      element(
        "div",
        { class: "card row-card" },
        element("p", {}, "Whatever these pages do, programs can do by the same API."),
        element("a", { href: "/api/docs" }, "API documentation"),
      ),
    ),
    section(
      "Delete",
      element(
        "div",
        { class: "card row-card" },
        element("p", {}, "Delete your account, with all identities, passwords and drafts."),
        button("Delete my account", () => farewell(me, path), { kind: "danger", symbol: "delete" }),
      ),
    ),
  );
}

function profile(me, path) {
  const name = textField("Your name", {
    name: "display_name",
    autocomplete: "name",
    value: me.display_name,
    maxlength: "200",
  });
  const recovery = textField(
    "Recovery address",
    { name: "recovery_email", type: "email", autocomplete: "email", value: me.recovery_email ?? "" },
    { hint: "A mailbox elsewhere.", optional: true },
  );
  return new Form({
    fields: [name, recovery],
    content: element("div", { class: "pair" }, name.node, recovery.node),
    words: "Save",
    kind: "",
    submit: async () => {
      const changes = { display_name: name.value.trim() || null, recovery_email: recovery.value.trim() || null };
      await patch(path, changes, { display_name: me.display_name, recovery_email: me.recovery_email });
      Object.assign(me, await get(path));
      name.value = me.display_name;
      notify("Saved.");
    },
  }).node;
}

function password(me, path) {
  const present = passwordField("Present password", {
    name: "current_state.password",
    autocomplete: "current-password",
    required: true,
  });
  const next = passwordField(
    "New password",
    { name: "password", autocomplete: "new-password", required: true },
    { hint: "At least 8 characters." },
  );
  // For password managers, which want to know whose passwords these are.
  const whose = element("input", {
    type: "text",
    autocomplete: "username",
    value: me.username,
    hidden: true,
    readonly: true,
  });
  const form = new Form({
    fields: [present, next],
    content: [whose, element("div", { class: "pair" }, present.node, next.node)],
    words: "Change password",
    kind: "",
    submit: async () => {
      const isWrong = blaming(present, 409, "This is not your present password.");
      await patch(path, { password: next.value }, { password: present.value }).catch(isWrong);
      form.node.reset();
      notify("The password is changed. All other sessions are signed out.");
    },
  });
  return form.node;
}

function farewell(me, path) {
  return openDialog("Delete your account?", (close) => {
    const secret = passwordField("Password", {
      name: "password",
      autocomplete: "current-password",
      required: true,
    });
    const form = new Form({
      fields: [secret],
      content: [
        element(
          "p",
          {},
          "This cannot be undone. Your identities, their passwords and your drafts are erased, and the user name ",
          element("strong", {}, me.username),
          " is never given again.",
        ),
        secret.node,
      ],
      words: "Delete my account",
      kind: "danger",
      beside: [button("Cancel", () => close())],
      submit: async () => {
        await remove(path, { password: secret.value }).catch(blaming(secret, 403, "This is not your password."));
        close();
        abandon();
        notify("Your account is deleted.");
      },
    });
    return form.node;
  });
}
