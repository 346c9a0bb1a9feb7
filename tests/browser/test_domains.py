"""Domains: from adding one to mailboxes in use, and what each role is offered."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import expect

from api.demo.provider import Provider
from gateway.roles import CHANGES
from storage.mongo import Mongo
from tests.browser.tab import Tab
from tests.client import PASSWORD
from tests.conftest import FRIEND

NAME = "commune.ok.test"
DOMAIN = f"/api/v2/domains/{NAME}"
WAITING = "waiting.dns.test"

on_desktop = pytest.mark.parametrize("tab", ["desktop"], indirect=True)


@dataclass(frozen=True)
class Owner:
    """The owner of the domain NAME, who uses the API."""

    tab: Tab
    token: str

    @classmethod
    async def registered(cls, tab: Tab) -> Owner:
        """Return one who has made the domain."""
        session = {"username": "owner", "password": PASSWORD}
        request = tab.page.context.request
        await request.post(f"{tab.site}/api/v1/users", data=session)
        signed_in = await (await request.post(f"{tab.site}/api/v1/authentications", data=session)).json()
        owner = cls(tab, signed_in["tokens"]["access_token"])
        await owner.post("/api/v2/domains", {"name": NAME})
        return owner

    async def post(self, path: str, body: Any) -> Any:
        """Create something; return the JSON of the answer."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = await self.tab.page.context.request.post(self.tab.site + path, headers=headers, data=body)
        assert answer.ok, await answer.text()
        return await answer.json()

    async def give(self, role: str) -> None:
        """Give the user of the tab a role."""
        user_id = (await self.tab.session())["user_id"]
        await self.post(f"{DOMAIN}/accesses", {"user_id": user_id, "role": role})


async def test_domain(tab: Tab) -> None:
    """Who brings a domain is told what to publish, what is wrong, and when all is right."""
    await tab.register()
    await tab.press("Domains", "link")
    await tab.sees("Bring your domain")
    await tab.look("no-domain")
    await tab.press("Add a domain", "link")
    await tab.fill("Domain", "no domain")
    await tab.press("Add domain")
    await tab.sees("is no domain name")
    await tab.look("no-name")
    await tab.fill("Domain", WAITING)
    await tab.press("Add domain")
    await tab.is_at(WAITING)
    await tab.sees("Action required")
    await tab.sees(f"There is no MX record of {WAITING}")
    rows = tab.page.get_by_role("row")
    await expect(rows.filter(has_text="priority 10")).to_contain_text("Missing")
    await expect(rows.filter(has_text=f"imap.{WAITING}")).to_contain_text("Published")
    await tab.look("action-required")
    await copy_records(tab)
    await tab.go("#/domains/new")
    await tab.fill("Domain", NAME)
    await tab.press("Add domain")
    await tab.sees("Everything is in place")
    await tab.press("Domains", "link")
    await expect(tab.part("link", WAITING)).to_contain_text("Action required")
    await expect(tab.part("link", NAME)).to_contain_text("Enabled")
    await tab.look("domains")


async def copy_records(tab: Tab) -> None:
    """Copy a record, also where the browser has no clipboard for scripts."""
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.page.evaluate("window.clipboard = navigator.clipboard")
    await tab.press(f"Copy the name imap.{WAITING}")
    await tab.sees("Copied: the name")
    assert await tab.page.evaluate("clipboard.readText()") == f"imap.{WAITING}"
    await tab.page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await tab.press(f"Copy the value of TXT dkim._domainkey.{WAITING}")
    await tab.sees("Copied: the value of TXT")
    key: str = await tab.page.evaluate("clipboard.readText()")
    assert key.startswith("v=DKIM1;")
    await expect(tab.page.get_by_text(key, exact=True)).to_be_visible()
    await tab.look("records")


async def test_mailboxes(tab: Tab, mongo: Mongo) -> None:
    """A mailbox waits for its domain, is created with it, is changed, put out of use, and deleted."""
    await tab.register()
    await tab.call("POST", "/api/v2/domains", {"name": NAME})
    await tab.go(f"#/domains/{NAME}")
    await tab.sees("Everything is in place")
    later = datetime.now(UTC) + timedelta(hours=1)
    broken = {"status": "action_required", "check_at": later}
    await mongo.collection("domains").update_one({}, {"$set": broken})
    await add_mailbox(tab)
    await tab.sees("Pending")
    await tab.look("waiting-mailbox")
    await tab.press("Overview", "link")
    await tab.press("Check now")
    await tab.sees("Checked: Enabled")
    await tab.press("Mailboxes", "link")
    await expect(tab.part("link", f"ada@{NAME}")).to_contain_text("Enabled")
    await tab.page.get_by_role("link", name=f"ada@{NAME}").click()
    await change_mailbox(tab)
    await delete_mailbox(tab)


