/**
 * One message that was sent or is on its way, with what became of every recipient.
 * @module
 */

import { download, get, post, remove } from "../api.js";
import { attachmentLink } from "../attachments.js";
import { deliveryBadge, isMoving, isScheduled, outlook, recipientList } from "../delivery.js";
import { confirmed } from "../dialog.js";
import { element } from "../dom.js";
import { messagePath } from "../draft.js";
import { attempt, notify } from "../notice.js";
import { poll } from "../poll.js";
import { go, pageAt } from "../router.js";
import { fullTime } from "../time.js";
import { button, buttonLink, skeleton } from "../widgets.js";

const BACK = ["#/sent", "Sent"];
const TYPES = ["From", "To", "Cc", "Bcc", "Reply-To"];

export default async function view(page) {
  page.entitle("Message", { back: BACK });
  page.render(skeleton("card-shape"), skeleton("form-shape"));
  const message = await get(messagePath(page.params.id), { signal: page.signal });
  if (message.is_draft) return go(`#/drafts/${message.message_id}`, { replace: true });
  const delivery = element("section", { class: "card delivery", "aria-label": "Delivery" });
  page.render(delivery, letter(message));
  show(page, delivery, message);
  if (isMoving(message)) follow(page, delivery, message);
}

function show(page, delivery, message) {
  page.entitle(message.subject || "No subject", { back: BACK, actions: actions(page, message) });
  delivery.replaceChildren(
    element("div", { class: "titled", role: "status" }, deliveryBadge(message)),
    ...outlook(message),
    recipientList(message),
  );
}

function follow(page, delivery, message) {
  let shown = JSON.stringify(message.delivery);
  poll(
    async () => {
      const renewed = await get(messagePath(message.message_id), { signal: page.signal });
      if (JSON.stringify(renewed.delivery) !== shown) show(page, delivery, renewed);
      shown = JSON.stringify(renewed.delivery);
      return !isMoving(renewed);
    },
    { signal: page.signal },
  );
}

function actions(page, message) {
  const act = (words, symbol, work) => button(words, (event) => attempt(event.currentTarget, work), { symbol });
  if (isMoving(message)) {
    const isWaiting = message.delivery.state === "queued" && message.delivery.attempts === 0;
    return isWaiting
      ? [act(isScheduled(message) ? "Cancel sending" : "Cancel", "close", () => cancel(page, message))]
      : [];
  }
  return [
    buttonLink("Follow up", pageAt("/compose", { reply: message.message_id }), { symbol: "reply" }),
    message.raw_msg_id &&
      act("Download", "download", () => download(`/api/v1/raws/${message.raw_msg_id}`, "message.eml")),
    act("Delete", "delete", () => erase(page, message)),
  ];
}

async function cancel(page, message) {
  await post(`${messagePath(message.message_id)}/actions`, { actions: ["cancel"] });
  notify("The message is not sent. It is a draft again.");
  if (!page.signal.aborted) go(`#/drafts/${message.message_id}`, { replace: true });
}

async function erase(page, message) {
  const isSure = await confirmed(
    "Delete this message?",
    "It is deleted here. Copies at the provider and with its recipients stay.",
    "Delete message",
  );
  if (!isSure) return;
  await remove(messagePath(message.message_id));
  notify("The message is deleted.");
  if (!page.signal.aborted) go("#/sent");
}

function letter(message) {
  const rows = TYPES.map((type) => [type, message.participants.filter((each) => each.type === type)]).filter(
    ([, people]) => people.length > 0,
  );
  return element(
    "article",
    { class: "card letter", "aria-label": "Message" },
    element(
      "dl",
      { class: "facts" },
      rows.map(([type, people]) => [element("dt", {}, type), element("dd", {}, people.map(written).join(", "))]),
      message.date && [element("dt", {}, "Date"), element("dd", {}, fullTime(message.date))],
    ),
    element("div", { class: "letter-body" }, message.body || "This message has no text."),
    message.attachments.length > 0 &&
      element(
        "ul",
        { class: "files", "aria-label": "Attachments" },
        message.attachments.map((each) =>
          element("li", { class: "file" }, attachmentLink(message.message_id, each)),
        ),
      ),
  );
}

function written({ label, address }) {
  return label && label !== address ? `${label} <${address}>` : address;
}
