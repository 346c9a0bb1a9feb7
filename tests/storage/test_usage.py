"""The store of what users take up: counters that all processes share."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.message import Message
from gateway.ports import Demand
from storage.messages import MESSAGES, MongoMessages
from storage.mongo import Mongo
from storage.usage import MongoUsage

NOW = datetime(2026, 7, 20, tzinfo=UTC)
LATER = NOW + timedelta(minutes=2)
ME, OTHER = "0b9d5a3e-6c1f-4d8b-9a27-51e0c4f7b812", "3f6c1d90-8e2a-4b75-bd14-7a9e05c2f6d3"
DRAFT = Message(
    message_id="7c25e8b1-0f4d-4a96-8b3e-d1f60a9c7e54",
    user_id=ME,
    identity_id="i",
    subject="A subject",
    body="Grüße",
    body_is_plain=True,
    excerpt="",
    participants=(),
    discussion_id="",
    date_insert=NOW,
    date_sort=NOW,
)


@pytest.fixture
async def usage(mongo: Mongo) -> MongoUsage:
    """The store under test, with counters of ME."""
    store = MongoUsage(mongo)
    await store.recount(ME, NOW)
    return store


async def test_at_once(usage: MongoUsage) -> None:
    """Of many who want some at once no more get it than there is room for."""
    taken = await asyncio.gather(*(usage.take(ME, {"bytes": Demand(3, 10)}, NOW) for _ in range(20)))
    assert taken.count(True) == 3
    assert (await usage.counters(ME))["bytes"] == 9


async def test_all_or_none(usage: MongoUsage) -> None:
    """Where one counter has no room, none goes up."""
    assert not await usage.take(ME, {"bytes": Demand(1, 10), "messages": Demand(2, 1)}, NOW)
    assert not await usage.take(ME, {"bytes": Demand(1, 10), "messages": Demand(1, 10, floor=10)}, NOW)
    assert await usage.counters(ME) == {"bytes": 0, "messages": 0, "recipients": 0}


async def test_floor(usage: MongoUsage) -> None:
    """A counter that lies below the floor goes up from there."""
    for _ in range(2):
        assert await usage.take(ME, {"messages": Demand(5, 110, floor=100)}, NOW)
    assert not await usage.take(ME, {"messages": Demand(5, 110, floor=100)}, NOW)
    assert (await usage.counters(ME))["messages"] == 110


async def test_give_back(usage: MongoUsage) -> None:
    """What is given back is there again, and never more than that."""
    assert await usage.take(ME, {"bytes": Demand(10, 10)}, NOW)
    await usage.give_back(ME, {"bytes": 4}, NOW)
    assert not await usage.take(ME, {"bytes": Demand(5, 10)}, NOW)
    await usage.give_back(ME, {"bytes": 20}, NOW)
    assert not await usage.take(ME, {"bytes": Demand(11, 10)}, NOW)
    assert await usage.take(ME, {"bytes": Demand(10, 10)}, NOW)


async def test_nobody(usage: MongoUsage) -> None:
    """Who has no counters gets nothing before they are made."""
    assert await usage.counters(OTHER) == {}
    assert not await usage.take(OTHER, {"bytes": Demand(1, 10)}, NOW)
    await usage.recount(OTHER, NOW)
    assert await usage.take(OTHER, {"bytes": Demand(1, 10)}, NOW)


async def test_recount(usage: MongoUsage, mongo: Mongo) -> None:
    """Counted are the user's messages, once the counters have been at rest, and what was ordered still weighs."""
    messages = MongoMessages(mongo)
    await messages.add(DRAFT, "")
    await messages.add(replace(DRAFT, user_id=OTHER, body="x" * 100_000), "")
    assert await usage.take(ME, {"bytes": Demand(5, 10), "messages": Demand(5, 10)}, NOW)
    await usage.recount(ME, NOW + timedelta(seconds=59))
    assert (await usage.counters(ME))["bytes"] == 5
    await usage.recount(ME, LATER)
    assert await usage.counters(ME) == {"bytes": DRAFT.size, "messages": 5, "recipients": 0}


async def test_recount_of_what_moves(usage: MongoUsage) -> None:
    """Of several at once that count anew, and take, nothing is lost that was taken."""
    taken = [usage.take(ME, {"bytes": Demand(1, 100)}, LATER) for _ in range(5)]
    results = await asyncio.gather(*taken, *(usage.recount(ME, LATER) for _ in range(5)))
    assert results[:5] == [True] * 5
    assert (await usage.counters(ME))["bytes"] == 5


async def test_messages_of_before(usage: MongoUsage, mongo: Mongo) -> None:
    """Messages that were stored before their sizes were are counted by what the database has of them."""
    await MongoMessages(mongo).add(replace(DRAFT, body="x" * 10_000), "")
    await mongo.collection(MESSAGES).update_many({}, {"$unset": {"size": ""}})
    await usage.recount(ME, LATER)
    assert 10_000 < (await usage.counters(ME))["bytes"] < 12_000