async def add_mailbox(tab: Tab) -> None:
    """Add one's own mailbox; an address that is none is told at its field."""
    await tab.press("Mailboxes", "link")
    await tab.sees("They are created when it is enabled.")
    await tab.press("Add a mailbox", "link")
    await tab.fill("Address", "ada lovelace")
    await tab.fill("First name", "Ada")
    await tab.fill("Last name", "Lovelace")
    await tab.fill("Second address optional", FRIEND.address)
    await tab.page.get_by_text("This is my own mailbox").click()
    await tab.press("Add mailbox")
    await tab.sees("is no local part")
    await tab.look("no-local-part")
    await tab.fill("Address", "ada")
    await tab.press("Add mailbox")


async def change_mailbox(tab: Tab) -> None:
    """Change a name, have a link to sign in sent, put the mailbox out of use and back."""
    await tab.is_at(f"ada@{NAME}")
    await tab.fill("Last name", "King")
    await tab.press("Save")
    await tab.sees("Saved.")
    await expect(tab.page.get_by_label("Last name")).to_have_value("King")
    await tab.press("Send sign-in link")
    await tab.sees("on its way to")
    await tab.look("mailbox")
    await tab.call("PATCH", f"{DOMAIN}/mailboxes/ada", {"first_name": "Augusta"})
    await tab.fill("First name", "A.")
    await tab.press("Save")
    await tab.sees("It was changed somewhere else meanwhile.")
    await tab.press("Disable")
    await tab.sees("nobody can sign in to it")
    await tab.press("Enable")
    await tab.sees("It is in use.")


async def delete_mailbox(tab: Tab) -> None:
    """Delete the mailbox, after a question."""
    await tab.press("Delete mailbox")
    question = tab.part("dialog", f"Delete ada@{NAME}?")
    await question.get_by_role("button", name="Delete mailbox").click()
    await tab.sees("No mailbox yet")


@on_desktop
async def test_aliases(tab: Tab) -> None:
    """An alias is added, once, and deleted."""
    await tab.register()
    await tab.call("POST", "/api/v2/domains", {"name": NAME})
    await tab.go(f"#/domains/{NAME}/aliases")
    await tab.sees("No alias yet")
    for _ in range(2):
        await tab.fill("Mail to", "info")
        await tab.fill("Goes to", FRIEND.address)
        await tab.press("Add alias")
        await tab.sees(f"to {FRIEND.address}")
    await tab.sees("already")
    await tab.look("aliases")
    await tab.press(f"Delete the alias from info@{NAME} to {FRIEND.address}")
    await tab.press("Delete alias")
    await tab.sees("No alias yet")


async def test_people(tab: Tab) -> None:
    """An owner invites, takes back, changes roles, and cannot leave the domain without an owner."""
    await tab.register()
    await tab.call("POST", "/api/v2/domains", {"name": NAME})
    other = await tab.page.context.request.post(
        f"{tab.site}/api/v1/users", data={"username": "other", "password": PASSWORD}
    )
    access = {"user_id": (await other.json())["user_id"], "role": "viewer"}
    await tab.call("POST", f"{DOMAIN}/accesses", access)
    await tab.go(f"#/domains/{NAME}/people")
    await tab.fill("Mail address", FRIEND.address)
    await tab.page.get_by_text("Administrator", exact=True).click()
    await tab.press("Invite")
    await tab.sees("Ends in ")
    await tab.press("Change role: other")
    dialog = tab.part("dialog", "Role of other")
    await dialog.get_by_text("Administrator", exact=True).click()
    await tab.look("change-role")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_be_hidden()
    await tab.press(f"Take back: {FRIEND.address}")
    await tab.sees("Nobody is invited")
    await tab.press("Give up role")
    await tab.part("dialog", f"Give up your role on {NAME}?").get_by_role("button", name="Give up role").click()
    await tab.sees("Make somebody else an owner first.")
    await tab.look("people")
    accesses = (await tab.call("GET", f"{DOMAIN}/accesses"))["accesses"]
    assert [(each["username"], each["role"]) for each in accesses] == [
        ("newcomer", "owner"),
        ("other", "administrator"),
    ]


