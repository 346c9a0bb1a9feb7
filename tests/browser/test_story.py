"""The story of a new user, from the sign-up to an account that stops working."""

from __future__ import annotations

from playwright.async_api import expect

from api.demo.provider import Provider
from tests.browser.tab import Tab
from tests.client import PASSWORD
from tests.conftest import FRIEND, ME


async def test_new_user(tab: Tab, provider: Provider) -> None:
    """Who has never been here gets a message out by the console alone, and sees it when an account breaks."""
    await sign_up(tab)
    await connect(tab)
    await write(tab)
    assert len(provider.inbox(FRIEND.address)) == 1
    await see_refusals(tab)
    await see_it_break(tab, provider)
    await visit_the_account(tab)


async def sign_up(tab: Tab) -> None:
    """Create an account; a password that is too short is told at its field."""
    await tab.is_at("Sign in")
    await tab.look("sign-in")
    await tab.press("Create an account", "link")
    await tab.is_at("Create an account")
    await tab.fill("User name", "newcomer")
    await tab.fill("Password", "short")
    await tab.press("Create account")
    await expect(tab.page.get_by_label("Password", exact=True)).to_have_attribute("aria-invalid", "true")
    await tab.look("sign-up")
    await tab.fill("Password", PASSWORD)
    await tab.press("Create account")
    await tab.is_at("Identities")
    await tab.sees("Add your first account")
    await tab.sees("Working")
    await tab.look("first-run")


async def connect(tab: Tab) -> None:
    """Add an account: its servers are found, a wrong password is told at its field, the right one works."""
    await tab.press("Add account", "link")
    await tab.look("add-account")
    await tab.fill("Mail address", ME.address)
    await tab.press("Find its servers")
    await tab.sees("Servers found")
    await tab.look("servers-found")
    await tab.fill("Password", "not the password")
    await tab.press("Check and save")
    await expect(tab.page.get_by_label("Password", exact=True)).to_have_attribute("aria-invalid", "true")
    await tab.sees("does not take this user name and password")
    await tab.look("wrong-password")
    await tab.fill("Password", ME.password)
    await tab.press("Check and save")
    await tab.is_at("Identities")
    await expect(tab.part("link", ME.address)).to_be_visible()
    await tab.look("identities")


async def write(tab: Tab) -> None:
    """Write a draft, which saves itself, find it again, and send it."""
    await tab.press("Write", "link")
    await tab.is_at("New message")
    await tab.fill("To", f"A Friend <{FRIEND.address}>")
    await tab.fill("Subject", "Lunch on Friday?")
    await tab.fill("Text", "Hello,\n\nshall we have lunch on Friday, at the usual place?\n\nSee you")
    await tab.attach("menu.txt", b"Soup\n")
    await expect(tab.part("button", "Remove menu.txt")).to_be_visible()
    await expect(tab.page.get_by_text("Saved", exact=True)).to_be_visible()
    await tab.look("compose")
    await tab.press("Drafts", "link")
    await tab.is_at("Drafts")
    await tab.look("drafts")
    await tab.page.get_by_role("link", name="Lunch on Friday?").click()
    await tab.is_at("Draft")
    await expect(tab.page.get_by_label("Subject", exact=True)).to_have_value("Lunch on Friday?")
    await tab.press("Send")
    await tab.is_at("Lunch on Friday?")
    await tab.sees("Delivered")
    await tab.sees("250 2.0.0 delivered")
    await tab.look("delivered")


async def see_refusals(tab: Tab) -> None:
    """See what became of each recipient of one message, and a message that nobody took."""
    await tab.press("Write", "link")
    await tab.fill("To", f"{FRIEND.address}, later@elsewhere.example, never@elsewhere.example")
    await tab.fill("Subject", "To three people")
    await tab.press("Send")
    await tab.sees("Waiting to try again")
    await tab.sees("refused by policy")
    await tab.look("on-its-way")
    await tab.press("Write", "link")
    await tab.is_at("New message")
    await tab.fill("To", "never@elsewhere.example, no address")
    await tab.fill("Subject", "To nobody")
    await tab.press("Send")
    await tab.sees("no address: ")
    await tab.look("wrong-address")
    await tab.press("Remove no address")
    await tab.press("Send")
    await tab.sees("It was not sent")
    await tab.look("not-sent")
    await tab.press("Sent", "link")
    await tab.is_at("Sent")
    await tab.look("sent")


async def see_it_break(tab: Tab, provider: Provider) -> None:
    """See that an account does not work any more, and why; correct it."""
    await provider.stop()
    await tab.press("Identities", "link")
    await tab.press("Check now")
    await tab.sees("Not working")
    await tab.sees("refuses connections")
    await tab.look("broken")
    await tab.press("Correct the account", "link")
    await tab.is_at(ME.address)
    await tab.look("broken-settings")
    await provider.start()
    await tab.press("Save and check")
    await expect(tab.page.locator(".badge.good")).to_be_visible()
    await tab.look("mended")


async def visit_the_account(tab: Tab) -> None:
    """Leave: the tab knows nothing of the user any more."""
    await tab.press("Account", "link")
    await tab.is_at("Account")
    await tab.look("account")
    await tab.press("Sign out")
    await tab.is_at("Sign in")
    assert await tab.page.evaluate("sessionStorage.length + localStorage.length") == 0
