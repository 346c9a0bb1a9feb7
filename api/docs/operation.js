/**
 * One operation: a line to find it by, which opens to all that there is to know of it.
 * @module
 */

import { element } from "/console/dom.js";
import { block, curl, json } from "./example.js";
import { inline, prose } from "./prose.js";

/**
 * Return an operation. What is inside is made when it is opened.
 * @param {Object} found verb, path, operation, others: the same at its other paths
 * @param {Object} whole the OpenAPI document
 * @param {Schemas} schemas
 */
export function article({ verb, path, operation, others }, whole, schemas) {
  const heading = element(
    "h3",
    {},
    element("span", { class: `verb ${verb.toLowerCase()}` }, verb),
    " ",
    element("span", { class: "path" }, marked(path)),
  );
  const id = operation.operationId;
  const summary = element(
    "summary",
    { onclick: () => history.replaceState(null, "", `#${id}`) },
    heading,
    element("span", { class: "summary" }, operation.summary),
  );
  const details = element("details", { id, class: "operation" }, summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) {
      details.append(inside(verb, path, operation, others, whole, schemas));
    }
  });
  return details;
}

/** Return a path in which what is to be filled in is marked, and which can break at its slashes. */
function marked(path) {
  return path
    .split(/(\{\w+\})/)
    .map((piece) =>
      piece.startsWith("{")
        ? element("em", {}, piece)
        : piece.split(/(?=\/)/).map((part) => [element("wbr"), part]),
    );
}

function inside(verb, path, operation, others, whole, schemas) {
  return element(
    "div",
    { class: "inside" },
    element(
      "div",
      { class: "told" },
      prose(operation.description ?? ""),
      facts(operation, others),
      parameters(operation, schemas),
      request(operation, schemas),
      answers(operation, whole, schemas),
    ),
    element("div", { class: "shown" }, examples(verb, path, operation, schemas)),
  );
}

function facts(operation, others) {
  const isPublic = operation.security?.length === 0;
  return [
    others.map(({ verb, path, operation: { operationId } }) =>
      element("p", { id: operationId, class: "small" }, "Also at ", element("code", {}, `${verb} ${path}`), "."),
    ),
    element("p", { class: "small" }, isPublic ? "Without credentials." : "With the credentials of a user."),
  ];
}

function part(title, ...children) {
  return element("section", { class: "part" }, element("h4", {}, title), ...children);
}

function parameters(operation, schemas) {
  if (!operation.parameters.length) return null;
  const rows = operation.parameters.map(({ name, in: place, required, schema, example, description }) =>
    element(
      "li",
      {},
      element(
        "div",
        { class: "property" },
        element("code", {}, name),
        element("span", { class: "kind" }, `${place}, ${schemas.kind(schema)}`),
        required && element("span", { class: "mark" }, "required"),
      ),
      schemas.details(schema, example),
      description && element("p", { class: "small" }, inline(description)),
    ),
  );
  return part("Parameters", element("ul", { class: "properties" }, rows));
}

function request({ requestBody }, schemas) {
  if (!requestBody) return null;
  const types = Object.keys(requestBody.content);
  return part(
    "Body",
    element("p", { class: "small" }, types.map((type, i) => [i > 0 && " or ", element("code", {}, type)])),
    schemas.body(requestBody.content[types[0]].schema),
  );
}

function answers(operation, whole, schemas) {
  const all = Object.entries(operation.responses).map(([status, each]) => [status, shared(each, whole)]);
  const good = all.filter(([status]) => status < 400);
  const bad = all.filter(([status]) => status >= 400);
  return [
    part("Answers", good.map(([status, response], i) => answer(status, response, good[i - 1]?.[1], schemas))),
    bad.length > 0 &&
      part(
        "Errors",
        element(
          "dl",
          { class: "errors" },
          bad.map(([status, { description }]) => [
            element("dt", {}, status),
            element("dd", {}, inline(description)),
          ]),
        ),
      ),
  ];
}

/** Return a response itself, where it is a reference to one that many operations share. */
function shared(response, whole) {
  return response.$ref ? whole.components.responses[response.$ref.split("/").at(-1)] : response;
}

/** @param {Object} before the response that stands above this one, whose body is not told again */
function answer(status, response, before, schemas) {
  const { description, content = {}, headers } = response;
  const [type, { schema } = {}] = Object.entries(content)[0] ?? [];
  const isTold = schema && bodyOf(before)?.$ref === schema.$ref;
  const names = Object.keys(headers).filter((name) => name !== "X-Request-ID");
  return element(
    "div",
    { class: "answer" },
    element(
      "p",
      { class: "status" },
      element("strong", {}, status),
      ` ${description}`,
      type && !schema && [": ", element("code", {}, type)],
    ),
    names.length > 0 &&
      element("p", { class: "small" }, "With ", names.map((name, i) => [i > 0 && ", ", element("code", {}, name)])),
    isTold ? element("p", { class: "small" }, "With the same body.") : schema && schemas.body(schema, { isAnswer: true }),
  );
}

function bodyOf(response) {
  return response?.content?.["application/json"]?.schema;
}

function examples(verb, path, operation, schemas) {
  const shown = [block("Request", curl(verb, path, operation, schemas))];
  const [status, response] = Object.entries(operation.responses).find(([, each]) => bodyOf(each)) ?? [];
  if (response) shown.push(block(`Answer ${status}`, json(schemas.example(bodyOf(response)))));
  return shown;
}
