/**
 * Writing a message: it saves itself as a draft, and is sent now or later.
 * @module
 */

import { get, post } from "../api.js";
import { Attachments } from "../attachments.js";
import { isScheduled, recipientList } from "../delivery.js";
import { discard } from "../discard.js";
import { element } from "../dom.js";
import { Draft, messagePath, wordingOf } from "../draft.js";
import { Problem } from "../http.js";
import { allIdentities } from "../messages.js";
import { notify } from "../notice.js";
import { Recipients } from "../recipients.js";
import { go } from "../router.js";
import { askWhen } from "../schedule.js";
import { busy, button, buttonLink, callout, emptyState, isBusy, skeleton } from "../widgets.js";

const TYPES = ["To", "Cc", "Bcc"];
const BACK = ["#/drafts", "Drafts"];

export default async function view(page) {
  const { id } = page.params;
  page.entitle(id ? "Draft" : "New message", { back: BACK });
  page.render(skeleton("form-shape"));
  const [identities, message, parent] = await Promise.all([
    allIdentities(page.signal),
    id && get(messagePath(id), { signal: page.signal }),
    page.query.reply && get(messagePath(page.query.reply), { signal: page.signal }),
  ]);
  if (message && !message.is_draft) return go(`#/sent/${id}`, { replace: true });
  if (identities.length === 0)
    return page.render(
      emptyState(
        "identities",
        "You need an identity to write from",
        "Add an account first.",
        buttonLink("Add account", "#/identities/new", { kind: "primary" }),
      ),
    );
  const composer = new Composer(
    page,
    identities,
    message || null,
    message ? wordingOf(message) : blank(page, identities, parent),
  );
  page.render(composer.node);
  composer.start();
}

/** Return the wording of a new message; one that follows another goes to the same people. */
function blank(page, identities, parent) {
  const usable = identities.filter((each) => each.status === "active");
  const from = page.query.identity ?? parent?.user_identities[0];
  const identity = identities.find((each) => each.identity_id === from) ?? usable[0] ?? identities[0];
  const wording = { user_identities: [identity.identity_id], subject: "", body: "", participants: [] };
  if (!parent) return wording;
  const participants = wordingOf(parent).participants.filter(({ type }) => type === "To" || type === "Cc");
  return { ...wording, participants, subject: `Re: ${parent.subject.replace(/^(\s*re\s*:)+\s*/i, "")}` };
}

class Composer {
  constructor(page, identities, message, wording) {
    Object.assign(this, { page, identities, message });
    this.draft = new Draft({
      id: message?.message_id,
      saved: message && wording,
      wording: structuredClone(wording),
      parent: message ? undefined : page.query.reply,
      tell: (state, problem) => this.tell(state, problem),
      created: (id) => history.replaceState(null, "", `#/drafts/${id}`),
    });
    this.others = wording.participants.filter(({ type }) => !TYPES.includes(type));
    this.people = TYPES.map((type) => new Recipients(type, () => this.readPeople()));
    this.attachments = new Attachments({
      messageId: message?.message_id,
      attachments: message?.attachments ?? [],
      ready: async () => {
        await this.draft.save();
        return this.draft.id;
      },
      signal: page.signal,
    });
    this.node = this.layout(wording);
    this.fill(wording);
    this.attachments.acceptDrops(this.node);
    page.signal.addEventListener("abort", () => this.leave());
    addEventListener(
      "beforeunload",
      (event) => {
        if (this.draft.isDirty) event.preventDefault();
      },
      { signal: page.signal },
    );
  }

  makeFields(wording) {
    const change = (key, read) => () => this.draft.change({ [key]: read() });
    this.from = element(
      "select",
      {
        id: "from",
        class: "line-input",
        "aria-describedby": "from-error",
        onchange: change("user_identities", () => [this.from.value]),
      },
      this.choices(wording),
    );
    this.fromError = element("p", { class: "field-error", id: "from-error", hidden: true });
    this.subject = element("input", {
      id: "subject",
      class: "line-input",
      type: "text",
      autocomplete: "off",
      maxlength: "2000",
      oninput: change("subject", () => this.subject.value),
    });
    this.body = element("textarea", {
      class: "letter-input",
      "aria-label": "Text",
      placeholder: "Write your message",
      rows: "12",
      oninput: change("body", () => this.body.value),
    });
  }

