/**
 * Texts to be copied, each with a button.
 * @module
 */

import { element } from "./dom.js";
import { notify } from "./notice.js";
import { iconButton } from "./widgets.js";

/** Return a text with a button that copies it; `what` it is, in words. */
export function copyable(text, what) {
  const onclick = async () => {
    if (await copy(text)) notify(`Copied: ${what}`);
    else notify("The browser does not allow copying. Select the text, and copy that.", { tone: "bad" });
  };
  return element(
    "span",
    { class: "copyable" },
    element("code", {}, text),
    iconButton(`Copy ${what}`, "copy", onclick),
  );
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

/** Copy without the clipboard's own interface, which browsers have on pages over HTTPS alone. */
function copySelected(text) {
  const focused = document.activeElement;
  const field = element("textarea", { class: "unseen", value: text, readonly: true });
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused.focus();
  return isCopied;
}
