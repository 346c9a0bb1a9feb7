/**
 * A draft that saves itself: what is changed is sent after a short rest, one request at a time, each with what the
 * draft was before, so that nobody's change is overwritten unseen.
 * @module
 */

import { get, patch, post } from "./api.js";
import { lost, pause } from "./connection.js";

const REST_MS = 700;
const AGAIN_MS = 3000;
const KEYS = ["user_identities", "subject", "body", "participants"];

/** Return the resource of a message. */
export function messagePath(id) {
  return `/api/v1/messages/${encodeURIComponent(id)}`;
}

/** Return what can be written of a message; From is the gateway's to write. */
export function wordingOf(message) {
  const participants = message.participants
    .filter(({ type }) => type !== "From")
    .map(({ protocol, ...participant }) => participant);
  return { ...Object.fromEntries(KEYS.map((key) => [key, message[key]])), participants };
}

/** A draft; `tell(state, problem)` is called with saving, saved, conflict, sent or refused. */
export class Draft {
  constructor({ id = null, saved = null, wording, parent, tell, created }) {
    Object.assign(this, { id, saved, parent, tell, created });
    this.wanted = wording ?? structuredClone(saved);
    this.first = null;
    this.isHalted = false;
  }

  /** True where something is not saved yet. */
  get isDirty() {
    return this.id === null
      ? this.first !== null || this.timer !== undefined
      : changedKeys(this.saved, this.wanted).length > 0;
  }

  /** Change what is written, and save it in a while. */
  change(values) {
    Object.assign(this.wanted, values);
    if (this.isHalted) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save().catch(() => {}), REST_MS);
  }

  /** Save all now; what has never been saved is created. Throws the problem that `tell` was told. */
  save() {
    clearTimeout(this.timer);
    this.running ??= this.run().finally(() => {
      this.running = null;
    });
    return this.running;
  }

  /** Save nothing any more. */
  halt() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.isHalted = true;
  }

  /** After a conflict: let what is written here win. */
  async overwrite() {
    this.saved = wordingOf(await get(messagePath(this.id)));
    this.isHalted = false;
    await this.save();
  }

  async run() {
    this.timer = undefined;
    while (!this.isHalted && (this.id === null || this.isDirty)) {
      this.tell("saving");
      try {
        await (this.id === null ? this.create() : this.update());
      } catch (problem) {
        await this.weather(problem);
      }
    }
    if (!this.isHalted) this.tell("saved");
  }

  /** Create the draft; where the answer was lost, again with the same body, which creates no second one. */
  async create() {
    this.first ??= {
      message_id: newMessageId(),
      ...structuredClone(this.wanted),
      ...(this.parent ? { parent_id: this.parent } : {}),
    };
    this.sent = this.first;
    await post("/api/v1/messages", this.first);
    this.id = this.first.message_id;
    this.saved = structuredClone(this.first);
    this.created?.(this.id);
  }

  async update() {
    this.sent = structuredClone(this.wanted);
    const keys = changedKeys(this.saved, this.sent);
    await patch(messagePath(this.id), pick(this.sent, keys), pick(this.saved, keys));
    Object.assign(this.saved, this.sent);
  }

  /** Wait out what is temporary; tell and throw everything else. */
  async weather(problem) {
    if (problem.isTemporary) {
      lost(problem);
      await pause(AGAIN_MS);
      return;
    }
    if (this.id === null) this.first = null;
    const state = { 409: "conflict", 403: "sent" }[problem.status] ?? "refused";
    if (state !== "refused") this.halt();
    this.tell(state, problem);
    throw problem;
  }
}

function changedKeys(before, after) {
  return KEYS.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
}

function pick(values, keys) {
  return Object.fromEntries(keys.map((key) => [key, values[key]]));
}

/** Return a random UUID. crypto.randomUUID is there in secure contexts only, and a gateway at home may have no TLS. */
function newMessageId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
