/**
 * Adding a mailbox to a domain.
 * @module
 */

import { post } from "../api.js";
import { openDomain, pageOf, resourceOf } from "../domain.js";
import { element } from "../dom.js";
import { Form, blaming } from "../form.js";
import { MailboxFields, mailboxSentence } from "../mailbox.js";
import { notify } from "../notice.js";
import { go } from "../router.js";

export default async function view(page) {
  const above = pageOf(page.params.name, "mailboxes");
  const domain = await openDomain(page, "mailboxes", { title: "Add a mailbox", back: [above, page.params.name] });
  const fields = new MailboxFields(domain);
  const form = new Form({
    fields: fields.fields,
    content: fields.node,
    words: "Add mailbox",
    submit: async () => {
      const path = resourceOf(domain.name, "mailboxes");
      const mailbox = await post(path, fields.values).catch(blaming(fields.localPart, 409));
      notify(`${mailbox.email}: ${mailboxSentence(domain, mailbox)}`);
      if (!page.signal.aborted) go(above, { replace: true });
    },
  });
  page.render(element("div", { class: "card" }, form.node));
  fields.localPart.focus();
}
