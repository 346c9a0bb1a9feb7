"""How often something was tried, for all processes together: leaky buckets, one document each.

A document means something until the time ``until``, when its bucket has run empty; then the database removes it.
Each change of one is an atomic update, and none is worth waiting for a journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from pymongo import ASCENDING, IndexModel, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError

from gateway.ports import Bucket
from storage.mongo import Document, Mongo, translating
from storage.updates import DUPLICATE_KEY, answers

ATTEMPTS = "attempts"
INDEXES = {ATTEMPTS: [IndexModel([("until", ASCENDING)], expireAfterSeconds=0), IndexModel([("name", ASCENDING)])]}


class MongoAttempts:
    """The core's Attempts. Names and addresses are kept as hashes: people type passwords in the place of names."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._attempts = mongo.collection(ATTEMPTS).with_options(write_concern=WriteConcern(w=1))

    @translating
    async def charge(self, buckets: Sequence[Bucket], now: datetime) -> timedelta:
        """Count an attempt in each if all have room; return how long until they have, zero where it was counted.

        By one question where all have room, whatever their number.
        """
        uncounted = buckets if len(buckets) == 1 else await self._uncounted(buckets, now)
        waits = {bucket: await self._charge(bucket, now) for bucket in uncounted}
        wait = max(waits.values(), default=timedelta(0))
        if wait:
            await self._refund([bucket for bucket in buckets if not waits.get(bucket)])
        return wait

    async def _uncounted(self, buckets: Sequence[Bucket], now: datetime) -> Sequence[Bucket]:
        """Count an attempt in each that is not full; return the others.

        What is full is looked for in vain, and cannot be made because it is there. Neither can what somebody else
        has made in the same moment, which need not be full.
        """
        charges = [
            UpdateOne(
                {"_id": _key(bucket), "until": {"$lte": _full(bucket, now)}},
                _set(bucket, _charged(bucket, now)),
                upsert=True,
            )
            for bucket in buckets
        ]
        try:
            await self._attempts.bulk_write(charges, ordered=False)
        except BulkWriteError as error:
            counted = answers(error, len(buckets), DUPLICATE_KEY)
            return [bucket for bucket, was_counted in zip(buckets, counted, strict=True) if was_counted is not True]
        return []

    async def _charge(self, bucket: Bucket, now: datetime) -> timedelta:
        full = _full(bucket, now)
        has_room = {"$lte": [{"$max": ["$until", now]}, full]}
        update = _set(bucket, {"$cond": [has_room, _charged(bucket, now), "$until"]})
        before = await self._attempts.find_one_and_update({"_id": _key(bucket)}, update, upsert=True)
        return max(timedelta(0), before["until"] - full) if before else timedelta(0)

    @translating
    async def refund(self, buckets: Sequence[Bucket]) -> None:
        """Take back one attempt of each."""
        await self._refund(buckets)

    async def _refund(self, buckets: Sequence[Bucket]) -> None:
        refunds = [UpdateOne({"_id": _key(bucket)}, _set(bucket, _refunded(bucket))) for bucket in buckets]
        if refunds:
            await self._attempts.bulk_write(refunds, ordered=False)

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


def _full(bucket: Bucket, now: datetime) -> datetime:
    """Return until when a bucket may mean something that has room for one more."""
    return now + (bucket.size - 1) * bucket.drip


def _charged(bucket: Bucket, now: datetime) -> Document:
    return {"$add": [{"$max": ["$until", now]}, _ms(bucket.drip)]}


def _refunded(bucket: Bucket) -> Document:
    return {"$subtract": ["$until", _ms(bucket.drip)]}


def _set(bucket: Bucket, until: Document) -> Sequence[Document]:
    return [{"$set": {"until": until, "name": _hash(bucket.name)}}]


def _key(bucket: Bucket) -> str:
    return _hash(f"attempts\0{bucket.name}\0{bucket.source}")


def _known(name: str, source: str) -> str:
    return _hash(f"known\0{name}\0{source}")


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _ms(interval: timedelta) -> Any:
    return interval // timedelta(milliseconds=1)
