/**
 * What an owner decides on a domain: what it is used for, and whether it is in use.
 * @module
 */

import { patch } from "../api.js";
import { confirmed } from "../dialog.js";
import { FEATURES, navigation, openDomain, pageOf, resourceOf } from "../domain.js";
import { element } from "../dom.js";
import { Form, checksField } from "../form.js";
import { attempt, notify } from "../notice.js";
import { go } from "../router.js";
import { button, section } from "../widgets.js";

export default async function view(page) {
  const domain = await openDomain(page, "settings");
  if (domain.role !== "owner") return go(pageOf(domain.name), { replace: true });
  page.render(
    navigation(domain, "settings"),
    section("Features", element("div", { class: "card" }, features(domain))),
    section(domain.status === "disabled" ? "Out of use" : "In use", use(page, domain)),
  );
}

function features(domain) {
  const field = checksField("What the domain is for", "features", FEATURES);
  field.values = domain.features;
  const form = new Form({
    fields: [field],
    content: field.node,
    words: "Save",
    kind: "",
    submit: async () => {
      const { values } = field;
      await patch(resourceOf(domain.name), { features: values }, { features: domain.features });
      domain.features = values;
      notify("Saved. The records to publish follow.");
    },
  });
  return form.node;
}

function use(page, domain) {
  const isDisabled = domain.status === "disabled";
  const [text, words] = isDisabled
    ? ["Nothing is added to the domain. Take it into use again: it is checked then.", "Take into use"]
    : [
        "Put the domain out of use: nothing is added to it any more. Mailboxes in use stay in use.",
        "Disable domain",
      ];
  const press = async (event) => {
    const control = event.currentTarget;
    if (!isDisabled && !(await confirmed(`Disable ${domain.name}?`, "It can be taken into use again.", words)))
      return;
    await attempt(control, async () => {
      const status = isDisabled ? "pending" : "disabled";
      await patch(resourceOf(domain.name), { status }, null); // whatever a check has made of it meanwhile
      if (!page.signal.aborted) go(pageOf(domain.name));
    });
  };
  const kind = isDisabled ? "primary" : "danger";
  const symbol = isDisabled ? "play" : "pause";
  return element("div", { class: "card row-card" }, element("p", {}, text), button(words, press, { kind, symbol }));
}
