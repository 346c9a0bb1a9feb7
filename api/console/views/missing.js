/**
 * An address that names no page.
 * @module
 */

import { buttonLink, emptyState } from "../widgets.js";

export default function missing(page) {
  page.render(
    emptyState(
      "info",
      "There is no such page",
      "The address may be mistyped.",
      buttonLink("To the identities", "#/identities"),
    ),
  );
}
