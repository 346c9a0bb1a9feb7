"""Guessing and piling up through several processes: together they let in no more than one would."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.client import PASSWORD, draft
from tests.e2e.conftest import Site

NewSite = Callable[..., Site]
USER = {"username": "somebody", "password": PASSWORD}
SIGN_IN, USERS = "/api/v1/authentications", "/api/v1/users"


@dataclass(frozen=True)
class Twins:
    """Two processes on one database, asked in turn."""

    session: aiohttp.ClientSession
    urls: tuple[str, str]

    async def post(self, number: int, path: str, body: Any, token: str = "") -> tuple[int, Any]:
        """Ask one of them, by the number of the request; return the status and what was answered."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.post(f"{self.urls[number % 2]}{path}", json=body, headers=headers) as response:
            if response.status == 429:
                assert int(response.headers["Retry-After"]) > 0
            return response.status, await response.json()

    async def at_once(self, count: int, path: str, body: Any, token: str = "") -> Counter[int]:
        """Ask both many times at once; return how often there was which status."""
        ended = await asyncio.gather(*(self.post(n, path, body, token) for n in range(count)))
        return Counter(status for status, _ in ended)


@pytest.fixture
async def twins(mongod: EmbeddedMongod, mongo: Mongo, new_site: NewSite) -> AsyncIterator[Twins]:
    """Two gateways as processes of their own, on one database, with low limits."""
    limits = "[limits]\nmessages_per_hour = 3\nidentities = 3"
    storage = f'uri = "{mongod.uri}"\ndatabase = "{mongo.database.name}"'
    one = new_site(limits, storage=storage)
    other = new_site(limits, storage=f'{storage}\nkey_file = "{one.data}/credentials.key"')
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(one.running())
        await stack.enter_async_context(other.running())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Twins(session, (one.url, other.url))


def drips(since: float, drip_s: int) -> int:
    """Return for how many more there has been room by now: a busy machine may take that long."""
    return int((time.monotonic() - since) / drip_s)


async def test_together(twins: Twins) -> None:
    """Two processes count the same: sign-ins, registrations, orders and identities."""
    began = time.monotonic()
    assert (await twins.post(0, USERS, USER))[0] == 201
    token = (await twins.post(1, SIGN_IN, USER))[1]["tokens"]["access_token"]

    # Names that are taken are refused before anything that costs, and count all the same.
    ended = await twins.at_once(130, USERS, USER)
    assert 99 <= ended[409] <= 99 + drips(began, 5)
    assert ended[409] + ended[429] == 130

    # From here the name has signed in, and still nobody guesses more than ten times, whichever process is asked.
    ended = await twins.at_once(16, SIGN_IN, USER | {"password": "a wrong password"})
    assert 10 <= ended[401] <= 10 + drips(began, 30)
    assert ended[401] + ended[429] == 16

    account = {"protocol": "smtp", "infos": {"outserver": "mail.example.org"}}
    bodies = [account | {"identifier": f"me{n}@example.org"} for n in range(8)]
    added = [twins.post(n, "/api/v2/identities/remotes", body, token) for n, body in enumerate(bodies)]
    assert Counter(status for status, _ in await asyncio.gather(*added)) == {201: 3, 429: 5}

    async with twins.session.get(
        f"{twins.urls[0]}/api/v2/identities/locals", headers={"Authorization": f"Bearer {token}"}
    ) as response:
        identity_id = (await response.json())["local_identities"][0]["identity_id"]
    body = draft(identity_id, "a@example.org")
    ids = [(await twins.post(n, "/api/v1/messages", body, token))[1]["message_id"] for n in range(6)]
    order = {"actions": ["send"], "params": {"send_at": "2099-01-01T00:00:00.000Z"}}
    orders = [twins.post(n, f"/api/v1/messages/{each}/actions", order, token) for n, each in enumerate(ids)]
    assert Counter(status for status, _ in await asyncio.gather(*orders)) == {202: 3, 429: 3}
