"""The mailboxes of hosted domains, a document each, and the queue of those that the backend has yet to create."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from gateway.domain import Domain, DomainStatus
from gateway.errors import Conflict, Full, NotFound
from gateway.mailbox import Mailbox, MailboxStatus
from gateway.notice import Notice
from gateway.ports import Clock, Page
from storage.domains import MAILBOXES, MongoDomains
from storage.identities import MongoIdentities
from storage.mongo import Document, Mongo, Session, translating
from storage.notices import MongoNotices
from storage.pages import Pages
from storage.queue import DueQueue

INDEXES = {
    MAILBOXES: [
        IndexModel([("domain", ASCENDING), ("local_part", ASCENDING)], unique=True),
        IndexModel([("due_at", ASCENDING)]),
        IndexModel([("user_id", ASCENDING)]),
    ]
}
_COUNTED = {"$inc": {"attempts": 1, "version": 1}}


class MongoMailboxes:
    """The core's Mailboxes. Whoever holds one is its ``owner``, and every claim makes a new version of it."""

    def __init__(
        self, mongo: Mongo, domains: MongoDomains, identities: MongoIdentities, notices: MongoNotices, clock: Clock
    ) -> None:
        self._mongo = mongo
        self.operation_s = mongo.operation_s
        self._mailboxes = mongo.collection(MAILBOXES)
        self._pages = Pages(mongo, MAILBOXES)
        self._queue = DueQueue(self._mailboxes)
        self._domains = domains
        self._identities = identities
        self._notices = notices
        self._clock = clock

    async def add(self, domain: str, admit: Callable[[Domain], Mailbox], *, most: int = sys.maxsize) -> Mailbox:
        """Store the mailbox that ``admit`` makes of the domain, which nobody changes meanwhile; return it."""

        async def admit_and_insert(session: Session) -> Mailbox:
            mailbox = admit(await self._domains.hold(domain, session))
            if await self._mailboxes.count_documents({"domain": domain}, session=session) >= most:
                raise Full(f"{domain} has {most} mailboxes (limits.mailboxes). Delete one of them first.")
            await self._mailboxes.insert_one(_to_document(mailbox), session=session)
            return mailbox

        try:
            return await self._mongo.in_transaction(admit_and_insert)
        except DuplicateKeyError as error:
            raise Conflict("There is a mailbox of that name already.") from error

    @translating
    async def get(self, domain: str, local_part: str) -> Mailbox:
        """Return a mailbox. Raises NotFound."""
        document = await self._mailboxes.find_one({"domain": domain, "local_part": local_part})
        if document is None:
            raise NotFound("There is no such mailbox.")
        return _from_document(document)

    async def list(self, domain: str, page: Page) -> tuple[int, Sequence[Mailbox]]:
        """Return how many there are and a page of them, by local part."""
        order = [("local_part", ASCENDING)]
        total, documents = await self._pages({"domain": domain}, order, page)
        return total, [_from_document(document) for document in documents]

    async def save(self, before: Mailbox, after: Mailbox, notice: Notice | None = None) -> Mailbox | None:
        """Store what ``after`` changes, with the identity and the mail, if it is of that version still."""
        old, new = _to_document(before), _to_document(after)
        changed = {key: value for key, value in new.items() if key == "owner" or old[key] != value}

        async def all_of_it(session: Session) -> Mailbox | None:
            due = await self._due(before, after, session)
            document: Document | None = await self._mailboxes.find_one_and_update(
                _unchanged(before),
                {"$set": changed | due, "$inc": {"version": 1}},
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            if document is None:
                return None
            await self._identities.mirror(before.identity, after.identity, self._clock(), session)
            if notice:
                await self._notices.insert(notice, self._clock(), session)
            return _from_document(document)

        return await self._mongo.in_transaction(all_of_it)

    async def _due(self, before: Mailbox, after: Mailbox, session: Session) -> Document:
        """Let a mailbox that comes to wait for its domain be due, if the domain is enabled, now or a moment ago."""
        if not after.waits or before.waits:
            return {}
        domain = await self._domains.hold(after.domain, session)
        return {"due_at": self._clock()} if domain.status is DomainStatus.ENABLED else {}

    async def delete(self, mailbox: Mailbox) -> bool:
        """Remove a mailbox and its identity, if it is of that version still; True when it was."""

        async def both(session: Session) -> bool:
            gone = await self._mailboxes.delete_one(_unchanged(mailbox), session=session)
            if gone.deleted_count:
                await self._identities.mirror(mailbox.identity, None, self._clock(), session)
            return gone.deleted_count == 1

        return await self._mongo.in_transaction(both)

    # -- the queue of creations ------------------------------------------------------------------------------------

    @translating
    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Mailbox]:
        """Take mailboxes whose creation is due, one atomic update each, by which the attempt is counted."""
        return [_from_document(each) for each in await self._queue.claim(owner, now, lease, limit, _COUNTED)]

    @translating
    async def renew(self, held: Collection[tuple[str, Mailbox]], until: datetime) -> None:
        """Extend the leases of these mailboxes, each if its owner still holds it."""
        await self._queue.renew([(owner, mailbox.mailbox_id) for owner, mailbox in held], until)

    async def release(self, held: Collection[tuple[str, Mailbox]], now: datetime) -> None:
        """Hand these mailboxes back, due at once, each if its owner still holds it."""
        await self.renew(held, now)


def _unchanged(mailbox: Mailbox) -> Document:
    return {"_id": mailbox.mailbox_id, "version": mailbox.version}


def _to_document(mailbox: Mailbox) -> Document:
    return {
        "_id": mailbox.mailbox_id,
        "domain": mailbox.domain,
        "local_part": mailbox.local_part,
        "first_name": mailbox.first_name,
        "last_name": mailbox.last_name,
        "display_name": mailbox.display_name,
        "secondary_email": mailbox.secondary_email,
        "user_id": mailbox.user_id,
        "status": mailbox.status.value,
        "date_insert": mailbox.date_insert,
        "hosted": mailbox.hosted,
        "attempts": mailbox.attempts,
        "failures": mailbox.failures,
        "due_at": mailbox.due_at,
        "owner": str(uuid4()) if mailbox.held else None,
        "error": mailbox.error,
        "version": mailbox.version,
    }


def _from_document(document: Mapping[str, Any]) -> Mailbox:
    return Mailbox(
        mailbox_id=document["_id"],
        domain=document["domain"],
        local_part=document["local_part"],
        first_name=document["first_name"],
        last_name=document["last_name"],
        display_name=document["display_name"],
        secondary_email=document["secondary_email"],
        user_id=document["user_id"],
        status=MailboxStatus(document["status"]),
        date_insert=document["date_insert"],
        hosted=document["hosted"],
        attempts=document["attempts"],
        failures=document.get("failures", 0),  # older versions did not count them
        due_at=document["due_at"],
        held=document["owner"] is not None,
        error=document["error"],
        version=document["version"],
    )
