"""gateway/lease.py and gateway/work.py over the real stores, real SMTP and a database that is cut off.

The clocks stand still unless a test lets time pass, so that no lease ends by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from gateway import delivery as transitions
from gateway.config import DeliverySection, NetworkSection
from gateway.delivery import DeliveryState
from gateway.fair import Fair
from gateway.identity import Endpoint, IdentityStatus, IdentityType, TLSMode, UserIdentity
from gateway.lease import End, Now
from gateway.message import Message
from gateway.ports import Meter, system_clock
from gateway.route import Route, Routing
from gateway.send import Send, server_of
from gateway.work import Worker
from protocols.network import Network
from protocols.smtp import SmtpAdapter
from storage.embedded import EmbeddedMongod
from storage.messages import INDEXES, MongoMessages
from storage.mongo import Mongo
from storage.raws import MongoRaws
from storage.secrets import Vault
from tests.conftest import FRIEND, ME
from tests.line import Line
from tests.protocols.scripted import Peer, Scripted, hear_message, say
from tests.protocols.smtp_dialogue import MESSAGE

USER = str(uuid4())
IDENTITY = UserIdentity("i", USER, IdentityType.REMOTE, "smtp", ME.address, "Me", IdentityStatus.ACTIVE, {}, None)
LEASE = timedelta(seconds=0.6)
LATE, EARLY = FRIEND.address, "early@elsewhere.example"
GUARD_S = 30  # only a test that fails takes that long


class Time:
    """Both clocks of the gateways."""

    def __init__(self) -> None:
        self._date = system_clock()
        self._moment = 0.0

    def date(self) -> datetime:
        """Return the time."""
        return self._date

    def moment(self) -> float:
        """Return seconds since some time."""
        return self._moment

    def go_by(self, span: timedelta) -> None:
        """Let time pass."""
        self._date += span
        self._moment += span.total_seconds()


class Server(Scripted):
    """A mail server that keeps clients waiting until ``gate`` is open: at RCPT for EARLY, else at the final dot.

    ``came`` has who waits, ``left`` who has gone before.
    """

    def __init__(self) -> None:
        super().__init__([say("220 ready"), self._talk])
        self.gate = asyncio.Event()
        self.came: asyncio.Queue[str] = asyncio.Queue()
        self.left: asyncio.Queue[str] = asyncio.Queue()

    async def _talk(self, peer: Peer) -> None:
        while (line := await peer.line()) != "QUIT":
            if EARLY in line:
                await self._hold(peer)
            if line == "DATA":
                await peer.write(b"354 go ahead\r\n")
                await hear_message(peer)
                await self._hold(peer)
            await peer.write(b"250 OK\r\n")
        await peer.write(b"221 bye\r\n")

    async def _hold(self, peer: Peer) -> None:
        self.came.put_nowait(peer.server.heard[-1])
        opening = asyncio.ensure_future(self.gate.wait())
        leaving = asyncio.ensure_future(peer.reader.read(1))
        await asyncio.wait([opening, leaving], return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            self.left.put_nowait(peer.server.heard[-1])
        opening.cancel()
        leaving.cancel()
        await asyncio.gather(opening, leaving, return_exceptions=True)


class Counted:
    """Counts possible duplicates."""

    def __init__(self) -> None:
        self.duplicates = 0

    def possible_duplicate(self) -> None:
        """Count one."""
        self.duplicates += 1

    def attempt(self, *_: object) -> None:
        """Let it pass."""


class Way:
    """The one way out."""

    def __init__(self, server: Server, adapter: SmtpAdapter) -> None:
        endpoint = Endpoint(server.host, server.port, TLSMode.NONE, operators=True)
        self._route = Route(adapter, endpoint)

    async def find(self, *_: str) -> tuple[UserIdentity, Route]:
        """Return the identity and its route."""
        return IDENTITY, self._route


class Site:
    """Messages in the database, gateways that send them, and the server that gets them."""

    def __init__(self, mongo: Mongo, server: Server, adapter: SmtpAdapter, key_file: Path) -> None:
        self.messages = MongoMessages(mongo)
        self.server = server
        self.time = Time()
        self.meter = Counted()
        self._mongo = mongo
        self._adapter = adapter
        self._key_file = key_file

    async def order(self, *recipients: str) -> Sequence[Message]:
        """Store messages that are due."""
        return [await self._order(recipient) for recipient in recipients]

    async def _order(self, recipient: str) -> Message:
        now, message_id = self.time.date(), str(uuid4())

        async def pieces() -> AsyncIterator[bytes]:
            yield MESSAGE

        await MongoRaws(self._mongo, self._vault(self._mongo)).put(USER, message_id, message_id, pieces())
        message = Message(
            message_id=message_id,
            user_id=USER,
            identity_id="i",
            subject="",
            body="",
            body_is_plain=True,
            excerpt="",
            participants=(),
            discussion_id="",
            date_insert=now,
            date_sort=now,
            raw_msg_id=message_id,
            delivery=replace(transitions.order([recipient], now, None), server="one"),
        )
        await self.messages.add(message, "")
        return message

    def _vault(self, mongo: Mongo) -> Vault:
        return Vault(mongo, self._key_file)

    @asynccontextmanager
    async def gateway(self, mongo: Mongo) -> AsyncIterator[None]:
        """Have a gateway with that client of the database at work."""
        messages, nothing = MongoMessages(mongo), cast("Any", None)
        send = Send(
            messages=messages,
            identities=nothing,
            raws=MongoRaws(mongo, self._vault(mongo)),
            attach=nothing,
            quota=nothing,
            routing=cast("Routing", Way(self.server, self._adapter)),
            settings=DeliverySection(),
            clock=self.time.date,
            meter=cast("Meter", self.meter),
            ordered=asyncio.Event(),
        )
        outbox = Fair(messages, send, hosts_of=lambda it: [server_of(it)], per_host=100, wake=send.ordered)
        worker: Worker[Message] = Worker(
            outbox,
            outbox,
            concurrency=100,
            poll_s=0.01,
            wake=send.ordered,
            clock=self.time.date,
            monotonic=self.time.moment,
            lease=LEASE,
            database_pause_s=0.01,
        )
        worker.start()
        yield
        await worker.stop(GUARD_S)

    async def delivery(self, message: Message) -> transitions.Delivery:
        """Return what is stored of a message."""
        delivery = (await self.messages.get(USER, message.message_id)).delivery
        assert delivery
        return delivery

    async def settled(self, messages: Sequence[Message]) -> Sequence[transitions.Delivery]:
        """Return what became of these messages."""
        while True:
            deliveries = [await self.delivery(each) for each in messages]
            if all(each.due_at is None for each in deliveries):
                return deliveries
            await asyncio.sleep(0.01)


@pytest.fixture
async def site(mongo: Mongo, tmp_path: Path) -> AsyncIterator[Site]:
    await mongo.ensure_indexes(INDEXES)
    async with Server() as server, asyncio.timeout(GUARD_S):
        adapter = SmtpAdapter(Network(NetworkSection()), "gateway.example")
        yield Site(mongo, server, adapter, tmp_path / "key")
        await adapter.close()


@pytest.fixture
async def line(mongod: EmbeddedMongod) -> AsyncIterator[Line]:
    async with Line(mongod.uri) as line:
        yield line


@pytest.fixture
async def mongo_at_the_line(line: Line, mongo: Mongo) -> AsyncIterator[Mongo]:
    far = Mongo(line.uri, mongo.database.name, operation_ms=1000)
    yield far
    await asyncio.to_thread(far.close)  # it says goodbye through the line, which this loop is


async def several(queue: asyncio.Queue[str], count: int) -> None:
    """Wait for so many."""
    for _ in range(count):
        await queue.get()


@pytest.mark.parametrize(
    ("seconds_by_date", "seconds", "has_come"),
    [(59, 53, False), (54, 54, True), (60, 0, True), (-3600, 54, True)],
    ids=["before", "margin", "halted", "clock set back"],
)
def test_end(seconds_by_date: int, seconds: int, *, has_come: bool) -> None:
    """A lease ends a tenth early by the clock that nobody sets, and when its date has come."""
    date = system_clock()
    end = End.after(Now(date, 0), timedelta(seconds=60))
    assert end.has_come(Now(date + timedelta(seconds=seconds_by_date), seconds)) is has_come


async def test_answers_outlive_the_lease(
    site: Site, line: Line, mongo_at_the_line: Mongo, caplog: pytest.LogCaptureFixture
) -> None:
    """What servers took while the database was away for longer than a lease is recorded, and not sent again."""
    messages = await site.order(*[LATE] * 5)
    async with site.gateway(mongo_at_the_line):
        await several(site.server.came, 5)
        line.cut()
        site.server.gate.set()
        while caplog.text.count("outcome not recorded yet") < len(messages):
            await asyncio.sleep(0.01)
        site.time.go_by(2 * LEASE)
        line.mend()
        outcomes = await site.settled(messages)
    assert {(each.state, each.attempts) for each in outcomes} == {(DeliveryState.SENT, 1)}
    assert len(site.server.messages) == len(messages)


async def test_attempts_end_with_the_lease(site: Site, line: Line, mongo_at_the_line: Mongo) -> None:
    """Attempts that the database is away from for a lease are cut off before the final dot, in doubt, made again.

    Behind the dot the server has the message, and only who waits for the answer hears what becomes of it.
    """
    messages = await site.order(*[EARLY] * 3, *[LATE] * 3)
    async with site.gateway(mongo_at_the_line):
        await several(site.server.came, 6)
        line.cut()
        site.time.go_by(2 * LEASE)
        await several(site.server.left, 3)
        assert site.server.came.empty()
        site.server.gate.set()
        line.mend()
        outcomes = await site.settled(messages)
    assert {each.state for each in outcomes} == {DeliveryState.SENT}
    assert [each.attempts for each in outcomes] == [2] * 3 + [1] * 3
    assert site.server.left.empty()
    assert len(site.server.messages) == len(messages)
    assert site.meter.duplicates == 3


async def test_two_gateways(site: Site, line: Line, mongo: Mongo, mongo_at_the_line: Mongo) -> None:
    """A gateway that is cut off from the database ends its attempt before another one can take it over."""
    async with site.gateway(mongo_at_the_line):
        (message,) = await site.order(EARLY)
        await several(site.server.came, 1)
        line.cut()
        async with site.gateway(mongo):
            site.time.go_by(0.95 * LEASE)
            await several(site.server.left, 1)
            assert (await site.delivery(message)).attempts == 1
            site.server.gate.set()
            site.time.go_by(0.05 * LEASE)
            (outcome,) = await site.settled([message])
        line.mend()
    assert (outcome.state, outcome.attempts) == (DeliveryState.SENT, 2)
    assert len(site.server.messages) == 1