@on_desktop
async def test_settings(tab: Tab) -> None:
    """An owner says what the domain is for, puts it out of use, and takes it into use again."""
    await tab.register()
    await tab.call("POST", "/api/v2/domains", {"name": NAME})
    await tab.go(f"#/domains/{NAME}/settings")
    await tab.page.get_by_label("Webmail").uncheck()
    await tab.press("Save")
    await tab.sees("Saved.")
    assert (await tab.call("GET", DOMAIN))["features"] == ["mailbox", "alias"]
    await tab.look("settings")
    await tab.press("Disable domain")
    await tab.part("dialog", f"Disable {NAME}?").get_by_role("button", name="Disable domain").click()
    await tab.sees("An owner has put this domain out of use")
    await tab.press("Mailboxes", "link")
    await tab.sees("The domain is disabled")
    await expect(tab.part("link", "Add a mailbox")).to_be_hidden()
    await tab.press("Settings", "link")
    await tab.press("Take into use")
    await tab.sees("Everything is in place")


@on_desktop
async def test_viewer(tab: Tab) -> None:
    """A viewer sees everything, and is offered nothing that only others may do."""
    await tab.register()
    owner = await Owner.registered(tab)
    mailbox = {"local_part": "ada", "first_name": "Ada", "last_name": "Lovelace"}
    await owner.post(f"{DOMAIN}/mailboxes", mailbox)
    await owner.post(f"{DOMAIN}/aliases", {"local_part": "info", "destination": FRIEND.address})
    await owner.give("viewer")
    main = tab.page.get_by_role("main")
    offered = {
        "": r"Copy .*",
        "/mailboxes": "",
        "/mailboxes/ada": "",
        "/aliases": "",
        "/people": "Give up role",
        "/settings": r"Copy .*",
    }
    for path, words in offered.items():
        await tab.go(f"#/domains/{NAME}{path}")
        await expect(main.locator(".card, .rows, .empty").first).to_be_visible()
        await tab.look(f"viewer{path.replace('/', '-')}")
        names = await main.get_by_role("button").evaluate_all(
            "all => all.map(each => each.ariaLabel ?? each.textContent)"
        )
        assert all(re.fullmatch(words, name) for name in names), (path, names)
        await expect(tab.part("link", "Settings")).to_be_hidden()
    await tab.go(f"#/domains/{NAME}/people")
    await tab.press("Give up role")
    await tab.part("dialog", "Give up your role").get_by_role("button", name="Give up role").click()
    await tab.sees("Bring your domain")


@on_desktop
async def test_role_table(tab: Tab) -> None:
    """What the console offers is what the gateway allows."""
    table = await tab.page.evaluate("async () => (await import('/console/roles.js')).CHANGES")
    pairs = {(before, after): lowest for before in table for after, lowest in table[before].items()}
    assert pairs == {(before or "none", after or "none"): lowest for (before, after), lowest in CHANGES.items()}


async def test_invitation(tab: Tab, provider: Provider) -> None:
    """Who is new and follows the link of an invitation signs up, and is at the domain; the token is nowhere."""
    owner = await Owner.registered(tab)
    await owner.post(f"{DOMAIN}/invitations", {"email": FRIEND.address, "role": "administrator"})
    token = await mailed_token(provider)
    await tab.go(f"invitation={token}")
    await tab.sees("You are invited to manage a domain")
    assert token not in tab.page.url
    await tab.look("invited")
    await tab.press("Create an account", "link")
    await tab.is_at("Create an account")
    await tab.fill("User name", "newcomer")
    await tab.fill("Password", PASSWORD)
    await tab.press("Create account")
    await tab.is_at(NAME)
    await tab.sees(f"You are administrator of {NAME} now.")
    await tab.go("#/domains")
    await tab.press("Accept an invitation", "link")
    await tab.fill("Token", f"{tab.site}/#invitation={token}")
    await tab.press("Accept")
    await tab.sees("it was used or taken back")
    await tab.look("used-token")
    await tab.go(f"invitation={token}")
    await tab.sees("it was used or taken back")
    assert token not in tab.page.url


async def mailed_token(provider: Provider) -> str:
    """Return the token that arrives by mail."""
    async with asyncio.timeout(20):
        while not provider.inbox(FRIEND.address):
            await asyncio.sleep(0.02)
    (token,) = re.findall(rb"^([\w-]{40,})\r?$", provider.inbox(FRIEND.address)[0], re.MULTILINE)
    text: str = token.decode()
    return text
