"""Hostile values everywhere: whatever the console and the documentation show of them, they show as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from bson import ObjectId
from playwright.async_api import expect

from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.browser.tab import Tab
from tests.client import PASSWORD

MARKUP = (
    '"><img src=x onerror="pwned=1"><svg onload=pwned=1></textarea><script>pwned=1</script>'
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe><a href=javascript:pwned=1>{{pwned=1}}${pwned=1}"
)
ADDRESS = '"<img/src=x/onerror=pwned=1>"@elsewhere.example'
DOMAIN = "hostile.ok.test"
PLACES = (
    *("/compose", "/identities", "/identities/new", "/drafts", "/sent", "/domains", "/domains/new", "/invitation"),
    "/account",
)
PARTS = ("", "/mailboxes", "/mailboxes/ada", "/new-mailbox", "/aliases", "/people", "/settings")

_WATCH = """
    globalThis.violations = [];
    addEventListener("securitypolicyviolation", (each) => violations.push(each.violatedDirective));
"""
# What the markup would become, and what its scripts would leave behind.
_TRACES = """() => [
    ...violations,
    ...(globalThis.pwned ? ["a script ran"] : []),
    ...Array.from(
        document.querySelectorAll("iframe, object, embed, base, form[action], [onerror], [onload], [onclick]"),
        (each) => each.outerHTML,
    ),
    ...Array.from(document.querySelectorAll("img, script"), (each) => each.src).filter(
        (each) => !each.startsWith(origin)
    ),
    ...Array.from(document.querySelectorAll("a"), (each) => each.href).filter(
        (each) => !/^(https?|blob):/.test(each)
    ),
]"""

pytestmark = pytest.mark.parametrize("tab", ["desktop"], indirect=True)


async def fill(tab: Tab, provider: Provider, mongo: Mongo) -> list[str]:
    """Make one of everything with markup in all that is free text; return the pages that show it."""
    user_id = (await tab.session())["user_id"]
    await tab.call("PATCH", f"/api/v2/users/{user_id}", {"display_name": MARKUP})
    account = await tab.add_account(provider)
    await tab.call("PATCH", f"/api/v2/identities/remotes/{account}", {"display_name": MARKUP})
    wording = {"subject": MARKUP, "body": MARKUP, "body_is_plain": False}
    people = [{"type": kind, "address": ADDRESS, "label": MARKUP[:200]} for kind in ("To", "Cc", "Reply-To")]
    draft = await tab.add_draft(**wording, participants=people)
    file = {
        "name": '"><img src=x onerror=pwned=1>.html',
        "mimeType": "text/html",
        "buffer": b"<script>pwned=1</script>",
    }
    await attach(tab, draft, file)
    sent = await tab.add_draft(**wording, participants=people)
    await tab.page.context.request.post(
        f"{tab.site}/api/v1/messages/{sent}/actions", data={"actions": ["send"]}, headers=await authorized(tab)
    )
    await tab.call("POST", "/api/v2/domains", {"name": DOMAIN, "context": MARKUP[:200]})
    mailbox = {
        "local_part": "ada",
        "first_name": MARKUP[:100],
        "last_name": MARKUP[:100],
        "secondary_email": ADDRESS,
    }
    await tab.call("POST", f"/api/v2/domains/{DOMAIN}/mailboxes", mailbox)
    await tab.call("POST", f"/api/v2/domains/{DOMAIN}/aliases", {"local_part": "ada2", "destination": ADDRESS})
    await tab.call("POST", f"/api/v2/domains/{DOMAIN}/invitations", {"email": ADDRESS, "role": "viewer"})
    await spoil(mongo)
    pages = [*PLACES, *(f"/domains/{DOMAIN}{part}" for part in PARTS)]
    pages += [f"/identities/remotes/{account}", f"/sent/{sent}", f"/compose?reply={sent}", f"/drafts/{draft}"]
    return pages


async def authorized(tab: Tab) -> dict[str, str]:
    """Return the header that signs in."""
    return {"Authorization": f"Bearer {(await tab.session())['tokens']['access_token']}"}


async def attach(tab: Tab, message_id: str, file: Any) -> None:
    """Put a file on a draft."""
    path = f"{tab.site}/api/v2/messages/{message_id}/attachments"
    answer = await tab.page.context.request.post(
        path, multipart={"attachment": file}, headers=await authorized(tab)
    )
    assert answer.ok, await answer.text()


async def spoil(mongo: Mongo) -> None:
    """Let servers have said the same: what they say is stored as it came, but for what cannot be printed."""
    later = datetime.now(UTC) + timedelta(hours=1)
    errors = {"lastFetchError": MARKUP, "errorsCount": "1", "sentfolder": MARKUP, "capabilities": MARKUP}
    told = {f"infos.{name}": value for name, value in errors.items()}
    remotes = {"type": "remote"}
    await mongo.collection("identities").update_many(remotes, {"$set": {**told, "next_check_at": later}})
    check = await mongo.collection("checks").find_one({}) or {}
    await mongo.collection("checks").insert_one({**check, "_id": ObjectId(), "error": MARKUP, "ok": False})
    replies = {"delivery.last_error": MARKUP, "delivery.recipients.$[].smtp_reply": MARKUP}
    await mongo.collection("messages").update_many({"delivery.recipients": {"$type": "array"}}, {"$set": replies})
    fault = {"internal": False, "faults": [{"code": "no_mx", "detail": MARKUP}]}
    records = [{"target": MARKUP, "type": kind, "value": MARKUP} for kind in ("mx", "cname", "txt")]
    said = {"checks.mx": fault, "records": records, "status": "action_required", "check_at": later}
    await mongo.collection("domains").update_many({}, {"$set": said})
    await mongo.collection("mailboxes").update_many({}, {"$set": {"error": MARKUP}})


async def unharmed(tab: Tab, where: str) -> None:
    """Nothing of the markup has become an element, and no script has run."""
    await expect(tab.page.locator("h1")).to_be_visible()
    await expect(tab.page.locator(".skeleton")).to_have_count(0)
    assert await tab.page.evaluate(_TRACES) == [], where


async def test_markup_everywhere(tab: Tab, provider: Provider, mongo: Mongo) -> None:
    """On every page of the console, names, texts and what servers said are text, and nothing else."""
    await tab.page.add_init_script(_WATCH)
    await tab.page.reload()
    await tab.register()
    pages = await fill(tab, provider, mongo)
    shown = 0
    for page in pages:
        await tab.go(f"#{page}")
        await unharmed(tab, page)
        values = "each => each.value ?? ''"
        fields = await tab.page.locator("input, textarea").evaluate_all(f"all => all.map({values})")
        shown += MARKUP[:60] in await tab.page.inner_text("body") + "".join(fields)
    assert shown >= 8
    await no_page(tab, pages[-1].rpartition("/")[2])


async def no_page(tab: Tab, message_id: str) -> None:
    """An attachment, HTML here, is stored by a browser and not shown; if it were, no script of it would run."""
    (file,) = (await tab.call("GET", f"/api/v2/messages/{message_id}"))["attachments"]
    path = f"{tab.site}/api/v2/messages/{message_id}/attachments/{file['temp_id']}"
    answer = await tab.page.context.request.get(path, headers=await authorized(tab))
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert {"default-src 'none'", "sandbox"} <= set(answer.headers["content-security-policy"].split("; "))


async def test_markup_in_addresses(tab: Tab) -> None:
    """What stands in the address of a page is text, on every page, signed in or not, and in the documentation."""
    await tab.page.add_init_script(_WATCH)
    fragments = [
        *(f"{place}{quote(MARKUP, safe='')}" for place in ("/", "/domains/", "/drafts/", "/identities/remotes/")),
        *(
            "/compose?reply=" + quote(MARKUP, safe=""),
            "/domains/%/people",
            "javascript:pwned=1",
            "invitation=" + MARKUP,
        ),
        *(
            "/domains/__proto__",
            "/identities/constructor/1",
            "/sign-in?" + MARKUP,
            "//evil.example",
            "/\\evil.example",
        ),
    ]
    for enter in (tab.page.reload, tab.register):
        await enter()
        for fragment in fragments:
            await tab.go(f"#{fragment}")
            await unharmed(tab, fragment)
            assert tab.page.url.startswith(f"{tab.site}/")
    await no_ambient_credentials(tab)
    await tab.page.goto(f"{tab.site}/api/docs#{quote(MARKUP, safe='')}")
    await tab.sees(" operations")
    await tab.fill("Find an operation", MARKUP)
    await unharmed(tab, "documentation")


async def no_ambient_credentials(tab: Tab) -> None:
    """The browser keeps nothing that signs in by itself: another site's request through it is nobody's."""
    assert await tab.page.context.cookies() == []
    assert await tab.page.evaluate("Object.keys(localStorage).length") == 0
    assert (await tab.page.context.request.get(f"{tab.site}/api/v1/me")).status == 401
    assert PASSWORD not in await tab.page.evaluate("JSON.stringify({ ...sessionStorage })")
