"""Staying signed in, and what a tab does without an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.tab import Tab

pytestmark = pytest.mark.parametrize("tab", ["desktop"], indirect=True)


async def test_renewal(tab: Tab) -> None:
    """A token that is void is replaced once, whatever many requests find that out at the same time."""
    await tab.register()
    renewals: list[str] = []
    tab.page.on("request", lambda request: renewals.append(request.url) if "refresh" in request.url else None)
    await tab.page.evaluate(
        'sessionStorage.session = sessionStorage.session.replace(/(?<=access_token":")[^"]+/, \'void\')'
    )
    await tab.page.reload()
    await tab.sees("Working")
    assert len(renewals) == 1


async def test_the_end_of_a_session(tab: Tab) -> None:
    """Where the session is over the user is told, signs in, and is where he was."""
    await tab.register()
    await tab.go("#/account")
    await tab.is_at("Account")
    await tab.page.evaluate(
        'sessionStorage.session = sessionStorage.session.replaceAll(/_token":"[^"]+/g, \'_token":"void\')'
    )
    await tab.page.reload()
    await tab.sees("Your session has ended")
    await tab.fill("User name", "newcomer")
    await tab.fill("Password", "not the password")
    await tab.press("Sign in")
    await tab.sees("The user name or the password is wrong.")
    await tab.look("signed-out")
    await tab.fill("Password", "a good password")
    await tab.press("Sign in")
    await tab.is_at("Account")


async def test_another_tab(tab: Tab) -> None:
    """What one tab knows of the session no other one does."""
    await tab.register()
    other = await tab.page.context.new_page()
    await other.goto(tab.site)
    await expect(other.get_by_role("heading", level=1, name="Sign in")).to_be_visible()


async def test_without_a_connection(tab: Tab) -> None:
    """A page waits for a gateway that cannot be reached, says so, and goes on by itself."""
    await tab.register()
    await tab.page.context.set_offline(True)
    await tab.go("#/sent")
    await tab.sees("cannot be reached")
    tab.problems.clear()  # Chromium notes every request that fails for that
    await tab.picture("offline")
    await tab.page.context.set_offline(False)
    await tab.sees("Nothing sent yet")
    await expect(tab.page.locator(".connection")).to_be_hidden()
    tab.problems.clear()


async def test_a_gateway_without_its_database(tab: Tab) -> None:
    """A page waits for a gateway that answers 503, as long as that asks for."""
    await tab.register()
    is_back = asyncio.Event()

    async def answer(route: Any) -> None:
        if not is_back.is_set():
            problem = {"type": "about:blank", "title": "", "status": 503, "detail": "The database does not answer."}
            await route.fulfill(status=503, json=problem, content_type="application/problem+json")
        else:
            await route.continue_()

    await tab.page.route("**/api/v2/messages?*", answer)
    await tab.go("#/sent")
    await tab.sees("The database does not answer. Trying again…")
    is_back.set()
    await tab.sees("Nothing sent yet")
    tab.problems.clear()  # the 503, which Chromium notes


async def test_unknown_pages(tab: Tab) -> None:
    """An address that names no page, or nothing that there is, is told."""
    await tab.register()
    await tab.go("#/no/such/page")
    await tab.is_at("Page not found")
    await tab.look("no-page")
    await tab.go("#/identities/remotes/nobody")
    await tab.sees("There is nothing here")


async def test_keyboard(tab: Tab) -> None:
    """The first key leads to the content past the navigation, and a new page begins at its heading."""
    await tab.register()
    await tab.page.reload()
    await tab.is_at("Identities")
    await expect(tab.page.get_by_role("heading", level=1)).to_be_focused()
    for _ in range(1 + await tab.part("banner", "").locator("a, button").count()):
        await tab.page.keyboard.press("Shift+Tab")
    await expect(tab.part("button", "Skip to the content")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await tab.page.keyboard.press("Tab")
    await expect(tab.page.get_by_role("link", name="Add account").first).to_be_focused()
