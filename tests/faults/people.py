"""Clients of a gateway that things happen to, who keep in mind what they were told.

Each person writes letters, one after the other: a draft is created, changed, gets a file, is sent now or soon,
taken back, or deleted; in between the account is checked and renamed. Whatever is answered 2xx is kept in mind as a
promise. What was not answered, or 503, may have happened or not.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import orjson

from tests.client import PASSWORD, draft, remote
from tests.conftest import ME
from tests.e2e.conftest import Site
from tests.faults.outside import Outside

PATIENCE_S = 180
_LONGEST_S = 20
_MESSAGES = "/api/v1/messages"


@dataclass
class Letter:
    """A message, and what its author was told of it: sets hold what may be, of which one is."""

    message_id: str
    subjects: set[str]
    from_remote: bool
    files: dict[str, bytes] = field(default_factory=dict)
    fates: set[str] = field(default_factory=lambda: {"draft"})
    """Of: draft, ordered (which ends sent), later, sent, canceled, deleted."""


class Tally(Counter[str]):
    """How many requests were tried, acknowledged, refused (503) and cut off."""

    newest = 0.0
    """When the newest of the writes began that are acknowledged, by the monotonic clock."""

    def take(self, request: str, response: aiohttp.ClientResponse, content: bytes, began: float) -> Any:
        """Count an answer; return what it says, None where it is a refusal, which has to be as promised."""
        self["tried"] += 1
        if response.ok:
            self["acknowledged"] += 1
            if response.method != "GET":
                self.newest = max(self.newest, began)
            return orjson.loads(content) if content else True
        assert response.status == 503, f"{request}: {response.status} {content.decode()}"
        assert response.content_type == "application/problem+json"
        assert int(response.headers["Retry-After"]) > 0
        self["refused"] += 1
        return None

    async def acknowledged(self) -> float:
        """Return when a write that begins from now on is acknowledged: in how many seconds that was."""
        now = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            while self.newest < now:
                await asyncio.sleep(0.01)
        return time.monotonic() - now

    async def refused(self) -> None:
        """Return when one more is refused."""
        before = self["refused"]
        async with asyncio.timeout(PATIENCE_S):
            while self["refused"] == before:
                await asyncio.sleep(0.01)


class Person:
    """A user with a local and a remote identity, who does one thing at a time."""

    def __init__(self, site: Site, outside: Outside, name: str, chance: random.Random, tally: Tally) -> None:
        # No request takes longer, whatever happens to the gateway: else it fails its test.
        self.session = aiohttp.ClientSession(site.url, timeout=aiohttp.ClientTimeout(_LONGEST_S))
        # aiohttp would send a DELETE again that death has cut off, and not tell.
        self.session._retry_connection = False  # noqa: SLF001 - as its own TestClient does it
        self._outside = outside
        self._name = name
        self._chance = chance
        self._tally = tally
        self._end = asyncio.Event()
        self.letters: list[Letter] = []
        self.names = {ME.address}
        self.checks: list[str] = []

    async def begin(self) -> None:
        """Register, sign in, add the remote identity."""
        account = {"username": self._name, "password": PASSWORD}
        await self._told("POST", "/api/v1/users", account)
        tokens = (await self._told("POST", "/api/v1/authentications", account))["tokens"]
        self.session.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        self._local = (await self._told("GET", "/api/v2/identities/locals"))["local_identities"][0]["identity_id"]
        added = await self._told("POST", "/api/v2/identities/remotes", remote(self._outside))
        self._remote = added["identity_id"]

    async def live(self) -> None:
        """Write letters until the end."""
        self._end.clear()
        while not self._end.is_set():
            await self._write()
            if self._chance.random() < 0.3:
                await self._rename()
            if self._chance.random() < 0.1:
                await self._check()

    def end(self) -> None:
        """Begin nothing more."""
        self._end.set()

    async def _write(self) -> None:
        subject = f"{self._name} {len(self.letters)}"
        letter = Letter(
            str(UUID(int=self._chance.getrandbits(128), version=4)), {subject}, self._chance.random() < 0.3
        )
        body = draft(
            self._remote if letter.from_remote else self._local, subject=subject, message_id=letter.message_id
        )
        letter.fates = {"draft", "deleted"}
        self.letters.append(letter)
        if not await self._ask("POST", _MESSAGES, body):
            return
        letter.fates = {"draft"}
        if self._chance.random() < 0.5:
            await self._change(letter, f"{subject} changed")
        if self._chance.random() < 0.3:
            await self._attach(letter)
        ends = [self._send, self._send_soon, self._take_back, self._delete, self._leave]
        await self._chance.choices(ends, [5, 2, 1, 1, 1])[0](letter)

    async def _change(self, letter: Letter, subject: str) -> None:
        letter.subjects.add(subject)
        if await self._ask("PATCH", f"{_MESSAGES}/{letter.message_id}", {"subject": subject}):
            letter.subjects = {subject}

    async def _attach(self, letter: Letter) -> None:
        content = self._chance.randbytes(self._chance.choice([3_000, 300_000]))
        path = f"/api/v2/messages/{letter.message_id}/attachments"
        if answer := await self._ask("POST", path, content):
            letter.files[answer["temp_id"]] = content

    async def _leave(self, letter: Letter) -> None:
        """Let it be a draft."""

    async def _send(self, letter: Letter, send_at: datetime | None = None) -> None:
        params = {"params": {"send_at": send_at.isoformat()}} if send_at else {}
        letter.fates = {"draft", "ordered"}
        if answer := await self._act(letter, {"actions": ["send"], **params}):
            letter.fates = {"sent" if answer["delivery"]["state"] == "sent" else "ordered"}

    async def _send_soon(self, letter: Letter) -> None:
        await self._send(letter, datetime.now(UTC) + timedelta(seconds=self._chance.uniform(0, 5)))

    async def _take_back(self, letter: Letter) -> None:
        await self._send(letter, datetime.now(UTC) + timedelta(days=1))
        if letter.fates == {"ordered"}:
            letter.fates = {"canceled", "later"}
            if await self._act(letter, {"actions": ["cancel"]}):
                letter.fates = {"canceled"}
        else:
            letter.fates = {"draft", "later"}

    async def _act(self, letter: Letter, body: Any) -> Any:
        return await self._ask("POST", f"/api/v2/messages/{letter.message_id}/actions", body)

    async def _delete(self, letter: Letter) -> None:
        letter.fates.add("deleted")
        if await self._ask("DELETE", f"{_MESSAGES}/{letter.message_id}"):
            letter.fates = {"deleted"}

    async def _rename(self) -> None:
        name = f"Name {self._chance.random()}"
        self.names.add(name)
        if await self._ask("PATCH", f"/api/v2/identities/remotes/{self._remote}", {"display_name": name}):
            self.names = {name}

    async def _check(self) -> None:
        path = f"/api/v2/identities/remotes/{self._remote}/actions"
        if answer := await self._ask("POST", path, {"actions": ["check"]}):
            self.checks.append(answer["last_check"])

    async def _ask(self, verb: str, path: str, body: Any = None) -> Any:
        """Return what was answered 2xx, True where that has no body; None where it did not come to that.

        While nobody is there to be asked it is tried again, until the end.
        """
        while True:
            began = time.monotonic()
            try:
                async with self.session.request(verb, path, data=_encoded(body)) as response:
                    content = await response.read()
            except aiohttp.ClientConnectorError:
                if self._end.is_set():
                    return None
                await asyncio.sleep(0.05)
            except (aiohttp.ClientError, ConnectionError):
                self._tally.update(["tried", "cut off"])
                return None
            else:
                return self._tally.take(f"{verb} {path}", response, content, began)

    async def _told(self, verb: str, path: str, body: Any = None) -> Any:
        answer = await self._ask(verb, path, body)
        assert answer is not None, f"{verb} {path} was not done"
        return answer

    # -- afterwards ----------------------------------------------------------------------------------------------

    async def assert_kept(self) -> Counter[str]:
        """Assert that every promise is kept; return how many of each kind were made."""
        kept: Counter[str] = Counter()
        for letter in self.letters:
            kept[await self._fate(letter)] += 1
            kept["attachments"] += len(letter.files)
        identity = await self._told("GET", f"/api/v2/identities/remotes/{self._remote}")
        assert identity["display_name"] in self.names
        path = f"/api/v2/identities/remotes/{self._remote}/checks?limit=200"
        past = {each["at"] for each in (await self._told("GET", path))["checks"]}
        assert set(self.checks[-100:]) <= past
        return kept + Counter({"checks": len(self.checks)})

    async def _fate(self, letter: Letter) -> str:
        """Return what became of a letter; assert that it is what its author was told, and one of those."""
        path = f"{_MESSAGES}/{letter.message_id}"
        async with self.session.get(path) as response:
            if response.status == 404:
                assert "deleted" in letter.fates, letter
                return "deleted"
            message = await response.json()
        assert message["subject"] in letter.subjects, letter
        await self._assert_files(letter, message)
        state = message["delivery"] and message["delivery"]["state"]
        fates = {None: {"draft"}, "sent": {"sent", "ordered"}, "canceled": {"canceled"}, "queued": {"later"}}
        assert fates[state] & letter.fates, (letter, message["delivery"])
        assert (message["subject"] in self._outside.taken) is (state == "sent"), (letter, message["delivery"])
        return state or "draft"

    async def _assert_files(self, letter: Letter, message: Any) -> None:
        there = {each["temp_id"] for each in message["attachments"]}
        assert letter.files.keys() <= there, letter
        for temp_id, content in letter.files.items():
            async with self.session.get(f"/api/v2/messages/{letter.message_id}/attachments/{temp_id}") as response:
                assert await response.read() == content


def _encoded(body: Any) -> aiohttp.Payload | aiohttp.FormData | None:
    """Return a request's body: bytes as the file of a form, all else as JSON."""
    if isinstance(body, bytes):
        form = aiohttp.FormData()
        form.add_field("attachment", body, filename="a.bin")
        return form
    return body if body is None else aiohttp.JsonPayload(body)
