"""UserIdentities, with their credentials encrypted beside them.

A partial unique index keeps one identity per user, identifier and protocol among those that are not deleted. It
begins with ``user_id``, the sharding key, so that it holds on a sharded cluster too.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from gateway.errors import Conflict, Full, NotFound
from gateway.identity import Credentials, IdentityStatus, IdentityType, UserIdentity
from gateway.notice import GATEWAY_ID
from gateway.ports import ROOM, Clock, Page, Portions, Room
from storage.due import find_due, indexes_of_due
from storage.grouped import Grouped
from storage.holding import hold
from storage.mongo import Document, Mongo, Session, translating
from storage.portions import ListMemory, PortionedPages
from storage.secrets import Vault
from storage.updates import Update, update_each

IDENTITIES = "identities"
_HOSTS = ("host", "other_host")  # the same where there is one
_LIVING = {"$in": [IdentityStatus.ACTIVE.value, IdentityStatus.INACTIVE.value]}
_OWNED = {"type": IdentityType.LOCAL.value, "status": IdentityStatus.ACTIVE.value}
INDEXES = {
    IDENTITIES: [
        IndexModel(
            [("user_id", ASCENDING), ("identifier", ASCENDING), ("protocol", ASCENDING)],
            unique=True,
            partialFilterExpression={"status": _LIVING},
        ),
        *indexes_of_due("check_at", *_HOSTS),
        IndexModel([("identifier", ASCENDING)], partialFilterExpression=_OWNED),
    ]
}
_WITHOUT_CREDENTIALS = {"credentials": 0}
_UNCHECKED = {"check_at": "", "check_owner": ""}
_GONE = {
    "$set": {"status": IdentityStatus.DELETED.value, "credentials": {}, "infos": {}},
    "$unset": _UNCHECKED,
}
_PAGE = 1000  # documents


class MongoIdentities:
    """The core's Identities. What is asked one by one in the same moment goes in one call."""

    def __init__(self, mongo: Mongo, vault: Vault, clock: Clock, memory: ListMemory | None = None) -> None:
        self.operation_s = mongo.operation_s
        self._mongo = mongo
        self._identities = mongo.collection(IDENTITIES)
        self._pages = PortionedPages(
            mongo, IDENTITIES, _from_document, memory or ListMemory(), _WITHOUT_CREDENTIALS
        )
        self._vault = vault
        self._living = Grouped(self._read_living)
        self._record = Grouped(self._record_all)
        self._clock = clock

    async def add(self, identity: UserIdentity, credentials: Credentials, *, most: int = sys.maxsize) -> None:
        """Store an identity, in the transaction that counts those that its user has.

        Raises Conflict when the user has its identifier and protocol already, Full when there are ``most`` remote.
        """
        encrypted = await self._sealed(credentials)

        async def count_and_insert(session: Session) -> None:
            await hold(self._mongo, identity.user_id, session)
            remotes = {"user_id": identity.user_id, "status": _LIVING, "type": IdentityType.REMOTE.value}
            if await self._identities.count_documents(remotes, session=session) >= most:
                raise Full(f"You have {most} remote identities (limits.identities). Delete one of them first.")
            await self.insert(identity, encrypted, self._clock(), session)

        await self._mongo.in_transaction(count_and_insert)

    @translating
    async def _sealed(self, credentials: Credentials) -> Mapping[str, bytes]:
        return await self._vault.encrypt(credentials.values)

    async def insert(
        self,
        identity: UserIdentity,
        encrypted: Mapping[str, bytes],
        at: datetime,
        session: Session | None = None,
    ) -> None:
        """Store an identity, in a transaction where a session is given. Raises Conflict and the driver's errors."""
        document = _to_document(identity) | {"credentials": _escaped(encrypted), "date_insert": at}
        try:
            await self._identities.insert_one(document, session=session)
        except DuplicateKeyError as error:
            raise Conflict(
                f"You have an identity {identity.identifier} with the protocol {identity.protocol} already."
            ) from error

    async def get(self, user_id: str, identity_id: str) -> UserIdentity:
        """Return an identity of the user. Raises NotFound."""
        return _from_document(await self._document(user_id, identity_id))

    async def list(
        self, user_id: str, filters: Mapping[str, str], page: Page
    ) -> tuple[int, Portions[UserIdentity]]:
        """Return how many there are and a page of them, oldest first. ``filters``: type, status, protocol."""
        where = {"status": _LIVING, **{key: str(value) for key, value in filters.items()}}
        order = [("date_insert", ASCENDING), ("_id", ASCENDING)]
        return await self._pages(user_id, where, order, page)

    @translating
    async def identifiers(self, user_id: str) -> Collection[str]:
        """Return the identifiers of the user's identities."""
        found: list[str] = await self._identities.distinct("identifier", {"user_id": user_id, "status": _LIVING})
        return found

    async def with_credentials(self, user_id: str, identity_id: str) -> tuple[UserIdentity, Credentials]:
        """Return an identity of the user with its decrypted credentials, by one query. Raises NotFound."""
        document = await self._document(user_id, identity_id)
        return _from_document(document), await self._opened(document)

    async def _document(self, user_id: str, identity_id: str) -> Document:
        document = await self._living(identity_id)
        if document is None or document["user_id"] != user_id:
            raise NotFound("There is no such identity.")
        return document

    @translating
    async def _read_living(self, identity_ids: Sequence[str]) -> Sequence[Document | None]:
        where = {"_id": {"$in": [*identity_ids]}, "status": _LIVING}
        found = {document["_id"]: document for document in await self._identities.find(where).to_list(None)}
        return [found.get(identity_id) for identity_id in identity_ids]

    @translating
    async def _opened(self, document: Document) -> Credentials:
        sealed = _unescaped(document["credentials"])
        return Credentials(await self._vault.decrypt(sealed) if sealed else {})

    @translating
    async def change(
        self, before: UserIdentity, after: UserIdentity, credentials: Credentials | None, *, exactly: bool
    ) -> bool:
        """Store what ``after`` changes, and the credentials unless None, if no client changed it since ``before``.

        Only the keys of ``infos`` that differ are touched: workers write theirs at the same time.
        """
        update = _update(before, after)
        update["$set"]["display_name"] = after.display_name
        if credentials is not None:
            update["$set"]["credentials"] = _escaped(await self._vault.encrypt(credentials.values))
        update["$inc"] = {"version": 1}
        return (await self._identities.update_one(_unchanged(before, exactly=exactly), update)).matched_count == 1

    @translating
    async def delete(self, identity: UserIdentity, *, exactly: bool) -> bool:
        """Mark it deleted and destroy its credentials, at once. Raises NotFound."""
        where = _unchanged(identity, exactly=True) if exactly else _one(identity.user_id, identity.identity_id)
        if (await self._identities.update_one(where, _GONE)).matched_count:
            return True
        if not exactly:
            raise NotFound("There is no such identity.")
        return False

    async def record_check(self, before: UserIdentity, after: UserIdentity) -> bool:
        """Store what a check made of an identity, if no client has changed it since; True when none had."""
        update = _update(before, after)
        update["$set"]["last_check"] = after.last_check
        update["$unset"] = {**update.get("$unset", {}), "check_owner": ""}
        if after.status is not before.status:
            update["$inc"] = {"version": 1}
        return await self._record(Update(_unchanged(before), update))

    @translating
    async def _record_all(self, updates: Sequence[Update]) -> Sequence[bool | Exception]:
        return await update_each(self._identities, updates)

    @translating
    async def check_now(self, identity: UserIdentity, now: datetime) -> None:
        """Let a worker check the identity at once, if workers check it."""
        one = _one(identity.user_id, identity.identity_id) | {"check_at": {"$gt": now}}
        await self._identities.update_one(one, {"$set": {"check_at": now}})

    # -- the queue of checks -------------------------------------------------------------------------------------

    @translating
    async def claim(
        self, owner: str, now: datetime, lease: timedelta, limit: int, room: Room = ROOM
    ) -> Sequence[UserIdentity]:
        """Take identities whose check is due: find them, mark each atomically, read the marked."""
        keys = await find_due(self._identities, now, limit, room, date="check_at", hosts=_HOSTS)
        if not keys:
            return []
        mark = {"$set": {"check_owner": owner, "check_at": now + lease}}
        await self._identities.update_many({"_id": {"$in": keys}, "check_at": {"$lte": now}}, mark)
        mine = {"_id": {"$in": keys}, "check_owner": owner}
        return [_from_document(each) async for each in self._identities.find(mine, _WITHOUT_CREDENTIALS)]

    @translating
    async def renew(self, held: Collection[tuple[str, UserIdentity]], until: datetime) -> None:
        """Extend the leases of these identities, each if its owner still holds it."""
        mine = {
            "_id": {"$in": [identity.identity_id for _, identity in held]},
            "check_owner": {"$in": list({owner for owner, _ in held})},
        }
        await self._identities.update_many(mine, {"$set": {"check_at": until}})

    async def release(self, held: Collection[tuple[str, UserIdentity]], now: datetime) -> None:
        """Hand these identities back, due at once, each if its owner still holds it."""
        await self.renew(held, now)

    async def walk(self, user_id: str | None, identity_id: str | None) -> AsyncIterator[UserIdentity]:
        """Yield all identities, or those of one user, or one. Raises Unavailable."""
        where, last = _some(user_id, identity_id), ""
        while page := await self._page({"$and": [where, {"_id": {"$gt": last}}]}):
            for document in page:
                yield _from_document(document)
            last = page[-1]["_id"]

    @translating
    async def count(self, user_id: str | None, identity_id: str | None) -> int:
        """Return how many identities :meth:`walk` yields."""
        return await self._identities.count_documents(_some(user_id, identity_id))

    @translating
    async def _page(self, where: Document) -> Sequence[Document]:
        found = self._identities.find(where, _WITHOUT_CREDENTIALS).sort("_id", ASCENDING).limit(_PAGE)
        return await found.to_list(_PAGE)

    @translating
    async def backlog(self, now: datetime, most: int) -> tuple[int, UserIdentity | None]:
        """Return how many checks are due, counted up to ``most``, and the identity that has waited longest."""
        due = {"check_at": {"$lte": now}}
        count = await self._identities.count_documents(due, limit=most)
        document = await self._identities.find_one(due, _WITHOUT_CREDENTIALS, sort=[("check_at", ASCENDING)])
        return count, _from_document(document) if document else None

    @translating
    async def put(self, identity: UserIdentity) -> None:
        """Store an identity without credentials in the place of what is there of it."""
        document = _to_document(identity) | {"credentials": {}, "date_insert": self._clock()}
        await self._identities.replace_one({"_id": identity.identity_id}, document, upsert=True)

    # -- of mailboxes, in the transactions of their store ----------------------------------------------------------

    async def mirror(
        self, before: UserIdentity | None, after: UserIdentity | None, at: datetime, session: Session
    ) -> None:
        """Let the identity that a user has of a mailbox come, change or go; coming into use, it is checked."""
        if before and after and before.identity_id == after.identity_id:
            if before == after:
                return
            same = _one(after.user_id, after.identity_id)
            if (await self._identities.update_one(same, _switch(after, at), session=session)).matched_count:
                return  # else its user had the identifier otherwise, and it did not come then
        elif before:
            gone = _one(before.user_id, before.identity_id)
            await self._identities.update_one(gone, _GONE, session=session)
        if after:
            await self._come(after, at, session)

    async def _come(self, identity: UserIdentity, at: datetime, session: Session) -> None:
        """Store an identity, or bring it back, unless its user has that identifier already."""
        same = {"identifier": identity.identifier, "protocol": identity.protocol, "status": _LIVING}
        if await self._identities.find_one({"user_id": identity.user_id, **same}, {"_id": 1}, session=session):
            return
        document = _to_document(identity) | {"credentials": {}, "date_insert": at}
        if identity.status is IdentityStatus.ACTIVE:
            document["check_at"] = at
        where = {"_id": identity.identity_id, "user_id": identity.user_id}
        await self._identities.replace_one(where, document, upsert=True, session=session)

    # -- whose address it is -------------------------------------------------------------------------------------

    @translating
    async def addresses(self, user_id: str) -> Sequence[str]:
        """Return the identifiers of the user's active local identities."""
        found: list[str] = await self._identities.distinct("identifier", {"user_id": user_id, **_OWNED})
        return found

    @translating
    async def owner(self, identifier: str) -> str | None:
        """Return the user_id whose active local identity has that identifier."""
        document = await self._identities.find_one({"identifier": identifier, **_OWNED}, {"user_id": 1})
        return document["user_id"] if document else None


