"""Identities: the picture of their checks, pausing, changing and deleting them, finding no servers for one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from api.demo.provider import Provider
from gateway.errors import Unreachable
from gateway.health import Finding
from gateway.identity import IdentityStatus, IdentityType, UserIdentity
from storage.checks import MongoHistory
from storage.mongo import Mongo
from tests.browser.tab import MAIL_HOST, Tab
from tests.conftest import ME

pytestmark = pytest.mark.parametrize("tab", ["desktop"], indirect=True)


async def test_picture(tab: Tab, provider: Provider, mongo: Mongo) -> None:
    """The checks of a day are a picture, which says in words what it shows."""
    await tab.register()
    identity_id = await tab.add_account(provider)
    await remember_a_day(mongo, (await tab.session())["user_id"], identity_id)
    await tab.go(f"#/identities/remotes/{identity_id}")
    await tab.is_at(ME.address)
    picture = tab.page.get_by_role("img", name="Checks of the last 24 hours: 6 of ")
    await expect(picture).to_be_visible()
    assert await picture.locator("rect.failed").count() >= 3  # 75 minutes
    await tab.page.get_by_text("The latest checks").click()
    await tab.look("a-day")
    await tab.go("#/identities")
    await tab.is_at("Identities")
    await expect(picture).to_be_visible()
    await tab.look("identities-after-a-day")


async def remember_a_day(mongo: Mongo, user_id: str, identity_id: str) -> None:
    """Note checks of a day, every quarter of an hour, 6 of which have failed."""
    history = MongoHistory(mongo)
    identity = UserIdentity(
        identity_id, user_id, IdentityType.REMOTE, "imap", ME.address, "", IdentityStatus.ACTIVE, {}, None
    )
    half_hour = 30 * 60
    start = datetime.fromtimestamp(datetime.now(UTC).timestamp() // half_hour * half_hour, UTC)
    for quarter in range(1, 95):
        failures = {"outserver": Unreachable(f"{MAIL_HOST} did not answer in time.")} if 40 <= quarter < 46 else {}
        at = start - timedelta(minutes=15 * quarter)
        await history.add(identity, Finding(at, 120, {}, failures))


async def test_pause(tab: Tab, provider: Provider) -> None:
    """A paused account says so, is not offered for writing, and works on when it is made active."""
    await tab.register()
    await tab.add_account(provider)
    await tab.page.reload()
    await tab.press("Pause")
    await tab.sees("Paused")
    await expect(tab.part("button", "Activate")).to_be_focused()
    await tab.look("paused")
    await tab.go("#/compose")
    option = tab.page.get_by_label("From").locator("option", has_text=ME.address)
    await expect(option).to_be_disabled()
    await tab.go("#/identities")
    await tab.press("Activate")
    await expect(tab.part("button", "Pause")).to_be_focused()
    await expect(tab.page.locator(".badge.good")).to_have_count(2)


async def test_settings(tab: Tab, provider: Provider) -> None:
    """What is left empty stays; a password that is wrong is told at its field, and one that is right mends it."""
    await tab.register()
    identity_id = await tab.add_account(provider)
    path = f"/api/v2/identities/remotes/{identity_id}"
    await tab.go(f"#/identities/remotes/{identity_id}")
    await tab.is_at(ME.address)
    await tab.page.get_by_text("More settings").click()
    await tab.fill("Name optional", "Me, elsewhere")
    await tab.fill("Check every … minutes", "0")
    await tab.press("Save and check")
    await tab.sees("Must be a number of minutes from 1 to 1440.")
    await tab.fill("Check every … minutes", "30")
    async with tab.page.expect_response(f"**{path}/actions"):
        await tab.press("Save and check")
    await tab.sees("works and is saved")
    stored = await tab.call("GET", path)
    assert (stored["display_name"], stored["infos"]["pollinterval"]) == ("Me, elsewhere", "30")
    await tab.fill("Password", "not the password")
    await tab.press("Save and check")
    await expect(tab.page.get_by_label("Password", exact=True)).to_have_attribute("aria-invalid", "true")
    await tab.fill("Password", ME.password)
    await tab.press("Save and check")
    await expect(tab.page.locator(".badge.good")).to_be_visible()


async def test_another_server(tab: Tab, provider: Provider) -> None:
    """For servers of somebody else the password is asked for, at its field, and nothing is changed without it."""
    await tab.register()
    identity_id = await tab.add_account(provider)
    path = f"/api/v2/identities/remotes/{identity_id}"
    await tab.go(f"#/identities/remotes/{identity_id}")
    await tab.is_at(ME.address)
    before = await tab.call("GET", path)
    server = tab.part("group", "Outgoing mail (SMTP)").get_by_label("Server")
    password = tab.page.get_by_label("Password", exact=True)
    await server.fill("smtp.another.example")
    await tab.press("Save and check")
    await expect(password).to_have_accessible_description(
        re.compile("Send the password again: the stored one was not given for smtp.another.example.")
    )
    await expect(password).to_be_focused()
    await tab.look("password-again")
    assert await tab.call("GET", path) == before
    await tab.fill("Password", ME.password)
    async with tab.page.expect_response(f"**{path}/actions"):
        await tab.press("Save and check")
    assert (await tab.call("GET", path))["infos"]["outserver"].startswith("smtp.another.example:")


async def test_delete(tab: Tab, provider: Provider) -> None:
    """An account is deleted after a question, which can be answered with no."""
    await tab.register()
    identity_id = await tab.add_account(provider)
    await tab.go(f"#/identities/remotes/{identity_id}")
    await tab.press("Delete account")
    await expect(tab.part("dialog", f"Delete {ME.address}?")).to_be_visible()
    await tab.look("delete-account")
    await tab.press("Cancel")
    await tab.press("Delete account")
    await tab.part("dialog", f"Delete {ME.address}?").get_by_role("button", name="Delete account").click()
    await tab.sees("Add your first account")


async def test_no_servers_found(tab: Tab, provider: Provider) -> None:
    """Where nothing is found the servers are entered by hand; what is wrong with them stands at their fields."""
    await tab.register()
    await tab.go("#/identities/new")
    await tab.fill("Mail address", "no address")
    await tab.press("Find its servers")
    await expect(tab.page.get_by_label("Mail address")).to_have_attribute("aria-invalid", "true")
    await tab.fill("Mail address", "someone@nowhere.example")
    await tab.press("Find its servers")
    await tab.sees("No servers were found")
    incoming, outgoing = tab.part("group", "Incoming mail (IMAP)"), tab.part("group", "Outgoing mail (SMTP)")
    await incoming.get_by_label("Server").fill("not a host")
    await outgoing.get_by_label("Server").fill(MAIL_HOST)
    await outgoing.get_by_label("Port").fill(str(provider.submission_port))
    await tab.press("Check and save")
    await tab.sees("is no host name")
    await tab.look("no-servers-found")
    await incoming.get_by_label("Server").fill(MAIL_HOST)
    await incoming.get_by_label("Port").fill("993")
    await tab.press("Check and save")
    await tab.sees("not one that mail servers use")
    await tab.look("refused-and-savable")
    await tab.press("Save anyway")
    await tab.is_at("Identities")
    await tab.sees("Not working")
