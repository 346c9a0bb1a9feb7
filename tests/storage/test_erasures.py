"""The store of erasures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import Unavailable
from storage import erasures
from storage.embedded import EmbeddedMongod
from storage.erasures import MongoErasures
from storage.files import ATTACHMENTS, MongoFiles
from storage.mongo import Mongo, Session

NOW = datetime(2026, 7, 20, tzinfo=UTC)
LEASE = timedelta(seconds=60)


@pytest.fixture
async def store(mongo: Mongo) -> MongoErasures:
    """The store under test, with one erasure that is due."""
    await mongo.ensure_indexes(erasures.INDEXES)
    store = MongoErasures(mongo, {"identities": "user_id", "messages": "user_id"})

    async def note(session: Session) -> None:
        await store.insert("someone", NOW, session)

    await mongo.in_transaction(note)
    return store


async def test_erase(store: MongoErasures, mongo: Mongo) -> None:
    """All that belongs to the user goes, and nothing of others."""
    for name in ("identities", "messages"):
        await mongo.collection(name).insert_many([{"user_id": "someone"}, {"user_id": "other"}])
    await store.erase("someone")
    for name in ("identities", "messages"):
        assert [each["user_id"] for each in await mongo.collection(name).find().to_list(None)] == ["other"]


async def test_what_cannot_go_now(mongo: Mongo, mongod: EmbeddedMongod) -> None:
    """What the time of an operation does not suffice for holds up nothing that stands before it, and goes later."""
    files, hasty = MongoFiles(mongo, ATTACHMENTS), Mongo(mongod.uri, mongo.database.name, operation_ms=300)
    store = MongoErasures(hasty, {"identities": "user_id", "messages": "user_id"}, [files])
    await files.put(("someone", "file"), pieces(b"abc"))
    for name in ("identities", "messages"):
        await mongo.collection(name).insert_one({"user_id": "someone"})
    async with await mongo.client.start_session() as session, session.start_transaction():
        await mongo.collection("messages").update_one({}, {"$set": {"held": True}}, session=session)
        with pytest.raises(Unavailable):
            await store.erase("someone")
    assert await counts(mongo, "attachments.files", "attachments.chunks", "identities", "messages") == [0, 0, 0, 1]
    await store.erase("someone")
    assert await counts(mongo, "messages") == [0]
    hasty.close()


async def test_files_hold_up_nothing(mongo: Mongo, mongod: EmbeddedMongod) -> None:
    """Where files take their time, all is gone already but what there is most of: credentials among the first."""
    files, hasty = MongoFiles(mongo, ATTACHMENTS), Mongo(mongod.uri, mongo.database.name, operation_ms=300)
    store = MongoErasures(hasty, {"identities": "user_id", "messages": "user_id"}, [MongoFiles(hasty, ATTACHMENTS)])
    await files.put(("someone", "file"), pieces(b"abc"))
    for name in ("identities", "messages"):
        await mongo.collection(name).insert_one({"user_id": "someone"})
    async with await mongo.client.start_session() as session, session.start_transaction():
        await mongo.collection("attachments.chunks").update_one({}, {"$set": {"held": True}}, session=session)
        with pytest.raises(Unavailable):
            await store.erase("someone")
    assert await counts(mongo, "identities", "messages", "attachments.chunks") == [0, 1, 1]
    await store.erase("someone")
    assert await counts(mongo, "messages", "attachments.chunks") == [0, 0]
    hasty.close()


async def pieces(*them: bytes) -> AsyncIterator[bytes]:
    """Yield these."""
    for each in them:
        yield each


async def counts(mongo: Mongo, *names: str) -> list[int]:
    """Return how many documents these collections have."""
    return [await mongo.collection(name).count_documents({}) for name in names]


async def test_forget(mongo: Mongo) -> None:
    """What stays is told to forget the user, before what belongs to the user goes."""
    told: list[tuple[str, int]] = []
    await mongo.collection("identities").insert_one({"user_id": "someone"})

    async def forget(user_id: str) -> None:
        told.append((user_id, await mongo.collection("identities").count_documents({})))

    await MongoErasures(mongo, {"identities": "user_id"}, forget=[forget]).erase("someone")
    assert told == [("someone", 1)]
    assert await mongo.collection("identities").count_documents({}) == 0


async def test_claim(store: MongoErasures) -> None:
    """Of many workers one gets an erasure that is due, until its lease ends or it hands it back."""
    assert await store.claim("early", NOW - LEASE, LEASE, 5) == []
    claims = await asyncio.gather(*(store.claim(f"owner {n}", NOW, LEASE, 5) for n in range(5)))
    assert sorted(len(claim) for claim in claims) == [0, 0, 0, 0, 1]
    (again,) = await store.claim("next", NOW + LEASE, LEASE, 5)
    await store.renew([("next", again)], NOW + 3 * LEASE)
    assert await store.claim("third", NOW + 2 * LEASE, LEASE, 5) == []
    await store.release([("next", again)], NOW)
    assert await store.claim("third", NOW, LEASE, 5) == [again]


async def test_done(store: MongoErasures) -> None:
    """Who holds it ends it; who has lost it does not."""
    (erasure,) = await store.claim("owner", NOW, LEASE, 5)
    await store.done("other", erasure)
    assert await store.claim("owner", NOW + LEASE, LEASE, 5) == [erasure]
    await store.done("owner", erasure)
    assert await store.claim("owner", NOW + 2 * LEASE, LEASE, 5) == []
