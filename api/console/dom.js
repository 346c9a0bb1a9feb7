/**
 * Building pages: elements and text nodes only, so that no text can become markup.
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an HTML element.
 * @param {string} tag
 * @param {Object} attributes `on…` are listeners, booleans set or leave out an attribute, null and undefined leave
 *     it out, `value` is set as a property.
 * @param {...(Node|string|number|null|false|Array)} children nested lists are flattened, null and false left out
 */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element, as {@link element} does. */
export function picture(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  if ("value" in attributes && node.tagName === "SELECT") node.value = attributes.value;
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined) return;
  if (typeof value === "function") node.addEventListener(name.slice(2), value);
  else if (typeof value === "boolean") node.toggleAttribute(name, value);
  else if (name === "value" && "value" in node) node.value = value;
  else node.setAttribute(name, value);
}

/** Return an icon of icons.svg, which says nothing to those who do not see it. */
export function icon(name) {
  return picture(
    "svg",
    { class: "icon", "aria-hidden": "true" },
    picture("use", { href: `/console/icons.svg#${name}` }),
  );
}

let made = 0;

/** Return an id that no other element has. */
export function newId(prefix) {
  made += 1;
  return `${prefix}-${made}`;
}

/** Call back once, when the node comes near the window's visible part. */
export function whenNear(node, callback, signal) {
  const watcher = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      callback();
    },
    { rootMargin: "400px" },
  );
  watcher.observe(node);
  signal.addEventListener("abort", () => watcher.disconnect());
}
