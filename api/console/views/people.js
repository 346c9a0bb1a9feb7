/**
 * Who manages a domain, and who is invited to.
 * @module
 */

import { get, patch, post, remove, withQuery } from "../api.js";
import { confirmed, openDialog } from "../dialog.js";
import { isManaged, navigation, openDomain, resourceOf } from "../domain.js";
import { element } from "../dom.js";
import { Form, blaming, radioField, textField } from "../form.js";
import { endlessList, renewableList } from "../list.js";
import { attempt, notify } from "../notice.js";
import { ROLES, assignable, mayRemove, roleName } from "../roles.js";
import { go } from "../router.js";
import { user } from "../session.js";
import { relativeTime } from "../time.js";
import { badge, button, section } from "../widgets.js";

export default async function view(page) {
  const domain = await openDomain(page, "people");
  const people = new People(page, domain);
  page.render(navigation(domain, "people"), ...people.nodes);
  await people.renew();
}

class People {
  constructor(page, domain) {
    Object.assign(this, { page, domain });
    this.managers = renewableList(() => this.managerList());
    this.invitations = renewableList(() => this.invitationList());
  }

  get nodes() {
    const managers = section("People with a role", this.managers.node);
    if (!isManaged(this.domain)) return [managers];
    return [
      managers,
      section("Invite somebody", element("div", { class: "card" }, this.invitation())),
      section("Open invitations", this.invitations.node),
    ];
  }

  async renew() {
    await Promise.all([this.managers.renew(), isManaged(this.domain) && this.invitations.renew()]);
  }

  list(kind, label, key, row, empty) {
    const { signal } = this.page;
    return endlessList({
      page: async (range) => {
        const answer = await get(withQuery(resourceOf(this.domain.name, kind), range), { signal });
        return { total: answer.total, items: answer[kind] };
      },
      row,
      key,
      empty: () => element("p", { class: "quiet-text" }, empty),
      shape: "row-shape",
      label,
      signal,
    });
  }

  managerList() {
    const row = (manager) => this.manager(manager);
    return this.list("accesses", "People with a role", ({ user_id: id }) => id, row, "Nobody.");
  }

  invitationList() {
    const row = (invitation) => this.invited(invitation);
    return this.list("invitations", "Open invitations", ({ id }) => id, row, "Nobody is invited just now.");
  }

  // -- people with a role ----------------------------------------------------------------------------------------

  manager(manager) {
    const { username, role } = manager;
    const isMe = manager.user_id === user().user_id;
    const name = username || "A deleted user";
    const choices = assignable(this.domain.role, role);
    const tool = (words, work) =>
      button(words, (event) => work(manager, event.currentTarget), {
        kind: "quiet",
        "aria-label": isMe ? null : `${words}: ${name}`,
      });
    return element(
      "div",
      { class: "row still" },
      element("span", { class: "row-people" }, name, isMe && badge("You")),
      element(
        "span",
        { class: "row-tools" },
        choices.length > 0 && tool("Change role", (each) => this.changeRole(each, choices)),
        isMe && tool("Give up role", (each, control) => this.leave(each, control)),
        !isMe &&
          mayRemove(this.domain.role, role) &&
          tool("Remove", (each, control) => this.dismiss(each, control)),
      ),
      element("span", { class: "row-subject quiet-text" }, roleName(role)),
    );
  }

  changeRole(manager, choices) {
    return openDialog(`Role of ${manager.username}`, (close) => {
      const role = radioField("Role", "role", [...ROLES.filter(([each]) => each === manager.role), ...choices]);
      const form = new Form({
        fields: [role],
        content: role.node,
        words: "Save",
        beside: [button("Cancel", () => close())],
        submit: async () => {
          const [after] = role.values;
          if (after !== manager.role) await patch(this.pathOf(manager), { role: after }, { role: manager.role });
          close();
          await this.changed(manager);
        },
      });
      return form.node;
    });
  }

  async dismiss(manager, control) {
    const text = `${manager.username} does not see the domain any more.`;
    if (!(await confirmed(`Remove ${manager.username}?`, text, "Remove"))) return;
    await attempt(control, async () => {
      await remove(this.pathOf(manager));
      await this.changed(manager);
    });
  }

  async leave(manager, control) {
    const text = "You do not see the domain any more. Somebody else who manages it can invite you again.";
    if (!(await confirmed(`Give up your role on ${this.domain.name}?`, text, "Give up role"))) return;
    await attempt(control, async () => {
      await remove(this.pathOf(manager));
      notify(`You have no role on ${this.domain.name} any more.`);
      if (!this.page.signal.aborted) go("#/domains", { replace: true });
    });
  }

  /** Show the outcome; what is offered depends on one's own role. */
  async changed(manager) {
    if (manager.user_id === user().user_id) return this.page.reload();
    await this.managers.renew();
    this.page.heading.focus({ preventScroll: true });
  }

  pathOf(manager) {
    return resourceOf(this.domain.name, "accesses", manager.user_id);
  }

  // -- invitations -----------------------------------------------------------------------------------------------

  invitation() {
    const email = textField(
      "Mail address",
      { name: "email", type: "email", required: true },
      {
        hint: "It gets a link that works once, for seven days. Whoever has the address here, as an identity, has the role at once.",
      },
    );
    const role = radioField("Role", "role", assignable(this.domain.role));
    const form = new Form({
      fields: [email, role],
      content: [email.node, role.node],
      words: "Invite",
      submit: async () => {
        const body = { email: email.value.trim(), role: role.values[0] };
        const invited = await post(resourceOf(this.domain.name, "invitations"), body).catch(blaming(email, 409));
        email.value = "";
        notify(`${invited.email} is invited.`);
        await this.renew();
      },
    });
    return form.node;
  }

  invited(invitation) {
    const { email, role, expires_at: end } = invitation;
    const revoke = (event) =>
      attempt(event.currentTarget, async () => {
        await remove(resourceOf(this.domain.name, "invitations", invitation.id));
        notify(`The invitation of ${email} is taken back.`);
        await this.invitations.renew();
        this.page.heading.focus({ preventScroll: true });
      });
    return element(
      "div",
      { class: "row still" },
      element("span", { class: "row-people" }, email),
      element(
        "span",
        { class: "row-tools" },
        button("Take back", revoke, { kind: "quiet", "aria-label": `Take back: ${email}` }),
      ),
      element(
        "span",
        { class: "meta" },
        element("span", {}, roleName(role)),
        element("span", {}, "Ends ", relativeTime(end)),
      ),
    );
  }
}
