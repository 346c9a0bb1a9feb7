/**
 * The aliases of a domain: addresses whose mail goes elsewhere.
 * @module
 */

import { get, post, remove, withQuery } from "../api.js";
import { confirmed } from "../dialog.js";
import { isManaged, navigation, openDomain, resourceOf } from "../domain.js";
import { element } from "../dom.js";
import { Form, blaming, textField } from "../form.js";
import { endlessList, renewableList } from "../list.js";
import { attempt, notify } from "../notice.js";
import { callout, emptyState, iconButton, section } from "../widgets.js";

export default async function view(page) {
  const domain = await openDomain(page, "aliases");
  const list = renewableList(() => aliasList(page, domain, () => list.renew()));
  const words = obstacle(domain);
  page.render(
    navigation(domain, "aliases"),
    words && callout("none", words),
    !words &&
      isManaged(domain) &&
      section("Add an alias", element("div", { class: "card" }, addition(domain, list))),
    section("Aliases", list.node),
  );
  await list.renew();
}

/** Return why no alias can be added, in words; "" where one can. */
function obstacle({ status, features }) {
  if (!features.includes("alias"))
    return "Aliases are not among the features of this domain. An owner can change that in the settings.";
  return status === "disabled" ? "The domain is disabled, so no alias can be added." : "";
}

function addition(domain, list) {
  const localPart = textField(
    "Mail to",
    { name: "local_part", required: true, maxlength: "64", autocapitalize: "off", spellcheck: "false" },
    { suffix: `@${domain.name}` },
  );
  const destination = textField("Goes to", { name: "destination", type: "email", required: true });
  const form = new Form({
    fields: [localPart, destination],
    content: element("div", { class: "pair" }, localPart.node, destination.node),
    words: "Add alias",
    submit: async () => {
      const body = { local_part: localPart.value.trim(), destination: destination.value.trim() };
      await post(resourceOf(domain.name, "aliases"), body).catch(blaming(destination, 409));
      form.node.reset();
      localPart.focus();
      notify("The alias is added.");
      await list.renew();
    },
  });
  return form.node;
}

function aliasList(page, domain, renew) {
  const { signal } = page;
  return endlessList({
    page: async (range) => {
      const { total, aliases } = await get(withQuery(resourceOf(domain.name, "aliases"), range), { signal });
      return { total, items: aliases };
    },
    row: (alias) => row(page, domain, alias, renew),
    key: (alias) => `${alias.local_part} ${alias.destination}`,
    empty: () =>
      emptyState(
        "reply",
        "No alias yet",
        "An alias is an address without a mailbox: its mail goes to one elsewhere.",
      ),
    shape: "row-shape",
    label: "Aliases",
    signal,
  });
}

function row(page, domain, alias, renew) {
  const address = `${alias.local_part}@${domain.name}`;
  const words = `Delete the alias from ${address} to ${alias.destination}`;
  const erase = async (event) => {
    const control = event.currentTarget;
    const text = `Mail to ${address} does not go to ${alias.destination} any more.`;
    if (!(await confirmed("Delete this alias?", text, "Delete alias"))) return;
    await attempt(control, async () => {
      await remove(resourceOf(domain.name, "aliases", alias.local_part, alias.destination));
      await renew();
      page.heading.focus({ preventScroll: true });
    });
  };
  return element(
    "div",
    { class: "row still" },
    element("span", { class: "row-people" }, address),
    isManaged(domain) && element("span", { class: "row-tools" }, iconButton(words, "delete", erase)),
    element("span", { class: "row-subject quiet-text" }, "to ", alias.destination),
  );
}
