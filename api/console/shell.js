/**
 * The frame around the pages: where one can go, who is signed in.
 * @module
 */

import { connectionBar } from "./connection.js";
import { element, icon } from "./dom.js";
import { noticeRegion } from "./notice.js";
import { signOut } from "./session.js";
import { iconButton } from "./widgets.js";

const BRAND = "Mail-identity gateway";

const main = element("main", { id: "main", tabindex: "-1" });

/** Return the element that holds the page. */
export function mainElement() {
  return main;
}

/** Show the frame for somebody who is signed in; `places` are the routes to which the navigation leads. */
export function showFrame(places, { username }) {
  main.className = "main";
  const links = places.map(({ path, place }) =>
    element(
      "a",
      { class: place.prominent ? "place prominent" : "place", href: `#${path}`, "data-place": path },
      icon(place.symbol),
      element("span", {}, place.words),
    ),
  );
  document.body.replaceChildren(
    skipLink(),
    connectionBar(),
    element(
      "div",
      { class: "frame" },
      element(
        "header",
        { class: "side" },
        brand("#/identities"),
        element("nav", { class: "places", "aria-label": "Main" }, links),
        element(
          "div",
          { class: "whoami" },
          element("a", { class: "whoami-name", href: "#/account" }, username),
          iconButton("Sign out", "leave", signOut),
        ),
      ),
      main,
    ),
    noticeRegion(),
  );
}

/** Show the frame for somebody who is not signed in. */
export function showEntrance() {
  main.className = "entrance";
  document.body.replaceChildren(
    skipLink(),
    connectionBar(),
    element("header", { class: "entrance-header" }, brand("#/sign-in")),
    main,
    noticeRegion(),
  );
}

/** Mark the place in the navigation to which the page belongs. */
export function markPlace(path) {
  for (const link of document.querySelectorAll("[data-place]")) {
    if (path === link.dataset.place || path.startsWith(`${link.dataset.place}/`))
      link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function brand(href) {
  return element(
    "a",
    { class: "brand", href },
    element("img", { src: "/console/icon.svg", alt: "", width: "28", height: "28" }),
    BRAND,
  );
}

function skipLink() {
  // A link to #main would be taken for the address of a page.
  return element("button", { class: "skip", type: "button", onclick: () => main.focus() }, "Skip to the content");
}
