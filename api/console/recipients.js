/**
 * A field for addresses: typed or pasted, each becomes a token that can be edited and removed.
 * @module
 */

import { element, icon, newId } from "./dom.js";

// Between addresses; not inside quotes or angle brackets, where a comma belongs to a name or a local part.
const BETWEEN = /[,;\n\t](?=(?:[^"]*"[^"]*")*[^"]*$)(?![^<]*>)/;

/** Read `Name <address>`, `"Name" <address>` or an address alone. */
function parseRecipient(text) {
  const [, label, address] = /^\s*(.*?)\s*<([^<>]*)>\s*$/.exec(text) ?? [null, "", text];
  return { address: address.trim(), label: label.replace(/^"(.*)"$/, "$1") };
}

/** The field for one type of recipients: To, Cc or Bcc. `onchange` is called after every change. */
export class Recipients {
  constructor(type, onchange) {
    this.type = type;
    this.onchange = onchange;
    this.people = [];
    const id = newId("recipients");
    this.input = element("input", {
      id,
      class: "token-input",
      type: "text",
      inputmode: "email",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      "aria-describedby": `${id}-error`,
      onkeydown: (event) => this.key(event),
      onpaste: (event) => this.paste(event),
      onblur: () => this.commit(),
    });
    this.tokens = element("ul", { class: "tokens", "aria-label": `${type}: addresses`, hidden: true });
    this.error = element("p", { class: "field-error", id: `${id}-error`, hidden: true });
    this.node = element(
      "div",
      { class: "line" },
      element("label", { class: "line-label", for: id }, type),
      element(
        "div",
        { class: "line-content" },
        element("div", { class: "token-box" }, this.tokens, this.input),
        this.error,
      ),
    );
  }

  /** What the gateway takes: people with whom nothing is known to be wrong. */
  get participants() {
    return this.people
      .filter((person) => !person.fault)
      .map(({ fault, ...participant }) => ({ ...participant, type: this.type }));
  }

  get hasFault() {
    return this.people.some((person) => person.fault);
  }

  set(people) {
    this.people = people;
    this.draw();
  }

  /** Say what is wrong with an address; return whether it is one of these. */
  fail(address, words) {
    const person = this.people.find((each) => each.address === address);
    if (person) person.fault = words;
    this.draw();
    return person !== undefined;
  }

  /** Say what is wrong with the whole. */
  failAll(words) {
    this.tell(words);
    this.input.focus();
  }

  tell(words) {
    this.error.replaceChildren(icon("warning"), words);
    this.error.hidden = !words;
    this.input.toggleAttribute("aria-invalid", Boolean(words));
  }

  /** Make tokens of what is typed. */
  commit(text = this.input.value) {
    const added = text
      .split(BETWEEN)
      .map(parseRecipient)
      .filter(({ address }) => address);
    this.input.value = "";
    if (added.length > 0) this.change([...this.people, ...added]);
  }

  change(people) {
    this.set(people);
    this.onchange();
  }

  key(event) {
    const { value } = this.input;
    if (["Enter", ",", ";"].includes(event.key) && !event.isComposing && value.split('"').length % 2) {
      if (value.trim() || event.key !== "Enter") event.preventDefault();
      this.commit();
    } else if (event.key === "Backspace" && !value && this.people.length > 0) {
      event.preventDefault();
      this.edit(this.people.at(-1));
    }
  }

  paste(event) {
    const text = event.clipboardData.getData("text");
    if (!BETWEEN.test(text)) return;
    event.preventDefault();
    this.commit(this.input.value + text);
  }

  /** Put a token back into the input. */
  edit(person) {
    this.commit();
    this.input.value = written(person);
    this.change(this.people.filter((each) => each !== person));
    this.input.focus();
  }

  drop(person) {
    this.change(this.people.filter((each) => each !== person));
    this.input.focus();
  }

  draw() {
    this.tokens.replaceChildren(...this.people.map((person) => this.token(person)));
    this.tokens.hidden = this.people.length === 0;
    const faulty = this.people.filter((person) => person.fault);
    this.tell(faulty.map(({ address, fault }) => `${address}: ${fault}`).join(" "));
  }

  token(person) {
    const { address, label, fault } = person;
    return element(
      "li",
      { class: fault ? "token faulty" : "token" },
      element(
        "button",
        { class: "token-text", type: "button", title: `Edit ${address}`, onclick: () => this.edit(person) },
        fault && icon("warning"),
        label || address,
      ),
      element(
        "button",
        {
          class: "token-remove",
          type: "button",
          "aria-label": `Remove ${address}`,
          onclick: () => this.drop(person),
        },
        icon("close"),
      ),
    );
  }
}

function written({ label, address }) {
  return label ? `"${label}" <${address}>` : address;
}
