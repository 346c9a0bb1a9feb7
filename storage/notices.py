"""The mails of the gateway's own that are to go out: one document each, gone when all is done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, IndexModel

from gateway.notice import Notice, NoticeKind
from storage.mongo import Mongo, Session, translating
from storage.queue import DueQueue

NOTICES = "notices"
INDEXES = {NOTICES: [IndexModel([("due_at", ASCENDING)])]}


class MongoNotices:
    """The core's Notices, and the queue of them."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._notices = mongo.collection(NOTICES)
        self._queue = DueQueue(self._notices)

    async def insert(self, notice: Notice, due_at: datetime, session: Session) -> None:
        """Note that a mail is to go out, in a transaction of others."""
        document = {
            "_id": notice.notice_id,
            "kind": notice.kind.value,
            "domain": notice.domain,
            "subject": notice.subject,
            "attempts": notice.attempts,
            "over": notice.over,
            "due_at": due_at,
        }
        await self._notices.insert_one(document, session=session)

    @translating
    async def done(self, owner: str, notice: Notice) -> None:
        """Forget a notice, if the owner still holds it."""
        await self._notices.delete_one({"_id": notice.notice_id, "owner": owner})

    @translating
    async def postpone(self, owner: str, notice: Notice, until: datetime) -> bool:
        """Let a notice be looked at again then, if the owner still holds it; True when it does."""
        later = {"$set": {"due_at": until, "attempts": notice.attempts, "over": notice.over}}
        held = {"_id": notice.notice_id, "owner": owner}
        return (await self._notices.update_one(held, later)).matched_count == 1

    # -- the queue -------------------------------------------------------------------------------------------------

    @translating
    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Notice]:
        """Take due notices, one atomic update each, by which the attempt is counted."""
        counted = {"$inc": {"attempts": 1}}
        return [_from_document(each) for each in await self._queue.claim(owner, now, lease, limit, counted)]

    @translating
    async def renew(self, held: Collection[tuple[str, Notice]], until: datetime) -> None:
        """Extend the leases of these notices, each if its owner still holds it."""
        await self._queue.renew([(owner, notice.notice_id) for owner, notice in held], until)

    async def release(self, held: Collection[tuple[str, Notice]], now: datetime) -> None:
        """Hand these notices back, due at once, each if its owner still holds it."""
        await self.renew(held, now)


def _from_document(document: Mapping[str, Any]) -> Notice:
    return Notice(
        notice_id=document["_id"],
        kind=NoticeKind(document["kind"]),
        domain=document["domain"],
        subject=document["subject"],
        attempts=document["attempts"],
        over=document["over"],
    )
