"""One's own account."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.tab import Tab
from tests.client import PASSWORD

pytestmark = pytest.mark.parametrize("tab", ["desktop"], indirect=True)


async def test_profile(tab: Tab) -> None:
    """Name and recovery address can be changed; what is wrong with them stands at their field."""
    await tab.register()
    await tab.go("#/account")
    await tab.fill("Your name", "A newcomer")
    await tab.fill("Recovery address optional", "nowhere")
    await tab.press("Save")
    await expect(tab.page.get_by_label("Recovery address")).to_have_attribute("aria-invalid", "true")
    await tab.fill("Recovery address optional", "newcomer@elsewhere.example")
    await tab.press("Save")
    await tab.sees("Saved.")
    me = await tab.call("GET", "/api/v1/me")
    assert (me["display_name"], me["recovery_email"]) == ("A newcomer", "newcomer@elsewhere.example")


async def test_password(tab: Tab) -> None:
    """A new password needs the present one, and this tab stays signed in."""
    await tab.register()
    await tab.go("#/account")
    await tab.fill("Present password", "not the password")
    await tab.fill("New password", "another good password")
    await tab.press("Change password")
    await tab.sees("This is not your present password.")
    await tab.look("wrong-present-password")
    await tab.fill("Present password", PASSWORD)
    await tab.press("Change password")
    await tab.sees("The password is changed.")
    await tab.call("GET", "/api/v1/me")


async def test_farewell(tab: Tab) -> None:
    """The account is deleted with its password, and nobody is signed in after that."""
    await tab.register()
    await tab.go("#/account")
    await tab.press("Delete my account")
    farewell = tab.part("dialog", "Delete your account?")
    await farewell.get_by_label("Password", exact=True).fill("not the password")
    await farewell.get_by_role("button", name="Delete my account").click()
    await tab.sees("This is not your password.")
    await tab.look("farewell")
    await farewell.get_by_label("Password", exact=True).fill(PASSWORD)
    await farewell.get_by_role("button", name="Delete my account").click()
    await tab.is_at("Sign in")
    await tab.sees("Your account is deleted.")


async def test_taken_name(tab: Tab) -> None:
    """A user name that is taken is told before the form is sent."""
    await tab.register()
    await tab.press("Sign out")
    await tab.press("Create an account", "link")
    await tab.is_at("Create an account")
    await tab.fill("User name", "newcomer")
    await tab.page.get_by_label("Password", exact=True).focus()
    await tab.sees("This name is taken")
