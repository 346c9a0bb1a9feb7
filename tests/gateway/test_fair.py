"""gateway/fair.py and gateway/work.py over the real store: who is claimed while a server hangs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from gateway import delivery as transitions
from gateway.delivery import DeliveryState
from gateway.fair import Fair
from gateway.message import Message
from gateway.ports import system_clock
from gateway.send import server_of
from gateway.work import Worker
from storage.messages import INDEXES, MongoMessages
from storage.mongo import Mongo

USER = str(uuid4())
GUARD_S = 30  # only a test that fails takes that long


@pytest.fixture
async def store(mongo: Mongo) -> MongoMessages:
    await mongo.ensure_indexes(INDEXES)
    return MongoMessages(mongo)


async def ordered(store: MongoMessages, server: str) -> Message:
    """Store an ordered message to that server."""
    now = system_clock()
    message = Message(
        message_id=str(uuid4()),
        user_id=USER,
        identity_id=str(uuid4()),
        subject="",
        body="",
        body_is_plain=True,
        excerpt="",
        participants=(),
        discussion_id="",
        date_insert=now,
        date_sort=now,
        delivery=replace(transitions.order(["a@example.org"], now, None), server=server),
    )
    await store.add(message, "")
    return message


class Servers:
    """A runner for whom servers called ``slow…`` hang until their gate opens, and others take a message at once."""

    def __init__(self, store: MongoMessages) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.slow = self.most_slow = 0
        self.sent: asyncio.Queue[str] = asyncio.Queue()

    async def run(self, owner: str, message: Message, /) -> None:
        """Send and record."""
        assert message.delivery
        if message.delivery.server.startswith("slow"):
            self.slow += 1
            self.most_slow = max(self.slow, self.most_slow)
            await self.gate.wait()
            self.slow -= 1
        done = replace(message.delivery, state=DeliveryState.SENT, due_at=None)
        assert await self._store.record(owner, replace(message, delivery=done))
        self.sent.put_nowait(message.message_id)


async def test_a_slow_server_holds_up_no_other(store: MongoMessages) -> None:
    """While one server hangs with more messages than there are attempts, those of another go out; later all do."""
    slow = [await ordered(store, "slow") for _ in range(12)]
    quick = [await ordered(store, "quick") for _ in range(12)]
    servers, wake = Servers(store), asyncio.Event()
    outbox = Fair(store, servers, hosts_of=lambda message: [server_of(message)], per_host=2, wake=wake)
    worker: Worker[Message] = Worker(outbox, outbox, concurrency=4, poll_s=3600, wake=wake, clock=system_clock)
    worker.start()
    async with asyncio.timeout(GUARD_S):
        first = {await servers.sent.get() for _ in quick}
        assert first == {message.message_id for message in quick}
        assert servers.slow == 2
        servers.gate.set()
        assert {await servers.sent.get() for _ in slow} == {message.message_id for message in slow}
        await worker.stop(GUARD_S)
    assert servers.most_slow == 2


@pytest.mark.parametrize("hanging", [1, 3, 5])
async def test_slow_servers_leave_room_together(store: MongoMessages, hanging: int) -> None:
    """While several servers hang, each with more messages than there are attempts, those of another go out."""
    for number in range(hanging):
        await asyncio.gather(*(ordered(store, f"slow {number}") for _ in range(60)))
    quick = [await ordered(store, "quick") for _ in range(12)]
    servers, wake = Servers(store), asyncio.Event()
    outbox = Fair(store, servers, hosts_of=lambda message: [server_of(message)], per_host=20, wake=wake)
    worker: Worker[Message] = Worker(outbox, outbox, concurrency=50, poll_s=3600, wake=wake, clock=system_clock)
    worker.start()
    async with asyncio.timeout(GUARD_S):
        assert {await servers.sent.get() for _ in quick} == {message.message_id for message in quick}
        assert servers.slow == {1: 20, 3: 20 + 15 + 8, 5: 20 + 15 + 8 + 4 + 2}[hanging]
        servers.gate.set()
        for _ in range(hanging * 60):
            await servers.sent.get()
        await worker.stop(GUARD_S)
