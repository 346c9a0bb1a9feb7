"""The documentation of the API, as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.tab import Tab

_SHOWN = """() => Object.fromEntries(Array.from(document.querySelectorAll("details.operation"), each => [each.id, [
    each.querySelector(".summary").textContent,
    each.querySelector("pre").textContent.slice(0, 4),
    Array.from(each.querySelectorAll(".errors dt"), status => status.textContent),
]]))"""
DESKTOP = pytest.mark.parametrize("tab", ["desktop"], indirect=True)


async def opened(tab: Tab, fragment: str = "") -> Mapping[str, Any]:
    """Open the documentation; return the document, by operation."""
    answer = await tab.page.context.request.get(f"{tab.site}/api/openapi.json")
    document = await answer.json()
    await tab.page.goto(f"{tab.site}/api/docs{fragment}")
    await tab.is_at(f"API {document['info']['version']}")
    await tab.sees(" operations")
    return {each["operationId"]: each for verbs in document["paths"].values() for each in verbs.values()}


async def test_documentation(tab: Tab) -> None:
    """Every operation is there with its summary, errors and example; one is open, with all that there is of it."""
    operations = await opened(tab)
    await tab.look("overview")
    await tab.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    await expect(tab.page.locator("details.operation .inside").last).to_be_visible()
    shown = await tab.page.evaluate(_SHOWN)
    for operation_id, operation in operations.items():
        first = operation.get("x-second-path-of", operation_id)
        errors = [status for status in operation["responses"] if int(status) >= 400]
        assert shown[first] == [operation["summary"], "curl", errors]
        await expect(tab.page.locator(f"[id='{operation_id}']")).to_be_visible()
    await tab.look("all-open")


async def test_documentation_link(tab: Tab) -> None:
    """An address leads to its operation, also by its second path, whatever the filter hid."""
    await opened(tab, "#patch_v2_identities_remotes_identity_id")
    entry = tab.page.locator("#patch_v2_identities_remotes_identity_id")
    await expect(entry.locator(":scope > summary")).to_be_focused()
    await tab.look("linked")
    await tab.fill("Find an operation", "mailbox")
    await expect(entry).to_be_hidden()
    await tab.go("#patch_v2_remotes_identity_id")
    await expect(entry).to_be_in_viewport()
    await expect(entry).to_contain_text("Also at PATCH /api/v2/remotes/{identity_id}")


@DESKTOP
async def test_documentation_filter(tab: Tab) -> None:
    """Only operations that have all words are left; where there are none the page says what to do."""
    await opened(tab)
    await tab.fill("Find an operation", "Alias post")
    await tab.sees("1 of ")
    await expect(tab.page.locator("details.operation:visible")).to_have_count(1)
    await expect(tab.part("navigation", "Groups").get_by_role("link")).to_have_text(["aliases"])
    await tab.fill("Find an operation", "no such thing")
    await tab.sees("Nothing has all of these words.")
    await tab.look("nothing-found")


@DESKTOP
async def test_documentation_away(tab: Tab) -> None:
    """Where the document cannot be had, the page says so and what to do."""
    await tab.page.route("**/api/openapi.json", lambda route: route.fulfill(status=429))
    await tab.page.goto(f"{tab.site}/api/docs")
    await expect(tab.page.get_by_role("alert")).to_contain_text("it answers 429. Load the page again.")
    await tab.look("away")


@DESKTOP
async def test_documentation_copy(tab: Tab) -> None:
    """A command can be copied, and opening an operation puts its address where it can be taken from."""
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await opened(tab)
    await tab.page.locator("#post_v1_messages_message_id_actions > summary").press("Enter")
    await tab.press("Copy: Request")
    await tab.sees("Copied")
    assert tab.page.url.endswith("#post_v1_messages_message_id_actions")
    assert await tab.page.evaluate("navigator.clipboard.readText()") == (
        'curl -u "$USER_ID:$ACCESS_TOKEN" \\\n'
        f'  "{tab.site}/api/v1/messages/$MESSAGE_ID/actions" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        '  -d \'{ "actions": [ "send" ] }\''
    )
