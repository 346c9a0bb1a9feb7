"""Death at any moment: no order is lost, and a message goes out twice only where nobody can know better."""

from __future__ import annotations

import asyncio
import email
import imaplib
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.demo.provider import Delivery, Provider
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.client import PASSWORD, draft, remote
from tests.conftest import FRIEND, ME
from tests.e2e.conftest import Process, Site

NewGateway = Callable[[], Site]

_PATIENCE_S = 120
_CLIENTS = 8


class Outside(Provider):
    """A provider that calls ``at_dot`` when it has taken a message and not answered the final dot yet."""

    def __init__(self) -> None:
        super().__init__([ME, FRIEND])
        self.at_dot: Callable[[], None] = lambda: None

    async def deliver(self, delivery: Delivery) -> None:
        """Take a message."""
        await super().deliver(delivery)
        self.at_dot()

    def taken(self) -> Mapping[str, Sequence[str]]:
        """Return the Message-IDs of what came, by its subject."""
        taken: dict[str, list[str]] = {}
        for data in self.inbox(FRIEND.address):
            message = email.message_from_bytes(data)
            taken.setdefault(message["Subject"], []).append(message["Message-ID"])
        return taken

    def copies(self) -> Counter[str]:
        """Return how often the Sent folder of ME has which Message-ID; blocks."""
        with imaplib.IMAP4(self.host, self.imap_port, 30) as client:
            client.login(ME.address, ME.password)
            client.select("Sent", readonly=True)
            parts = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1]
        return Counter(email.message_from_bytes(part[1])["Message-ID"] for part in parts if isinstance(part, tuple))


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    """The servers to which all messages go."""
    async with Outside() as servers:
        yield servers


@pytest.fixture
def new_gateway(
    new_site: Callable[..., Site], mongod: EmbeddedMongod, mongo: Mongo, outside: Outside, tmp_path: Path
) -> NewGateway:
    """Makes gateways that share one database."""
    storage = f"""
            uri = "{mongod.uri}"
            database = "{mongo.database.name}"
            key_file = "{tmp_path}/credentials.key"
    """
    more = f"""
            [relay]
            host = "{outside.host}"
            port = {outside.relay_port}
            tls = "none"
            [network]
            allow = ["127.0.0.0/8"]
            ports = [{outside.submission_port}, {outside.imap_port}]
            allow_plaintext = true
            [delivery]
            wait_s = 0
            poll_s = 0.05
    """
    return lambda: new_site(more, storage)


# -- orders ------------------------------------------------------------------------------------------------------