  /** The buttons that show the fields for Cc and Bcc. */
  makeMore([to, ...optional]) {
    this.more = element(
      "div",
      { class: "line-more" },
      optional.map((field) =>
        button(field.type, () => this.reveal(field), { kind: "quiet small", "aria-label": `Add ${field.type}` }),
      ),
    );
    to.node.append(this.more);
  }

  layout(wording) {
    this.makeFields(wording);
    this.makeMore(this.people);
    this.alert = element("div", { role: "alert" });
    this.state = element("span", { class: "saved-state" });
    const onsubmit = (event) => {
      event.preventDefault();
      this.send();
    };
    return element(
      "form",
      { class: "card compose", novalidate: true, onsubmit },
      this.alert,
      line("From", "from", this.from, this.fromError),
      this.people.map((field) => field.node),
      line("Subject", "subject", this.subject),
      this.body,
      this.attachments.list,
      this.attachments.input,
      this.bar(),
    );
  }

  bar() {
    this.sendButton = button("Send", null, { kind: "primary", symbol: "sent", type: "submit" });
    this.laterButton = button("Send later", () => this.sendLater(), { symbol: "later" });
    return element(
      "div",
      { class: "compose-bar" },
      this.sendButton,
      this.laterButton,
      this.attachments.control,
      this.state,
      button("Discard", () => this.discard(), { kind: "quiet", symbol: "delete" }),
    );
  }

  choices(wording) {
    const known = this.identities.map((each) => {
      const name =
        each.display_name === each.identifier ? each.identifier : `${each.display_name} <${each.identifier}>`;
      return element(
        "option",
        { value: each.identity_id, disabled: each.status !== "active" },
        each.status === "active" ? name : `${name} (paused)`,
      );
    });
    const isKnown = this.identities.some((each) => each.identity_id === wording.user_identities[0]);
    return isKnown
      ? known
      : [element("option", { value: wording.user_identities[0], disabled: true }, "A deleted identity"), ...known];
  }

  fill({ user_identities: [identity], subject, body, participants }) {
    this.from.value = identity;
    this.subject.value = subject;
    this.body.value = body;
    for (const field of this.people) {
      field.set(participants.filter(({ type }) => type === field.type).map((each) => ({ ...each })));
      field.node.hidden = field.type !== "To" && field.people.length === 0;
    }
    this.hideRevealed();
  }

  /** Put the focus where writing goes on; show how an earlier order ended. */
  start() {
    if (this.message?.delivery) this.alert.replaceChildren(earlier(this.message));
    const [to] = this.people;
    if (to.people.length === 0) to.input.focus();
    else this.body.focus();
  }

  reveal(field) {
    field.node.hidden = false;
    this.hideRevealed();
    field.input.focus();
  }

  hideRevealed() {
    const [, ...optional] = this.people;
    optional.forEach((field, index) => {
      this.more.children[index].hidden = !field.node.hidden;
    });
  }

  readPeople() {
    this.draft.change({ participants: [...this.people.flatMap((field) => field.participants), ...this.others] });
  }

  // -- what the gateway says of the draft ------------------------------------------------------------------------

  tell(state, problem) {
    const words = {
      saving: "Saving…",
      saved: "Saved",
      conflict: "Not saved",
      sent: "Not saved",
      refused: "Not saved",
    };
    this.state.textContent = words[state];
    if (state === "conflict") this.alert.replaceChildren(this.conflict());
    else if (state === "sent") this.alert.replaceChildren(this.noDraft(problem));
    else if (state === "refused") this.blame(problem);
    if (problem && this.page.signal.aborted)
      notify(`The draft could not be saved: ${problem.message}`, { tone: "bad" });
  }

