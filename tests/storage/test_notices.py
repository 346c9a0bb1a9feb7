"""The store of notices."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from gateway.notice import Notice, NoticeKind
from storage import notices
from storage.mongo import Mongo, Session
from storage.notices import MongoNotices

NOW = datetime(2026, 7, 20, tzinfo=UTC)
LEASE = timedelta(seconds=60)
NOTICE = Notice(str(uuid4()), NoticeKind.INVITATION, "example.org", str(uuid4()))


@pytest.fixture
async def store(mongo: Mongo) -> MongoNotices:
    """The store under test, with one notice that is due."""
    await mongo.ensure_indexes(notices.INDEXES)
    store = MongoNotices(mongo)

    async def insert(session: Session) -> None:
        await store.insert(NOTICE, NOW, session)

    await mongo.in_transaction(insert)
    return store


async def test_claim(store: MongoNotices) -> None:
    """Of many workers one gets a notice that is due, until its lease ends or it is handed back; that is counted."""
    assert await store.claim("early", NOW - LEASE, LEASE, 5) == []
    claims = await asyncio.gather(*(store.claim(f"owner {n}", NOW, LEASE, 5) for n in range(5)))
    assert sorted(claims, key=len) == [[], [], [], [], [replace(NOTICE, attempts=1)]]
    (again,) = await store.claim("next", NOW + LEASE, LEASE, 5)
    assert again.attempts == 2
    await store.renew([("next", again)], NOW + 3 * LEASE)
    assert await store.claim("third", NOW + 2 * LEASE, LEASE, 5) == []
    await store.release([("next", again)], NOW)
    assert len(await store.claim("third", NOW, LEASE, 5)) == 1


async def test_done(store: MongoNotices) -> None:
    """Who holds it ends it; who has lost it does not."""
    (notice,) = await store.claim("owner", NOW, LEASE, 5)
    await store.done("other", notice)
    assert len(await store.claim("owner", NOW + LEASE, LEASE, 5)) == 1
    await store.done("owner", notice)
    assert await store.claim("owner", NOW + 2 * LEASE, LEASE, 5) == []


async def test_postpone(store: MongoNotices) -> None:
    """Who holds it puts it off as it is to be then, say over; who has lost it cannot, and is told so."""
    (notice,) = await store.claim("owner", NOW, LEASE, 5)
    over = replace(notice, over=True)
    assert not await store.postpone("other", over, NOW)
    assert await store.postpone("owner", over, NOW + 9 * LEASE)
    assert await store.claim("next", NOW + 8 * LEASE, LEASE, 5) == []
    assert await store.claim("next", NOW + 9 * LEASE, LEASE, 5) == [replace(over, attempts=2)]
    assert await store.postpone("next", NOTICE, NOW)
    assert await store.claim("last", NOW, LEASE, 5) == [replace(NOTICE, attempts=1)]
