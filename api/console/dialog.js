/**
 * Modal dialogs: the browser's own, which hold the focus and close at Escape.
 * @module
 */

import { element, newId } from "./dom.js";
import { button } from "./widgets.js";

/** Show a dialog with this content until it is closed; resolves to what it was closed with, "" by Escape. */
export function openDialog(title, content) {
  const id = newId("dialog");
  const dialog = element(
    "dialog",
    { class: "dialog", "aria-labelledby": id },
    element("h2", { id }, title),
    content(close),
  );
  function close(value = "") {
    dialog.close(value);
  }
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/** Ask before something that cannot be taken back; resolves to true or false. */
export async function confirmed(title, text, words) {
  const answer = await openDialog(title, (close) => [
    element("p", {}, text),
    element(
      "div",
      { class: "actions end" },
      button("Cancel", () => close()),
      button(words, () => close("yes"), { kind: "danger" }),
    ),
  ]);
  return answer === "yes";
}
