/**
 * What a body or a parameter may hold, in words.
 * @module
 */

import { element } from "/console/dom.js";
import { inline, prose } from "./prose.js";

const WORDS = {
  uuid: "UUID",
  "date-time": "time",
  "idn-email": "mail address",
  "idn-hostname": "domain name",
  "uri-reference": "path",
  binary: "file",
};

/** Schemas, some of which stand in the document under a name. */
export class Schemas {
  /** @param {Object} named name → schema */
  constructor(named) {
    this.named = named;
  }

  /** Return a schema itself, where it is a reference to one. */
  resolved(schema) {
    return schema.$ref ? this.named[schema.$ref.split("/").at(-1)] : schema;
  }

  /** Return the example of a schema, if it has one. */
  example(schema) {
    return this.resolved(schema).examples?.[0];
  }

  /** Return what a body holds, what it is for and its properties; those of an answer are there unless marked. */
  body(schema, { isAnswer = false } = {}) {
    const whole = this.resolved(schema);
    return [prose(whole.description ?? ""), this.#properties(whole, isAnswer)];
  }

  #properties(schema, isAnswer) {
    const all = Object.entries(schema.properties ?? {});
    const rows = all
      .filter(([, each]) => !each.readOnly)
      .map(([name, each]) => {
        const isRequired = schema.required?.includes(name);
        const mark = isAnswer ? !isRequired && "not always" : isRequired && "required";
        return this.#row(element("code", {}, name), each, mark, isAnswer);
      });
    const others = schema.additionalProperties;
    if (others) rows.push(this.#row(rows.length ? "any other key" : "any key", others, null, isAnswer));
    const ignored = all.filter(([, each]) => each.readOnly).map(([name]) => name);
    return [
      element("ul", { class: "properties" }, rows),
      ignored.length > 0 &&
        element("p", { class: "small" }, "Accepted and ignored: ", listed(ignored), "."),
    ];
  }

  #row(name, schema, mark, isAnswer) {
    return element(
      "li",
      {},
      element(
        "div",
        { class: "property" },
        name,
        element("span", { class: "kind" }, this.kind(schema)),
        mark && element("span", { class: "mark" }, mark),
      ),
      this.details(schema),
      this.#inner(this.resolved(present(schema)), isAnswer),
    );
  }

  #inner(schema, isAnswer) {
    const one = schema.items ?? (schema.properties ? schema : present(schema.additionalProperties || {}));
    const object = this.resolved(one);
    if (!Object.keys(object.properties ?? {}).length) return null;
    return element(
      "details",
      { class: "inner" },
      element("summary", {}, object === schema ? "Its properties" : "The properties of each"),
      this.#properties(object, isAnswer),
    );
  }

  /** Return the type in words. */
  kind(schema) {
    if (schema.anyOf) return schema.anyOf.map((each) => this.kind(each)).join(" or ");
    const { type, format, items, additionalProperties } = this.resolved(schema);
    const words = [type].flat().map((each) => {
      if (each === "array") return `list of ${plural(this.kind(items))}`;
      if (each === "object" && additionalProperties) {
        return `map to ${plural(this.kind(present(additionalProperties)))}`;
      }
      return (each === "string" && WORDS[format]) || each;
    });
    return words.join(" or ");
  }

  /** Return the rules that a value follows, and what is said of it. */
  details(schema, example) {
    const whole = present(schema);
    const rules = facts(whole.items && !whole.items.$ref ? { ...whole.items, ...whole } : whole);
    if (example !== undefined) rules.push(["like ", element("code", {}, String(example))]);
    return [
      rules.length > 0 && element("p", { class: "small" }, rules.map((rule, i) => [i > 0 && " · ", rule])),
      whole.description && element("p", { class: "small" }, inline(whole.description)),
    ];
  }
}

/** Return what a schema is where it is not null. */
function present(schema) {
  return schema.anyOf?.[0] ?? schema;
}

function plural(word) {
  return word.endsWith("s") ? `${word}es` : `${word}s`;
}

function facts(schema) {
  const { minLength, maxLength, minimum, maximum, minItems, maxItems, maxProperties } = schema;
  return [
    schema.enum && ["one of ", listed(schema.enum.filter((each) => each !== null))],
    range(minLength, maxLength, " characters"),
    range(minimum, maximum, ""),
    minItems === 1 && maxItems === 1 ? "exactly one" : range(minItems, maxItems, " entries"),
    range(undefined, maxProperties, " keys"),
    schema.pattern && !schema.format && ["matches ", element("code", {}, schema.pattern)],
    "default" in schema && schema.default !== null && ["default ", element("code", {}, JSON.stringify(schema.default))],
    schema.writeOnly && "never in an answer",
  ].filter(Boolean);
}

function range(least, most, unit) {
  if (least === undefined && most === undefined) return null;
  const [from, to] = [least, most].map((number) => number?.toLocaleString("en"));
  if (most === undefined) return `${from}${unit} or more`;
  return least === undefined ? `at most ${to}${unit}` : `${from} to ${to}${unit}`;
}

function listed(names) {
  return names.map((name, i) => [i > 0 && ", ", element("code", {}, String(name))]);
}
