"""The store of erasures."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from storage import erasures
from storage.erasures import MongoErasures
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