  conflict() {
    const keep = async (event) => {
      this.alert.replaceChildren();
      await busy(event.currentTarget, this.draft.overwrite()).catch(() => {});
    };
    return callout(
      "warn",
      "This draft was changed somewhere else",
      element("span", {}, "In another window, or by another program. Which of the two shall stay?"),
      element(
        "div",
        { class: "actions" },
        button("Keep what I wrote here", keep),
        button("Show the other", () => {
          this.draft.halt();
          this.page.reload();
        }),
      ),
    );
  }

  noDraft(problem) {
    return callout(
      "warn",
      "This is no draft any more",
      element("span", {}, problem.message),
      element("div", { class: "actions" }, buttonLink("See the message", `#/sent/${this.draft.id}`)),
    );
  }

  /** Put what is wrong to its field; addresses that are wrong are left out, so that all else is saved. */
  blame(problem) {
    const sent = this.draft.sent.participants;
    let isKnown = false;
    for (const [path, sentences] of Object.entries(problem.errors))
      isKnown = this.blameOne(path, sentences.join(" "), sent) || isKnown;
    if (!isKnown) this.alert.replaceChildren(callout("bad", problem.message));
    if (this.people.some((field) => field.hasFault)) this.readPeople();
  }

  blameOne(path, words, sent) {
    const [, index] = /^participants\.(\d+)\./.exec(path) ?? [];
    if (index !== undefined) {
      const { address, type } = sent[index];
      return this.people.find((field) => field.type === type)?.fail(address, words) ?? false;
    }
    if (path === "participants") this.people[0].failAll(words);
    else if (path.startsWith("user_identities")) this.failFrom(words);
    else return false;
    return true;
  }

  failFrom(words) {
    this.fromError.textContent = words;
    this.fromError.hidden = false;
    this.from.focus();
  }

  // -- sending ---------------------------------------------------------------------------------------------------

  async sendLater() {
    const time = await askWhen();
    if (time) await this.send(time, this.laterButton);
  }

  async send(sendAt, control = this.sendButton) {
    if (isBusy(control)) return;
    this.alert.replaceChildren();
    this.fromError.hidden = true;
    try {
      await busy(control, this.order(sendAt));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 424) await this.refused();
      else this.blame(problem);
    }
  }

  async order(sendAt) {
    for (const field of this.people) field.commit();
    await this.draft.save();
    const faulty = this.people.find((field) => field.hasFault);
    if (faulty) return faulty.input.focus();
    if (this.attachments.isUploading)
      return this.alert.replaceChildren(callout("warn", "Files are still being uploaded. Send when that is done."));
    const params = sendAt ? { send_at: sendAt } : {};
    const message = await post(`${messagePath(this.draft.id)}/actions`, { actions: ["send"], params });
    this.draft.halt();
    notify(outcome(message));
    if (!this.page.signal.aborted) go(`#/sent/${message.message_id}`, { replace: true });
  }

  async refused() {
    const message = await get(messagePath(this.draft.id));
    this.alert.replaceChildren(earlier(message));
    this.alert.scrollIntoView({ block: "nearest" });
  }

  // -- leaving ---------------------------------------------------------------------------------------------------

  async discard() {
    this.draft.halt();
    await this.draft.running?.catch(() => {});
    if (this.draft.id) discard(this.draft.id);
    go("#/drafts");
  }

  leave() {
    for (const field of this.people) field.commit();
    if (!this.draft.isHalted && this.draft.isDirty) this.draft.save().catch(() => {});
  }
}

function line(words, id, control, error) {
  return element(
    "div",
    { class: "line" },
    element("label", { class: "line-label", for: id }, words),
    element("div", { class: "line-content" }, control, error),
  );
}

function outcome(message) {
  if (isScheduled(message)) return "The message is scheduled.";
  return message.delivery.state === "sent" ? "The message is sent." : "The message is on its way.";
}

/** Return how an earlier order to send the draft ended: in the words of the server for each recipient, or for all. */
function earlier(message) {
  const { state, recipients, last_error: error } = message.delivery;
  if (state === "canceled")
    return callout(
      "none",
      "Sending was canceled",
      element("span", {}, "It is a draft again: change it, or send it."),
    );
  const isOfEach = Object.values(recipients).every((recipient) => recipient.smtp_code);
  return callout("bad", "It was not sent", isOfEach ? recipientList(message) : element("span", {}, error));
}