async def order(site: Site, outside: Outside, count: int) -> Mapping[str, str]:
    """Order messages, every fourth of them on behalf of a remote identity, not to be sent yet.

    Returns their subjects by message_id.
    """
    async with aiohttp.ClientSession(site.url) as session:

        async def post(path: str, body: Any) -> Any:
            async with session.post(path, json=body) as response:
                assert response.status in (200, 201, 202), await response.text()
                return await response.json()

        account = {"username": "someone", "password": PASSWORD}
        await post("/api/v1/users", account)
        signed_in = await post("/api/v1/authentications", account)
        session.headers["Authorization"] = f"Bearer {signed_in['tokens']['access_token']}"
        async with session.get("/api/v2/identities/locals") as response:
            local = (await response.json())["local_identities"][0]["identity_id"]
        distant = (await post("/api/v2/identities/remotes", remote(outside)))["identity_id"]
        later = {"actions": ["send"], "params": {"send_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}}
        subjects: dict[str, str] = {}
        numbers = iter(range(count))

        async def client() -> None:
            for number in numbers:
                body = draft(local if number % 4 else distant, FRIEND.address, subject=f"Number {number}")
                created = await post("/api/v1/messages", body)
                await post(f"{created['location']}/actions", later)
                subjects[created["message_id"]] = body["subject"]

        await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return subjects


async def make_due(mongo: Mongo) -> None:
    """Let what waits be due now: an order's date, or the lease of a gateway that died."""
    due = {"$currentDate": {"delivery.due_at": True}}
    await mongo.collection("messages").update_many({"delivery.due_at": {"$exists": True}}, due)


async def done(mongo: Mongo) -> None:
    """Return when all is sent and filed."""
    async with asyncio.timeout(_PATIENCE_S):
        while await mongo.collection("messages").find_one({"delivery.due_at": {"$exists": True}}):
            await asyncio.sleep(0.05)
    assert await mongo.collection("messages").distinct("delivery.state") == ["sent"]


def logged(process: Process, event: str) -> Counter[object]:
    """Return how often a gateway has logged an event, by message_id."""
    return Counter(each["message_id"] for each in process.events() if each["event"] == event)


# -- the tests ---------------------------------------------------------------------------------------------------


async def test_death_at_any_moment(new_gateway: NewGateway, outside: Outside, mongo: Mongo) -> None:
    """500 messages, the gateway killed 20 times and more: none is lost, and every second copy was announced.

    A second copy has the Message-ID of the first, and follows an attempt that was cut off (RFC 1047) and counted.
    In the Sent folder there is one copy of each.
    """
    seed = secrets.randbits(32)
    chance = random.Random(seed)  # noqa: S311 - no secret
    began = time.monotonic()
    site, deaths = new_gateway(), 0
    async with site.running():
        subjects = await order(site, outside, 500)
    await make_due(mongo)
    while deaths < 22:
        async with site.running() as process:
            await killed(
                process, outside, left=chance.randint(1, 20), pause_s=chance.choice([0, chance.uniform(0, 0.05)])
            )
        assert await mongo.collection("messages").find_one({"delivery.due_at": {"$exists": True}})
        await make_due(mongo)
        deaths += 1
    before = logged(process, "sent again after a cut")
    async with site.running() as process:
        await done(mongo)
        async with aiohttp.ClientSession(site.url) as session, session.get("/metrics") as response:
            metrics = await response.text()
    doubts, taken = logged(process, "sent again after a cut"), outside.taken()
    counted = (doubts - before).total()
    twice = sum(len(ids) - 1 for ids in taken.values())
    print(  # noqa: T201 - the numbers of the run
        f"seed {seed}: {deaths} deaths, {len(taken)} messages, {twice} second copies of {doubts.total()} possible,"
        f" {time.monotonic() - began:.0f} s"
    )
    assert f"gateway_delivery_possible_duplicates_total {counted}.0" in metrics
    assert taken.keys() == set(subjects.values())
    assert all(len(set(ids)) == 1 for ids in taken.values())
    assert all(len(taken[subject]) <= 1 + doubts[message_id] for message_id, subject in subjects.items())
    own = [taken[f"Number {number}"][0] for number in range(0, 500, 4)]
    assert await asyncio.to_thread(outside.copies) == Counter(own)


async def killed(process: Process, outside: Outside, left: int, pause_s: float) -> None:
    """Return when the gateway was killed: amid the final dot of a message, or a moment after it."""
    reached = asyncio.Event()

    def kill() -> None:
        if process.child.returncode is None:
            process.child.send_signal(signal.SIGKILL)

    def at_dot() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            reached.set()
            if not pause_s:
                kill()

    outside.at_dot = at_dot
    async with asyncio.timeout(_PATIENCE_S):
        await reached.wait()
        await asyncio.sleep(pause_s)
        kill()
        assert await process.child.wait() == -signal.SIGKILL


async def test_several_gateways(new_gateway: NewGateway, outside: Outside, mongo: Mongo) -> None:
    """Three gateways on one database share the work, and no message goes out twice because of them."""
    sites = [new_gateway() for _ in range(3)]
    async with sites[0].running():
        subjects = await order(sites[0], outside, 300)
    async with AsyncExitStack() as stack:
        running = [stack.enter_async_context(site.running()) for site in sites]
        processes = await asyncio.gather(*running)
        await make_due(mongo)
        await done(mongo)
    shares = [logged(process, "attempt to send") for process in processes]
    print("shares:", [share.total() for share in shares])  # noqa: T201 - the numbers of the run
    assert all(shares)
    assert sum(shares, Counter()) == dict.fromkeys(subjects, 1)
    taken = outside.taken()
    assert taken.keys() == set(subjects.values())
    assert all(len(ids) == 1 for ids in taken.values())
    own = [taken[f"Number {number}"][0] for number in range(0, 300, 4)]
    assert await asyncio.to_thread(outside.copies) == Counter(own)
