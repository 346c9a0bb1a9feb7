/**
 * What a view works on: one page from when its address is opened until another one is.
 * @module
 */

import { element } from "./dom.js";
import { Problem } from "./http.js";
import { button, buttonLink, emptyState } from "./widgets.js";

/** A page; `signal` aborts when it is left, `params` and `query` are of its address. */
export class Page {
  constructor(main, { title, params, query, signal, reload }) {
    Object.assign(this, { params, query, signal, reload, main });
    this.content = element("div", { class: "content" });
    this.entitle(title);
  }

  /** Set the heading, with what can be done beside it. `back` is the page above: `[address, words]`. */
  entitle(title, { actions = [], back } = {}) {
    document.title = `${title} · Mail-identity gateway`;
    const keepsFocus = this.heading && document.activeElement === this.heading;
    this.heading = element("h1", { tabindex: "-1" }, title);
    this.main.replaceChildren(
      element(
        "header",
        { class: "page-header" },
        back && element("a", { class: "back", href: back[0] }, `‹ ${back[1]}`),
        this.heading,
        actions.length > 0 && element("div", { class: "actions" }, actions),
      ),
      this.content,
    );
    if (keepsFocus) this.heading.focus();
  }

  render(...nodes) {
    this.content.replaceChildren(...nodes.filter(Boolean));
  }

  /** Show what went wrong in place of the content. */
  fail(error) {
    if (this.signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    this.render(error.status === 404 ? missing() : failed(error, this.reload));
  }
}

function missing() {
  return emptyState(
    "info",
    "There is nothing here",
    "It was deleted, or the address is wrong.",
    buttonLink("To the identities", "#/identities"),
  );
}

function failed(problem, retry) {
  return emptyState("warning", "This did not work", problem.message, button("Try again", retry));
}
