"""Work that lies in a collection: documents with a date at which they are due, and whose they are until then."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Sequence
from datetime import datetime, timedelta

from pymongo import ASCENDING, ReturnDocument
from pymongo.errors import PyMongoError

from storage.mongo import Collection, Document


class DueQueue:
    """Claims documents one by one, each by an atomic update; for queues that are short.

    ``date`` and ``owner`` are the names of the fields. A lease is a date that lies ahead.
    """

    def __init__(self, collection: Collection, date: str = "due_at", owner: str = "owner") -> None:
        self._collection = collection
        self._date = date
        self._owner = owner

    async def claim(
        self, owner: str, now: datetime, lease: timedelta, limit: int, also: Document | None = None
    ) -> Sequence[Document]:
        """Take up to ``limit`` due documents, longest due first; ``also`` is what else is done to each.

        What was taken before the database failed is returned; where it goes on failing, the next claim tells.
        """
        taken: list[Document] = []
        mine = {"$set": {self._owner: owner, self._date: now + lease}, **(also or {})}
        while len(taken) < limit:
            try:
                document = await self._collection.find_one_and_update(
                    {self._date: {"$lte": now}},
                    mine,
                    sort=[(self._date, ASCENDING)],
                    return_document=ReturnDocument.AFTER,
                )
            except PyMongoError:
                if taken:
                    break
                raise
            if not document:
                break
            taken.append(document)
        return taken

    async def renew(self, held: Some[tuple[str, str]], until: datetime) -> None:
        """Extend leases: of pairs of owner and ``_id``, each if the owner still holds it."""
        for owner, key in held:
            await self._collection.update_one({"_id": key, self._owner: owner}, {"$set": {self._date: until}})