def _one(user_id: str, identity_id: str) -> Document:
    return {"_id": identity_id, "user_id": user_id, "status": _LIVING}


def _unchanged(identity: UserIdentity, *, exactly: bool = False) -> Document:
    """Return what finds the identity if no client, and ``exactly`` no worker, has changed it since it was read.

    Whatever a worker writes comes with a new ``last_check``.
    """
    where = _one(identity.user_id, identity.identity_id) | {"version": identity.version}
    return where | {"last_check": identity.last_check} if exactly else where


def _switch(identity: UserIdentity, at: datetime) -> Document:
    """Return the update to this status and name; an active identity is checked at once, an inactive one never."""
    values = {"status": identity.status.value, "display_name": identity.display_name}
    if identity.status is IdentityStatus.ACTIVE:
        return {"$set": values | {"check_at": at}, "$unset": {"check_owner": ""}, "$inc": {"version": 1}}
    return {"$set": values, "$unset": _UNCHECKED, "$inc": {"version": 1}}


def _update(before: UserIdentity, after: UserIdentity) -> Document:
    """Return the update of status, time of the next check and those keys of ``infos`` that differ."""
    changed = {k for k in {**before.infos, **after.infos} if before.infos.get(k) != after.infos.get(k)}
    infos = _escaped({key: after.infos.get(key) for key in changed})
    values: Document = {f"infos.{key}": value for key, value in infos.items()}
    if before.refusals != after.refusals:
        values["refusals"] = after.refusals
    if before.check_at != after.check_at:  # else it may have moved on meanwhile
        values |= {"check_at": after.check_at, "check_owner": None}
    update: Document = {"$set": {key: value for key, value in values.items() if value is not None}}
    update["$set"] |= {"status": after.status.value, **_hosts(after)}
    if removed := {key: "" for key, value in values.items() if value is None}:
        update["$unset"] = removed
    return update


