/**
 * Adding a domain.
 * @module
 */

import { post } from "../api.js";
import { FEATURES, pageOf } from "../domain.js";
import { element } from "../dom.js";
import { Form, blaming, checksField, textField } from "../form.js";
import { notify } from "../notice.js";
import { go } from "../router.js";
import { section } from "../widgets.js";

const STEPS = [
  "You get the DNS records that mail for the domain needs, ready to be copied.",
  "You publish them where the domain's DNS is kept: at your registrar, or your DNS provider.",
  "They are looked at every hour, and whenever you ask. Once all are right the domain is enabled.",
  "Mailboxes can be added at any time. They are created as soon as the domain is enabled.",
];

export default function view(page) {
  page.entitle("Add a domain", { back: ["#/domains", "Domains"] });
  const name = textField(
    "Domain",
    {
      name: "name",
      required: true,
      inputmode: "url",
      autocapitalize: "off",
      spellcheck: "false",
      placeholder: "example.org",
    },
    { hint: "One that is registered to you. It cannot be renamed later." },
  );
  const features = checksField("What it is for", "features", FEATURES);
  features.values = FEATURES.map(([value]) => value);
  const form = new Form({
    fields: [name, features],
    content: [name.node, features.node],
    words: "Add domain",
    submit: async () => {
      const body = { name: name.value.trim(), features: features.values };
      const domain = await post("/api/v2/domains", body).catch(blaming(name, 409));
      notify(`${domain.name} is added. Publish its records next.`);
      if (!page.signal.aborted) go(pageOf(domain.name), { replace: true });
    },
  });
  page.render(
    element("div", { class: "card" }, form.node),
    section(
      "What happens then",
      element(
        "ol",
        { class: "steps" },
        STEPS.map((step) => element("li", {}, step)),
      ),
    ),
  );
  name.focus();
}
