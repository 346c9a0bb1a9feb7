"""A tab of a browser with the console in it, which notes all that goes wrong, and what the pages look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Self

import orjson
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FilePayload,
    Locator,
    Page,
    ViewportSize,
    expect,
)

from api.demo.provider import Provider
from tests.client import PASSWORD, draft
from tests.conftest import ME

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
WINDOWS: Mapping[str, ViewportSize] = {
    "phone": {"width": 390, "height": 844},
    "desktop": {"width": 1280, "height": 900},
}
NARROW: ViewportSize = {"width": 360, "height": 740}
MAIL_HOST = "mail.elsewhere.example"
"""The name that the provider's certificate is for."""
SCHEMES: tuple[Any, ...] = ("dark", "light")

_AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
_RUN_AXE = """async () => (await axe.run()).violations.map(
    ({ id, nodes }) => [id, ...nodes.map((node) => [node.html, node.failureSummary])],
)"""
# Chromium notes every refusal of the API there, also those that the page shows to the user.
_REFUSAL = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d ")
_TIMEOUT_MS = 15_000


@dataclass
class Tab:
    """One tab. At its end nothing may have gone wrong in it, and nobody else may have been asked for anything."""

    page: Page
    site: str
    pictures: Path
    problems: list[str] = field(default_factory=list)
    seen: int = 0

    @classmethod
    async def opened(cls, browser: Browser, site: str, window: str, story: str) -> Self:
        """Return a new tab at the console's address. Pictures are kept as ``<story>/<window>/<name>.png``."""
        is_phone = window == "phone"
        context: BrowserContext = await browser.new_context(
            viewport=WINDOWS[window], has_touch=is_phone, is_mobile=is_phone, reduced_motion="reduce"
        )
        context.set_default_timeout(_TIMEOUT_MS)
        expect.set_options(timeout=_TIMEOUT_MS)
        tab = cls(await context.new_page(), site, SCREENSHOTS / story / window)
        tab.page.on("console", tab._console)
        tab.page.on("pageerror", lambda error: tab.problems.append(str(error)))
        tab.page.on("request", lambda request: tab._request(request.url))
        await tab.page.goto(site)
        return tab

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.picture("end")
        await self.page.context.close()
        assert self.problems == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _REFUSAL.match(message.text):
            self.problems.append(message.text)

    def _request(self, url: str) -> None:
        if not url.startswith((self.site, f"blob:{self.site}")):
            self.problems.append(f"asks {url}")

    # -- what a user does ----------------------------------------------------------------------------------------

    async def fill(self, label: str, text: str) -> None:
        """Type into the field of that label, in place of what is there."""
        await self.page.get_by_label(label, exact=True).fill(text)

    async def press(self, words: str, role: Any = "button") -> None:
        """Press the button, or follow the link, of these words."""
        await self.page.get_by_role(role, name=words, exact=True).first.click()

    async def sees(self, text: str) -> None:
        """Wait for a text to be there to be seen."""
        await expect(self.page.get_by_text(text).filter(visible=True).first).to_be_visible()

    async def attach(self, file_name: str, content: bytes) -> None:
        """Choose a file to go with the message."""
        file = FilePayload(name=file_name, mimeType="application/octet-stream", buffer=content)
        await self.page.locator("input[type=file]").set_input_files(file)

    async def is_at(self, heading: str) -> None:
        """Wait for the page of that heading."""
        await expect(self.page.get_by_role("heading", level=1, name=heading, exact=True)).to_be_visible()

    def part(self, role: Any, name: str) -> Locator:
        """Return the part of the page of that role and name."""
        return self.page.get_by_role(role, name=name)

    # -- what is held against every page -------------------------------------------------------------------------

    async def look(self, name: str) -> None:
        """Take pictures in both colour schemes; axe-core finds nothing, and nothing is wider than the window."""
        await expect(self.page.locator(".skeleton")).to_have_count(0)
        self.seen += 1
        for scheme in SCHEMES:
            await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            await self.picture(f"{self.seen:02}-{name}-{scheme}")
            await self.page.evaluate(_AXE)
            violations = await self.page.evaluate(_RUN_AXE)
            assert not violations, f"{name}, {scheme}: {violations}"
        size = self.page.viewport_size or NARROW
        for each in (NARROW, size):
            await self.page.set_viewport_size(each)
            assert not await self.page.evaluate("document.documentElement.scrollWidth > innerWidth"), (name, each)

    async def picture(self, name: str) -> None:
        """Keep what is to be seen."""
        await self.page.screenshot(path=self.pictures / f"{name}.png")

    # -- ways past what a test is not about ----------------------------------------------------------------------

    async def register(self) -> None:
        """Sign up, which signs in."""
        await self.press("Create an account", "link")
        await self.is_at("Create an account")
        await self.fill("User name", "newcomer")
        await self.fill("Password", PASSWORD)
        await self.press("Create account")
        await self.is_at("Identities")

    async def go(self, path: str) -> None:
        """Open a page by its address."""
        await self.page.evaluate("path => { location.hash = path }", path)

    async def call(self, verb: str, path: str, body: Any = None) -> Any:
        """Ask the API as another program of the user would; return the JSON of the answer, if there is any."""
        session = await self.session()
        headers = {"Authorization": f"Bearer {session['tokens']['access_token']}"}
        answer = await self.page.context.request.fetch(self.site + path, method=verb, headers=headers, data=body)
        assert answer.ok, await answer.text()
        return await answer.json() if await answer.body() else None

    async def spoil(self, *names: str) -> None:
        """Make these tokens of the session void, and load the page anew."""
        session = await self.session()
        session["tokens"] |= dict.fromkeys(names, "void")
        await self.page.evaluate("text => { sessionStorage.session = text }", orjson.dumps(session).decode())
        await self.page.reload()

    async def session(self) -> Any:
        """Return what the tab knows of who is signed in."""
        return orjson.loads(await self.page.evaluate("sessionStorage.session"))

    async def add_account(self, provider: Provider) -> str:
        """Add the account ME at the provider; return its identity_id."""
        infos = {
            "inserver": f"{MAIL_HOST}:{provider.imap_port}",
            "outserver": f"{MAIL_HOST}:{provider.submission_port}",
            "intls": "starttls",
            "outtls": "starttls",
        }
        body = {
            "protocol": "imap",
            "identifier": ME.address,
            "infos": infos,
            "credentials": {"inusername": ME.address, "inpassword": ME.password},
        }
        added = await self.call("POST", "/api/v2/identities/remotes?verify=true", body)
        identity_id: str = added["identity_id"]
        return identity_id

    async def add_draft(self, **changes: Any) -> str:
        """Create a draft of the user's first local identity; return its message_id."""
        identities = await self.call("GET", "/api/v2/identities/locals")
        body = draft(identities["local_identities"][0]["identity_id"], **changes)
        created = await self.call("POST", "/api/v1/messages", body)
        message_id: str = created["message_id"]
        return message_id
