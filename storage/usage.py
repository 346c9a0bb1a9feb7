"""What each user takes up: one document of counters a user, and the counting anew of what the messages take up.

A counter goes up before the write that it is for, and what is written later is in the journal, and at the other
members, no earlier: so nothing here waits for either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import WriteConcern

from gateway.ports import Demand
from storage.grouped import Grouped
from storage.messages import MESSAGES
from storage.mongo import Document, Mongo, translating
from storage.updates import Update, update_each

USAGE = "usage"
_REST = timedelta(seconds=60)  # longer than what was counted can be under way to where it is kept
_SIZE = {"$ifNull": ["$size", {"$add": [{"$bsonSize": "$$ROOT"}, {"$sum": "$attachments.size"}]}]}
"""Of a message, also of one that was stored before its size was."""


class MongoUsage:
    """The core's Usage."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._usage = mongo.collection(USAGE).with_options(write_concern=WriteConcern(w=1))
        self._messages = mongo.collection(MESSAGES)
        self._move = Grouped(self._move_all)

    async def take(self, user_id: str, demands: Mapping[str, Demand], now: datetime) -> bool:
        """Let these counters go up, all or none; False where one would pass its ceiling, or there is none."""
        if any(demand.floor + demand.amount > demand.ceiling for demand in demands.values()):
            return False
        room: Document = {name: {"$lte": demand.ceiling - demand.amount} for name, demand in demands.items()}
        if any(demand.floor for demand in demands.values()):
            return await self._rise({"_id": user_id} | room, demands, now)
        more = {name: demand.amount for name, demand in demands.items()}
        return await self._move(Update({"_id": user_id} | room, {"$inc": more, "$set": {"moved_at": now}}))

    @translating
    async def _rise(self, where: Document, demands: Mapping[str, Demand], now: datetime) -> bool:
        more: Document = {
            name: {"$add": [{"$max": [f"${name}", demand.floor]}, demand.amount]}
            for name, demand in demands.items()
        }
        return (await self._usage.update_one(where, [{"$set": more | {"moved_at": now}}])).matched_count == 1

    async def give_back(self, user_id: str, amounts: Mapping[str, int], now: datetime) -> None:
        """Let these counters go down again."""
        less = {name: -amount for name, amount in amounts.items()}
        await self._move(Update({"_id": user_id}, {"$inc": less, "$set": {"moved_at": now}}))

    @translating
    async def _move_all(self, updates: Sequence[Update]) -> Sequence[bool | Exception]:
        return await update_each(self._usage, updates)

    @translating
    async def recount(self, user_id: str, now: datetime) -> None:
        """Set ``bytes`` to what the user's messages take up, unless some counter has moved in the last minute."""
        before = await self._usage.find_one({"_id": user_id})
        if before and before["moved_at"] > now - _REST:
            return
        counted: Document = {"bytes": await self._stored(user_id), "moved_at": now}
        if before is None:
            blank = counted | {"messages": 0, "recipients": 0}
            await self._usage.update_one({"_id": user_id}, {"$setOnInsert": blank}, upsert=True)
        else:
            await self._usage.update_one(before, {"$set": counted})

    async def _stored(self, user_id: str) -> int:
        stages: list[Mapping[str, Any]] = [
            {"$match": {"user_id": user_id}},
            {"$group": {"_id": None, "bytes": {"$sum": _SIZE}}},
        ]
        found = await self._messages.aggregate(stages).to_list(1)
        return int(found[0]["bytes"]) if found else 0

    @translating
    async def counters(self, user_id: str) -> Mapping[str, int]:
        """Return the counters, empty where there are none."""
        found = await self._usage.find_one({"_id": user_id}, {"moved_at": 0, "_id": 0})
        return found or {}
