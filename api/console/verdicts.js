/**
 * What a check said of each server of an account.
 * @module
 */

import { element, icon } from "./dom.js";
import { serverName } from "./health.js";

/** A panel with a line per server. */
export class Verdicts {
  constructor() {
    this.node = element("ul", {
      class: "verdicts",
      "aria-live": "polite",
      "aria-label": "What the servers say",
      hidden: true,
    });
  }

  /** Tell that servers are being asked. */
  ask(servers) {
    this.show(servers.map((server) => line("asking", server, "Connecting and signing in…")));
  }

  /** Tell what each said; `failures` maps servers to sentences. */
  tell(servers, failures) {
    this.show(
      servers.map((server) =>
        server in failures ? line("bad", server, failures[server]) : line("good", server, "It works."),
      ),
    );
  }

  hide() {
    this.node.hidden = true;
    this.node.replaceChildren();
  }

  show(lines) {
    this.node.replaceChildren(...lines);
    this.node.hidden = false;
  }
}

function line(tone, server, words) {
  const sign =
    tone === "asking" ? element("span", { class: "spinner" }) : icon(tone === "good" ? "check" : "warning");
  return element(
    "li",
    { class: `verdict ${tone}` },
    sign,
    element("div", {}, element("strong", {}, serverName(server)), element("span", {}, words)),
  );
}
