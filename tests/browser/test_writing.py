"""Writing messages: what is kept, undone, sent later, taken back."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from api.demo.provider import Provider
from tests.browser.tab import Tab
from tests.conftest import FRIEND

pytestmark = pytest.mark.parametrize("tab", ["desktop"], indirect=True)


async def saved(tab: Tab) -> None:
    """Wait for the draft to be saved."""
    await expect(tab.page.get_by_text("Saved", exact=True)).to_be_visible()


async def test_conflict(tab: Tab) -> None:
    """A draft that another program has changed is not overwritten unseen; either of the two can be kept."""
    await tab.register()
    draft = await tab.add_draft()
    await tab.go(f"#/drafts/{draft}")
    await tab.is_at("Draft")
    for theirs, button, stays in (
        ("Theirs", "Keep what I wrote here", "Mine"),
        ("Theirs again", "Show the other", "Theirs again"),
    ):
        await tab.call("PATCH", f"/api/v1/messages/{draft}", {"subject": theirs})
        await tab.fill("Subject", "Mine" if stays == "Mine" else "Mine again")
        await tab.sees("This draft was changed somewhere else")
        await tab.look(f"conflict-{stays.lower().replace(' ', '-')}")
        await tab.press(button)
        await expect(tab.page.get_by_label("Subject", exact=True)).to_have_value(stays)
        await expect(tab.page.get_by_text("This draft was changed somewhere else")).to_be_hidden()
        if stays == "Mine":
            await saved(tab)
        assert (await tab.call("GET", f"/api/v1/messages/{draft}"))["subject"] == stays


async def test_discard(tab: Tab) -> None:
    """A discarded draft comes back when that is undone, and is gone when it is not."""
    await tab.register()
    draft = await tab.add_draft(subject="To be discarded")
    await tab.go(f"#/drafts/{draft}")
    await tab.press("Discard")
    await tab.is_at("Drafts")
    await expect(tab.page.get_by_text("To be discarded")).to_be_hidden()
    await tab.look("discarded")
    await tab.press("Undo")
    await expect(tab.page.get_by_label("Subject", exact=True)).to_have_value("To be discarded")
    await tab.press("Discard")
    await tab.is_at("Drafts")
    async with tab.page.expect_response(lambda response: response.request.method == "DELETE"):
        await tab.press("Dismiss")
    assert (await tab.call("GET", "/api/v2/messages"))["total"] == 0


async def test_send_later(tab: Tab) -> None:
    """A message waits for its time, and is a draft again when its sender takes it back."""
    await tab.register()
    await tab.go(f"#/drafts/{await tab.add_draft(subject='Not yet')}")
    await tab.press("Send later")
    await expect(tab.part("dialog", "Send later")).to_be_visible()
    await tab.look("send-later")
    await tab.page.get_by_label("Another time").fill("2020-01-01T08:00")
    await tab.press("Schedule")
    await tab.sees("still to come")
    await tab.press("Tomorrow at 8:00")
    await tab.is_at("Not yet")
    await tab.sees("It will be sent on")
    await tab.look("scheduled")
    await tab.press("Cancel sending")
    await tab.is_at("Draft")
    await tab.sees("Sending was canceled")
    await tab.look("canceled")


async def test_recipients(tab: Tab) -> None:
    """Addresses are read as people paste them, with names, and can be edited and taken away."""
    await tab.register()
    await tab.go("#/compose")
    to = tab.page.get_by_label("To", exact=True)
    await to.fill('"Doe, Jane" <jane@one.example>, joe@two.example; "a,b"@three.example')
    await to.press("Enter")
    await expect(tab.page.locator(".token")).to_have_text(["Doe, Jane", "joe@two.example", '"a,b"@three.example'])
    await to.press("Backspace")
    await expect(to).to_have_value('"a,b"@three.example')
    await to.fill("")
    await tab.press("Remove joe@two.example")
    await tab.press("Add Bcc")
    await tab.page.get_by_label("Bcc", exact=True).fill("quiet@one.example")
    await tab.fill("Subject", "Who gets it")
    await saved(tab)
    [draft] = (await tab.call("GET", "/api/v2/messages"))["messages"]
    people = {(each["type"], each["label"], each["address"]) for each in draft["participants"]}
    assert people >= {("To", "Doe, Jane", "jane@one.example"), ("Bcc", "", "quiet@one.example")}
    assert len(people) == 3


async def test_write_again(tab: Tab, provider: Provider) -> None:
    """A message that follows a sent one goes to the same people and belongs to it."""
    await tab.register()
    first = await tab.add_draft(subject="First")
    await tab.call("POST", f"/api/v1/messages/{first}/actions", {"actions": ["send"]})
    await tab.go(f"#/sent/{first}")
    await tab.press("Follow up", "link")
    await expect(tab.page.get_by_label("Subject", exact=True)).to_have_value("Re: First")
    await expect(tab.page.locator(".token")).to_have_text([FRIEND.address])
    await tab.press("Send")
    await tab.is_at("Re: First")
    second = provider.inbox(FRIEND.address)[1]
    assert b"In-Reply-To: <" in second


async def test_attachments(tab: Tab) -> None:
    """Files are put on, can be read, and taken off; one that is too large is told."""
    await tab.register()
    await tab.go("#/compose")
    await tab.attach("a.txt", b"a")
    await tab.attach("b.bin", bytes(500_000))
    await tab.sees("500 kB")
    async with tab.page.expect_download() as download:
        await tab.press("a.txt")
    assert (await (await download.value).path()).read_bytes() == b"a"
    await tab.press("Remove a.txt")
    await expect(tab.page.get_by_text("a.txt")).to_be_hidden()
    await tab.attach("huge", bytes(3_000_000))
    await tab.sees("huge: A message has")
    await expect(tab.page.locator(".file")).to_have_count(1)


async def test_long_list(tab: Tab) -> None:
    """A long list loads more as one scrolls to its end."""
    await tab.register()
    for number in range(70):
        await tab.add_draft(subject=f"Draft {number}")
    await tab.go("#/drafts")
    await tab.sees("Draft 69")
    rows = tab.page.locator(".row")
    await expect(rows).to_have_count(30)
    for shown in (60, 70):
        await rows.last.scroll_into_view_if_needed()
        await expect(rows).to_have_count(shown)
