"""Work in a collection, claimed piece by piece."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pymongo.errors import PyMongoError

from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from storage.queue import DueQueue
from tests.line import Line

NOW = datetime(2026, 7, 20, tzinfo=UTC)
LEASE = timedelta(seconds=60)


async def test_a_database_that_goes_away_amid_a_claim(mongo: Mongo, mongod: EmbeddedMongod) -> None:
    """What was taken before the database went away is worked on; where nothing was, that is told."""
    await mongo.collection("work").insert_many([{"_id": number, "due_at": NOW} for number in range(3)])
    async with Line(mongod.uri, cut_at=b"findAndModify", after=2) as line:
        far = Mongo(line.uri, mongo.database.name, operation_ms=300)
        queue = DueQueue(far.collection("work"))
        assert [each["owner"] for each in await queue.claim("me", NOW, LEASE, 3)] == ["me", "me"]
        with pytest.raises(PyMongoError):
            await queue.claim("me", NOW, LEASE, 3)
        await asyncio.to_thread(far.close)
    assert await mongo.collection("work").count_documents({"owner": "me"}) == 2