def _hosts(identity: UserIdentity) -> Document:
    """Return the hosts of its checks as fields of their own: an index of an array would not hold all of it."""
    return dict(zip(_HOSTS, (identity.hosts[0], identity.hosts[-1]), strict=True))


def _some(user_id: str | None, identity_id: str | None) -> Document:
    """Return what finds those of a user, or one, or of all people; the gateway's own is none of theirs."""
    named = {"user_id": user_id or {"$ne": GATEWAY_ID}, "_id": identity_id}
    return {"status": _LIVING} | {key: value for key, value in named.items() if value is not None}


def _to_document(identity: UserIdentity) -> Document:
    return {
        "_id": identity.identity_id,
        "user_id": identity.user_id,
        "type": identity.type.value,
        "protocol": identity.protocol,
        "identifier": identity.identifier,
        "display_name": identity.display_name,
        "status": identity.status.value,
        "infos": _escaped(identity.infos),
        "last_check": identity.last_check,
        "version": identity.version,
        "refusals": identity.refusals,
        **_hosts(identity),
        **({"check_at": identity.check_at} if identity.check_at else {}),
    }


def _from_document(document: Mapping[str, Any]) -> UserIdentity:
    return UserIdentity(
        identity_id=document["_id"],
        user_id=document["user_id"],
        type=IdentityType(document["type"]),
        protocol=document["protocol"],
        identifier=document["identifier"],
        display_name=document["display_name"],
        status=IdentityStatus(document["status"]),
        infos=_unescaped(document["infos"]),
        last_check=document["last_check"],
        version=document["version"],
        check_at=document.get("check_at"),
        refusals=document["refusals"],
    )


def _escaped(values: Mapping[str, Any]) -> Document:
    """Return a map whose keys a dotted path can name: clients choose keys, and '.' and '$' have a meaning there."""
    return {key.replace("%", "%25").replace(".", "%2E").replace("$", "%24"): value for key, value in values.items()}


def _unescaped(values: Mapping[str, Any]) -> Document:
    return {key.replace("%24", "$").replace("%2E", ".").replace("%25", "%"): value for key, value in values.items()}
