"""How often something was tried, for all processes together: leaky buckets, one document each.

A document means something until the time ``until``, when its bucket has run empty; then the database removes it.
Each question and change is one atomic update, and none is worth waiting for a journal.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from pymongo import ASCENDING, IndexModel, WriteConcern

from gateway.ports import Bucket
from storage.mongo import Mongo, translating

ATTEMPTS = "attempts"
INDEXES = {ATTEMPTS: [IndexModel([("until", ASCENDING)], expireAfterSeconds=0), IndexModel([("name", ASCENDING)])]}


class MongoAttempts:
    """The core's Attempts. Names and addresses are kept as hashes: people type passwords in the place of names."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._attempts = mongo.collection(ATTEMPTS).with_options(write_concern=WriteConcern(w=1))

    @translating
    async def charge(self, bucket: Bucket, now: datetime) -> timedelta:
        """Count an attempt if the bucket has room; return how long until it has, zero where it was counted."""
        full = now + (bucket.size - 1) * bucket.drip
        emptied = {"$max": ["$until", now]}
        charged = {"$add": [emptied, _ms(bucket.drip)]}
        update = {"$cond": [{"$lte": [emptied, full]}, charged, "$until"]}
        before = await self._attempts.find_one_and_update(
            {"_id": _key(bucket)}, [{"$set": {"until": update, "name": _hash(bucket.name)}}], upsert=True
        )
        return max(timedelta(0), before["until"] - full) if before else timedelta(0)

    @translating
    async def refund(self, bucket: Bucket) -> None:
        """Take back one attempt."""
        less = {"$subtract": ["$until", _ms(bucket.drip)]}
        await self._attempts.update_one({"_id": _key(bucket)}, [{"$set": {"until": less}}])

    @translating
    async def remember(self, name: str, source: str, until: datetime) -> None:
        """Keep in mind that this name signed in from this source."""
        values = {"until": until, "name": _hash(name)}
        await self._attempts.update_one({"_id": _known(name, source)}, {"$set": values}, upsert=True)

    @translating
    async def knows(self, name: str, source: str, now: datetime) -> bool:
        """True when that was kept in mind until a time that is to come."""
        known = {"_id": _known(name, source), "until": {"$gt": now}}
        return await self._attempts.find_one(known, {"_id": 1}) is not None

    @translating
    async def forget(self, name: str) -> None:
        """Remove all that was kept of that name."""
        await self._attempts.delete_many({"name": _hash(name)})


def _key(bucket: Bucket) -> str:
    return _hash(f"attempts\0{bucket.name}\0{bucket.source}")


def _known(name: str, source: str) -> str:
    return _hash(f"known\0{name}\0{source}")


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _ms(interval: timedelta) -> Any:
    return interval // timedelta(milliseconds=1)
