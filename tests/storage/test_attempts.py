"""The store of attempts: leaky buckets that all processes share."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.ports import Bucket
from storage import attempts
from storage.attempts import ATTEMPTS, MongoAttempts
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.asked import Asked

NOW = datetime(2026, 7, 20, tzinfo=UTC)
DRIP = timedelta(seconds=10)
BUCKET = Bucket("someone", "", size=3, drip=DRIP)
NONE = timedelta(0)


@pytest.fixture
async def store(mongo: Mongo) -> MongoAttempts:
    """The store under test."""
    await mongo.ensure_indexes(attempts.INDEXES)
    return MongoAttempts(mongo)


async def test_bucket(store: MongoAttempts) -> None:
    """A bucket takes as many attempts as its size, then one each drip, and tells how long to wait."""
    assert [await store.charge([BUCKET], NOW) for _ in range(4)] == [NONE, NONE, NONE, DRIP]
    assert await store.charge([BUCKET], NOW + timedelta(seconds=4)) == timedelta(seconds=6)
    assert await store.charge([BUCKET], NOW + DRIP) == NONE
    assert await store.charge([BUCKET], NOW + DRIP) == DRIP
    assert [await store.charge([BUCKET], NOW + 100 * DRIP) for _ in range(4)] == [NONE, NONE, NONE, DRIP]


async def test_refused_attempts_do_not_count(store: MongoAttempts) -> None:
    """Who goes on trying does not make the wait longer."""
    for _ in range(20):
        await store.charge([BUCKET], NOW)
    assert await store.charge([BUCKET], NOW + DRIP) == NONE


async def test_refund(store: MongoAttempts) -> None:
    """An attempt that is taken back makes room."""
    for _ in range(3):
        await store.charge([BUCKET], NOW)
    await store.refund([BUCKET])
    assert [await store.charge([BUCKET], NOW) for _ in range(2)] == [NONE, DRIP]


async def test_at_once(store: MongoAttempts) -> None:
    """Of many attempts at once no more get in than one after the other."""
    waits = await asyncio.gather(*(store.charge([BUCKET], NOW) for _ in range(30)))
    assert waits.count(NONE) == 3


async def test_apart(store: MongoAttempts) -> None:
    """Buckets of other names and other sources have room of their own."""
    for _ in range(3):
        await store.charge([BUCKET], NOW)
    for other in (Bucket("other", "", 3, DRIP), Bucket("someone", "192.0.2.1", 3, DRIP)):
        assert await store.charge([other], NOW) == NONE


OTHER = Bucket("other", "", size=5, drip=2 * DRIP)


async def test_several(store: MongoAttempts) -> None:
    """An attempt counts in all buckets or in none, and waits for the one that takes longest."""
    both = [BUCKET, OTHER]
    assert [await store.charge(both, NOW) for _ in range(5)] == [NONE, NONE, NONE, DRIP, DRIP]
    assert [await store.charge([OTHER], NOW) for _ in range(3)] == [NONE, NONE, 2 * DRIP]
    assert await store.charge(both, NOW) == 2 * DRIP
    await store.refund(both)
    assert [await store.charge(both, NOW) for _ in range(2)] == [NONE, 2 * DRIP]
    assert await store.charge(both, NOW + 100 * DRIP) == NONE


async def test_several_at_once(store: MongoAttempts) -> None:
    """Of many attempts at once no more get in than one after the other, and who is refused takes no room."""
    waits = await asyncio.gather(*(store.charge([OTHER, BUCKET], NOW) for _ in range(30)))
    assert waits.count(NONE) <= 3
    assert [await store.charge([OTHER, BUCKET], NOW) for _ in range(4 - waits.count(NONE))][-1] == DRIP


async def test_several_are_one_question(store: MongoAttempts, mongod: EmbeddedMongod, mongo: Mongo) -> None:
    """As long as there is room the database is asked once, for however many buckets."""
    asked = Asked(ATTEMPTS)
    listening = Mongo(mongod.uri, mongo.database.name, listeners=[asked])
    for _ in range(2):
        await MongoAttempts(listening).charge([BUCKET, OTHER], NOW)
    listening.close()
    assert asked.count == {f"update {ATTEMPTS}": 2}


async def test_known_sources(store: MongoAttempts) -> None:
    """A source is known for its name, until its time."""
    until = NOW + timedelta(days=1)
    await store.remember("someone", "192.0.2.1", until)
    assert await store.knows("someone", "192.0.2.1", NOW)
    assert not await store.knows("someone", "192.0.2.2", NOW)
    assert not await store.knows("other", "192.0.2.1", NOW)
    assert not await store.knows("someone", "192.0.2.1", until)


async def test_forget(store: MongoAttempts, mongo: Mongo) -> None:
    """All that was kept of a name can be removed, and nothing of it was readable."""
    await store.charge([BUCKET], NOW)
    await store.remember("someone", "192.0.2.1", NOW + DRIP)
    await store.charge([Bucket("", "192.0.2.1", 3, DRIP)], NOW)
    kept = repr(await mongo.collection("attempts").find().to_list(None))
    assert "someone" not in kept
    assert "192.0.2.1" not in kept
    await store.forget("someone")
    assert await mongo.collection("attempts").count_documents({}) == 1


async def test_ends_by_itself(store: MongoAttempts, mongo: Mongo) -> None:
    """The database removes what means nothing any more."""
    indexes = await mongo.collection("attempts").index_information()
    assert indexes["until_1"]["expireAfterSeconds"] == 0
