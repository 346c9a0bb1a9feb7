"""Which users' data is still to be erased, and the erasing: one document a user, gone when all is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Collection as Some
from datetime import datetime, timedelta

from pymongo import ASCENDING, IndexModel

from gateway.ports import Erasure
from storage.files import MongoFiles
from storage.mongo import Collection, Mongo, Session, translating
from storage.queue import DueQueue

ERASURES = "erasures"
INDEXES = {ERASURES: [IndexModel([("due_at", ASCENDING)])]}


class MongoErasures:
    """The core's Erasures.

    ``collections`` tells of each where the user_id stands, in the order in which they are erased: ``files`` go
    before the last of them, which has the most. ``forget`` takes a user out of what stays.
    """

    def __init__(
        self,
        mongo: Mongo,
        collections: Mapping[str, str],
        files: Sequence[MongoFiles] = (),
        forget: Sequence[Callable[[str], Awaitable[None]]] = (),
    ) -> None:
        self.operation_s = mongo.operation_s
        self._erasures = mongo.collection(ERASURES)
        self._queue = DueQueue(self._erasures)
        self._collections = [(mongo.collection(name), field) for name, field in collections.items()]
        self._files = files
        self._forget = forget

    async def insert(self, user_id: str, due_at: datetime, session: Session) -> None:
        """Note that a user's data is to be erased, in a transaction."""
        await self._erasures.insert_one({"_id": user_id, "due_at": due_at}, session=session)

    async def erase(self, user_id: str) -> None:
        """Remove all that belongs to the user, each kind in the time of an operation.

        Where there is more of one than that, some of it is gone, and the next call goes on there.
        """
        for forget in self._forget:  # first: identities come and go with what stays
            await forget(user_id)
        *first, last = self._collections
        for each in first:
            await self._remove(*each, user_id)
        for files in self._files:
            await files.delete((user_id,))
        await self._remove(*last, user_id)

    @translating
    async def _remove(self, collection: Collection, field: str, user_id: str) -> None:
        await collection.delete_many({field: user_id})

    @translating
    async def done(self, owner: str, erasure: Erasure) -> None:
        """Forget the user, too, if the owner still holds the erasure."""
        await self._erasures.delete_one({"_id": erasure.user_id, "owner": owner})

    @translating
    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Erasure]:
        """Take due erasures, one atomic update each."""
        return [Erasure(document["_id"]) for document in await self._queue.claim(owner, now, lease, limit)]

    @translating
    async def renew(self, held: Some[tuple[str, Erasure]], until: datetime) -> None:
        """Extend the leases, each if its owner still holds it."""
        await self._queue.renew([(owner, erasure.user_id) for owner, erasure in held], until)

    @translating
    async def release(self, held: Some[tuple[str, Erasure]], now: datetime) -> None:
        """Hand erasures back, due at once, each if its owner still holds it."""
        await self.renew(held, now)
