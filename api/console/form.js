/**
 * Forms: labelled fields, each with a place for what is wrong with it, and the gateway's problems put there.
 * @module
 */

import { element, icon, newId } from "./dom.js";
import { Problem } from "./http.js";
import { busy, button, callout, iconButton, isBusy } from "./widgets.js";

/** A control with label, hint and error; `name` is the path that the gateway's errors have for it. */
class Field {
  constructor(label, control, { hint, optional = false, suffix, wrap = control } = {}) {
    this.control = control;
    this.name = control.name;
    const id = newId("field");
    this.hint = hint ? element("p", { class: "hint", id: `${id}-hint` }, hint) : null;
    this.error = element("p", { class: "field-error", id: `${id}-error`, hidden: true });
    control.id = id;
    const described = [suffix && `${id}-suffix`, hint && `${id}-hint`, `${id}-error`];
    control.setAttribute("aria-describedby", described.filter(Boolean).join(" "));
    control.addEventListener("input", () => this.clear());
    const mark = optional && element("span", { class: "optional" }, "optional");
    this.node = element(
      "div",
      { class: "field" },
      element("label", { for: id }, label, " ", mark),
      suffix
        ? element("div", { class: "input-with-suffix" }, wrap, element("span", { id: `${id}-suffix` }, suffix))
        : wrap,
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

/** A field for one line of text; `attributes` are those of the input, `suffix` is a text behind what is typed. */
export function textField(label, attributes, { hint, optional, suffix } = {}) {
  return new Field(label, element("input", { class: "input", type: "text", autocomplete: "off", ...attributes }), {
    hint,
    optional,
    suffix,
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

/** Options to choose one of, or several of: `[value, words, explanation]` each. */
class OptionsField {
  constructor(label, { name, type }, options) {
    this.name = name;
    const id = newId("field");
    this.error = element("p", { class: "field-error", id, hidden: true });
    this.inputs = options.map(([value]) => element("input", { type, name, value, oninput: () => this.clear() }));
    this.control = element(
      "fieldset",
      { class: "fieldset", "aria-describedby": id },
      element("legend", {}, label),
      element(
        "div",
        { class: "options beside" },
        options.map(([, words, explanation], index) =>
          element(
            "label",
            { class: "option" },
            this.inputs[index],
            element(
              "span",
              { class: "option-text" },
              element("strong", {}, words),
              element("span", {}, explanation),
            ),
          ),
        ),
      ),
      this.error,
    );
    this.node = this.control;
  }

  /** The values that are chosen. */
  get values() {
    return this.inputs.filter((input) => input.checked).map((input) => input.value);
  }

  set values(values) {
    for (const input of this.inputs) input.checked = values.includes(input.value);
  }

  /** Say what is wrong. */
  fail(words) {
    this.error.replaceChildren(icon("warning"), words);
    this.error.hidden = false;
  }

  clear() {
    this.error.hidden = true;
  }

  focus() {
    (this.inputs.find((input) => input.checked) ?? this.inputs[0]).focus();
  }
}

/** A field of check boxes. */
export function checksField(label, name, options) {
  return new OptionsField(label, { name, type: "checkbox" }, options);
}

/** A field of radio buttons, the first one chosen. */
export function radioField(label, name, options) {
  const field = new OptionsField(label, { name, type: "radio" }, options);
  field.inputs[0].checked = true;
  return field;
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

/** Return what makes of a problem of that status one of the field, to be caught with; `words` in place of its own. */
export function blaming(field, status, words) {
  return (problem) => {
    if (problem.status !== status) throw problem;
    throw new Problem({ status, errors: { [field.name]: [words ?? problem.message] } });
  };
}
