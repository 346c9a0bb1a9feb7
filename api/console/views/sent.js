/**
 * What was sent, is on its way, or waits for its time.
 * @module
 */

import { showMessages } from "../messages.js";
import { buttonLink, emptyState } from "../widgets.js";

export default function view(page) {
  return showMessages(page, "Sent messages", {
    isDraft: false,
    address: (message) => `#/sent/${message.message_id}`,
    empty: () =>
      emptyState(
        "sent",
        "Nothing sent yet",
        "Messages appear here as soon as you send them, with what became of every recipient.",
        buttonLink("Write a message", "#/compose", { kind: "primary", symbol: "write" }),
      ),
  });
}
