/**
 * Forms: labelled fields, each with a place for what is wrong with it, and the gateway's problems put there.
 * @module
 */

import { element, icon, newId } from "./dom.js";
import { Problem } from "./http.js";
import { busy, button, callout, iconButton, isBusy } from "./widgets.js";

/** A control with label, hint and error; `name` is the path that the gateway's errors have for it. */
class Field {
  constructor(label, control, { hint, optional = false, wrap = control } = {}) {
    this.control = control;
    this.name = control.name;
    const id = newId("field");
    this.hint = hint ? element("p", { class: "hint", id: `${id}-hint` }, hint) : null;
    this.error = element("p", { class: "field-error", id: `${id}-error`, hidden: true });
    control.id = id;
    control.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-error` : `${id}-error`);
    control.addEventListener("input", () => this.clear());
    const mark = optional && element("span", { class: "optional" }, "optional");
    this.node = element(
      "div",
      { class: "field" },
      element("label", { for: id }, label, " ", mark),
      wrap,
      this.hint,
      this.error,
    );
  }

  get value() {
    return this.control.value;
  }

  set value(value) {
    this.control.value = value;
  }

  /** Say what is wrong. */
  fail(words) {
    this.error.replaceChildren(icon("warning"), words);
    this.error.hidden = false;
    this.control.setAttribute("aria-invalid", "true");
  }

  clear() {
    this.error.hidden = true;
    this.control.removeAttribute("aria-invalid");
  }

  focus() {
    this.control.focus();
  }
}

/** A field for one line of text; `attributes` are those of the input. */
export function textField(label, attributes, { hint, optional } = {}) {
  return new Field(label, element("input", { class: "input", type: "text", autocomplete: "off", ...attributes }), {
    hint,
    optional,
  });
}

/** A field for a secret, which can be looked at while it is typed. */
export function passwordField(label, attributes, { hint, optional } = {}) {
  const input = element("input", {
    class: "input",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "off",
    ...attributes,
  });
  const show = (event) => {
    const isShown = input.type === "password";
    input.type = isShown ? "text" : "password";
    event.currentTarget.setAttribute("aria-pressed", String(isShown));
  };
  const toggle = iconButton(`Show: ${label}`, "show", show, { "aria-pressed": "false" });
  return new Field(label, input, {
    hint,
    optional,
    wrap: element("div", { class: "input-with-button" }, input, toggle),
  });
}

/** A field with a choice of `[value, words]` pairs. */
export function choiceField(label, attributes, choices, { hint } = {}) {
  const options = choices.map(([value, words]) => element("option", { value }, words));
  return new Field(label, element("select", { class: "input", ...attributes }, options), { hint });
}

/** A form that is submitted by a script, and shows what the gateway has against it. */
export class Form {
  /**
   * @param {Object} parts `fields` take errors, `content` is what the form shows, `words` name its button, `submit`
   *     does the work, `beside` are further buttons.
   */
  constructor({ fields, content, words, submit, beside = [], kind = "primary" }) {
    this.fields = fields;
    this.submit = submit;
    this.summary = element("div", { class: "form-summary", role: "alert" });
    this.button = button(words, null, { kind, type: "submit" });
    this.node = element(
      "form",
      {
        class: "form",
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          this.run();
        },
      },
      this.summary,
      content,
      element("div", { class: "actions" }, this.button, beside),
    );
  }

  /** Submit; `work` is what a further button does in place of the usual. */
  async run(work = this.submit, control = this.button) {
    if (isBusy(control)) return;
    this.clear();
    if (!this.isFilled()) return;
    try {
      await busy(control, work());
    } catch (problem) {
      if (problem.name === "AbortError") return; // the page was left
      if (!(problem instanceof Problem)) throw problem;
      this.show(problem);
    }
  }

  clear() {
    this.summary.replaceChildren();
    for (const field of this.fields) field.clear();
  }

  isFilled() {
    const missing = this.fields.filter(
      ({ control }) => control.required && !control.disabled && !control.value.trim(),
    );
    for (const field of missing) field.fail("This is needed.");
    missing[0]?.focus();
    return missing.length === 0;
  }

  /** Put errors to their fields, and say at the top what has no field. */
  show(problem) {
    const blamed = this.fields.filter((field) => field.name in problem.errors);
    for (const field of blamed) field.fail(problem.errors[field.name].join(" "));
    const left = Object.entries(problem.errors).filter(([path]) => !blamed.some((field) => field.name === path));
    const sentences = left.flatMap(([, each]) => each);
    if (blamed.length === 0 || left.length > 0) {
      const text = sentences.length > 0 ? sentences.join(" ") : problem.message;
      this.summary.replaceChildren(callout("bad", text));
    }
    blamed[0]?.focus();
  }
}

/** Return what makes of a problem of that status one of the field, to be caught with. */
export function blaming(field, status, words) {
  return (problem) => {
    throw problem.status === status ? new Problem({ status, errors: { [field.name]: [words] } }) : problem;
  };
}
