/**
 * Drafts: what is being written, was canceled, or was refused.
 * @module
 */

import { isDiscarded } from "../discard.js";
import { showMessages } from "../messages.js";
import { buttonLink, emptyState } from "../widgets.js";

export default function view(page) {
  return showMessages(page, "Drafts", {
    isDraft: true,
    address: (message) => `#/drafts/${message.message_id}`,
    isHidden: (message) => isDiscarded(message.message_id),
    empty: () =>
      emptyState(
        "drafts",
        "No drafts",
        "What you write is kept here by itself, until you send it.",
        buttonLink("Write a message", "#/compose", { kind: "primary", symbol: "write" }),
      ),
  });
}
