/**
 * A mailbox of a domain as lists and pages show it, and its fields.
 * @module
 */

import { isManaged, pageOf, resourceOf } from "./domain.js";
import { element } from "./dom.js";
import { checksField, textField } from "./form.js";
import { user } from "./session.js";
import { badge } from "./widgets.js";

const STATES = {
  pending: { tone: "none", symbol: "later", words: "Pending" },
  enabled: { tone: "good", symbol: "check", words: "Enabled" },
  failed: { tone: "bad", symbol: "warning", words: "Failed" },
  disabled: { tone: "none", symbol: "pause", words: "Disabled" },
};
const SENTENCES = {
  enabled: "It is in use.",
  failed: "The mail servers refused to create it. Try it again; if that does not help, ask who runs this gateway.",
  disabled: "It is out of use: nobody can sign in to it.",
};
const MINE = "mine";

/** Return the resource of a mailbox, or of what is below it. */
export function mailboxPath(domain, mailbox, ...below) {
  return resourceOf(domain.name, "mailboxes", mailbox.local_part, ...below);
}

/** Return the address of its page. */
export function mailboxPage(domain, mailbox) {
  return pageOf(domain.name, "mailboxes", mailbox.local_part);
}

/** Return its status as a badge. */
export function mailboxBadge(mailbox) {
  const { words, tone, symbol } = STATES[mailbox.status];
  return badge(words, tone, symbol);
}

/** Return what its status means. */
export function mailboxSentence(domain, mailbox) {
  if (mailbox.status !== "pending") return SENTENCES[mailbox.status];
  return domain.status === "enabled"
    ? "The mail servers are creating it. Where they do not answer it is tried again by itself."
    : "It is created when the domain is enabled.";
}

/** Return whether the mailbox is the user's own. */
export function isMine(mailbox) {
  return mailbox.user_id === user().user_id;
}

/** The fields of a mailbox; of a new one where there is no `mailbox`. */
export class MailboxFields {
  constructor(domain, mailbox) {
    this.isNew = !mailbox;
    this.localPart = textField(
      "Address",
      { name: "local_part", required: true, maxlength: "64", autocapitalize: "off", spellcheck: "false" },
      { suffix: `@${domain.name}` },
    );
    this.first = nameField("First name", "first_name", mailbox);
    this.last = nameField("Last name", "last_name", mailbox);
    this.second = textField(
      "Second address",
      { name: "secondary_email", type: "email", value: mailbox?.secondary_email ?? "" },
      { hint: "A mailbox elsewhere. The link to sign in goes there.", optional: true },
    );
    this.owner = checksField("Whose it is", "user_id", [
      [MINE, "This is my own mailbox", "It becomes an identity of yours, from which you can write here."],
    ]);
    this.owner.values = mailbox && isMine(mailbox) ? [MINE] : [];
    // A mailbox of somebody else's is not taken away; whose it is takes a role to say.
    this.owner.node.hidden = !isManaged(domain) || Boolean(mailbox?.user_id && !isMine(mailbox));
  }

  get fields() {
    const own = [this.first, this.last, this.second, this.owner];
    return this.isNew ? [this.localPart, ...own] : own;
  }

  get node() {
    return element(
      "div",
      { class: "stack" },
      this.isNew && this.localPart.node,
      element("div", { class: "pair" }, this.first.node, this.last.node),
      this.second.node,
      this.owner.node,
    );
  }

  /** What the fields say, as properties of a mailbox. */
  get values() {
    const values = {
      first_name: this.first.value.trim(),
      last_name: this.last.value.trim(),
      secondary_email: this.second.value.trim() || null,
    };
    if (this.isNew) values.local_part = this.localPart.value.trim();
    if (!this.owner.node.hidden) values.user_id = this.owner.values.includes(MINE) ? user().user_id : null;
    return values;
  }
}

function nameField(label, name, mailbox) {
  return textField(label, { name, required: true, maxlength: "100", value: mailbox?.[name] ?? "" });
}
