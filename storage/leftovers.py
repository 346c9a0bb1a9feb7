"""Bytes and the messages that name them: which are left over. One document a round, for ever.

Attachments are found by their first chunks, which are there before all else of them, sent copies by their
documents. The keys come from indexes alone, in their order, and messages are read by ``_id``: a batch costs the
same in a database of any size.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, IndexModel

from gateway.ports import Round
from storage.files import ATTACHMENTS, MongoFiles, key_of
from storage.messages import MESSAGES
from storage.mongo import Collection as Documents
from storage.mongo import Document, Mongo, translating
from storage.queue import DueQueue
from storage.raws import RAWS, MongoRaws

ROUNDS = "rounds"
INDEXES = {ROUNDS: [IndexModel([("due_at", ASCENDING)])]}

_BATCH = 1000


@dataclass(frozen=True)
class _Kind:
    """Where the keys are: in that field, which an index begins with, of these documents; how old one is."""

    documents: Documents
    field: str
    first: Document
    made_at: Callable[[Document], datetime]
    remove: Callable[[Sequence[str]], Awaitable[None]]


class MongoLeftovers:
    """The core's Leftovers, and a Queue of rounds."""

    def __init__(self, mongo: Mongo, files: MongoFiles, raws: MongoRaws, *, batch: int = _BATCH) -> None:
        self.operation_s = mongo.operation_s
        self._rounds = mongo.collection(ROUNDS)
        self._queue = DueQueue(self._rounds)
        self._messages = mongo.collection(MESSAGES)
        self._batch = batch
        self._begun = False
        self._kinds = {
            ATTACHMENTS: _Kind(
                mongo.collection(f"{ATTACHMENTS}.chunks"),
                "files_id",
                {"n": 0},
                lambda chunk: chunk["_id"].generation_time,
                files.delete,
            ),
            RAWS: _Kind(
                mongo.collection(RAWS),
                "path",
                {},
                lambda raw: raw["at"],
                lambda path: raws.delete(path[0], path[-1]),
            ),
        }

    async def remove(self, round_: Round, before: datetime) -> tuple[int, str]:
        """Remove what is left over of the next batch and was stored before then; return how many, and the last key.

        The key is empty at the end of the round.
        """
        kind = self._kinds[round_.kind]
        keys = await self._keys(kind, round_.after)
        left = await self._older(kind, set(keys) - await self._named(keys), before)
        for key in left:
            await kind.remove(key.rstrip("/").split("/"))
        return len(left), keys[-1] if len(keys) == self._batch else ""

    @translating
    async def _keys(self, kind: _Kind, after: str) -> Sequence[str]:
        query = {kind.field: {"$gt": after}, **kind.first}
        found = kind.documents.find(query, {kind.field: 1, "_id": 0}).sort(kind.field, ASCENDING)
        return [each[kind.field] for each in await found.limit(self._batch).to_list(self._batch)]

    @translating
    async def _named(self, keys: Collection[str]) -> set[str]:
        """Return the keys of all bytes that these keys' messages name."""
        owners = {key.rsplit("/", 2)[0] for key in keys}
        names: dict[str, Any] = {"raw_msg_id": 1, "attachments.temp_id": 1}
        named = set()
        async for message in self._messages.find({"_id": {"$in": list(owners)}}, names):
            ids = [message["raw_msg_id"], *(each["temp_id"] for each in message["attachments"])]
            named |= {key_of((message["_id"], each)) for each in ids}
        return named

    @translating
    async def _older(self, kind: _Kind, keys: Collection[str], before: datetime) -> Sequence[str]:
        query = {kind.field: {"$in": list(keys)}, **kind.first}
        found = kind.documents.find(query, {kind.field: 1, "at": 1})
        return [each[kind.field] async for each in found if kind.made_at(each) < before]

    @translating
    async def go_on(self, owner: str, round_: Round, due_at: datetime) -> None:
        """Store how far a round has got and when it goes on, if the owner still holds it."""
        mine = {"_id": round_.kind, "owner": owner}
        await self._rounds.update_one(mine, {"$set": {"after": round_.after, "due_at": due_at}})

    @translating
    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Round]:
        """Take due rounds, one atomic update each; the first ones of all are due now."""
        if not self._begun:
            for kind in self._kinds:
                first = {"$setOnInsert": {"due_at": now, "after": ""}}
                await self._rounds.update_one({"_id": kind}, first, upsert=True)
            self._begun = True
        claimed = await self._queue.claim(owner, now, lease, limit)
        return [Round(document["_id"], document["after"]) for document in claimed]

    @translating
    async def renew(self, held: Collection[tuple[str, Round]], until: datetime) -> None:
        """Extend the leases, each if its owner still holds it."""
        await self._queue.renew([(owner, round_.kind) for owner, round_ in held], until)

    @translating
    async def release(self, held: Collection[tuple[str, Round]], now: datetime) -> None:
        """Hand rounds back, due at once, each if its owner still holds it."""
        await self.renew(held, now)
