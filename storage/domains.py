"""The domains that are hosted here, with their DKIM keys encrypted beside them."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from gateway.api_client import Allow
from gateway.domain import DkimKey, Domain, DomainCheck, DomainStatus, Fault, Feature, Record
from gateway.errors import Conflict, Full, NotFound
from gateway.mailbox import MailboxStatus
from gateway.ports import Page
from gateway.roles import Role
from storage.dimail import insert_allow
from storage.holding import hold
from storage.mongo import Document, Mongo, Session, translating
from storage.pages import Pages
from storage.queue import DueQueue
from storage.secrets import Vault

DOMAINS = "domains"
MAILBOXES = "mailboxes"
INDEXES = {
    DOMAINS: [
        IndexModel([("managers.user_id", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("context", ASCENDING)]),
        IndexModel([("creator", ASCENDING)], partialFilterExpression={"creator": {"$exists": True}}),
        IndexModel([("check_at", ASCENDING)]),
        IndexModel([("founded", ASCENDING)], unique=True, partialFilterExpression={"founded": {"$exists": True}}),
    ]
}
_WITHOUT_CREDENTIALS = {"credentials": 0}
_PRIVATE_KEY = "dkim"


class MongoDomains:
    """The core's Domains, and the queue of those that are to be checked."""

    def __init__(self, mongo: Mongo, vault: Vault) -> None:
        self._mongo = mongo
        self.operation_s = mongo.operation_s
        self._domains = mongo.collection(DOMAINS)
        self._pages = Pages(mongo, DOMAINS, _WITHOUT_CREDENTIALS)
        self._mailboxes = mongo.collection(MAILBOXES)
        self._queue = DueQueue(self._domains, "check_at", "check_owner")
        self._vault = vault

    @translating
    async def add(
        self,
        domain: Domain,
        private_key: str,
        *,
        founding: bool = False,
        client: str | None = None,
        most: int = sys.maxsize,
    ) -> bool:
        """Store a domain with its DKIM key, encrypted; False where it is not the first of its context as it should.

        With the allow of an API client, by the same transaction: stored before, it would be there for whoever gets
        the name when this process dies in between; stored after, the client could not manage what it has made.

        Who makes it is its ``creator``, whoever owns it later: nobody can use up what another may make.

        Raises Conflict when the name is taken, NotFound where there is no such client, Full where the creator has
        made ``most`` domains.
        """
        sealed = await self._vault.encrypt({_PRIVATE_KEY: private_key})
        founded = {"founded": domain.context} if founding else {}
        creator = next(iter(domain.roles), None)  # nobody's, it is the operator's
        created = {"creator": creator} if creator else {}
        document = _to_document(domain) | founded | created | {"credentials": sealed}

        async def both(session: Session) -> None:
            if creator:
                await hold(self._mongo, creator, session)
                if await self._domains.count_documents(created, session=session) >= most:
                    raise Full(f"You have made {most} domains (limits.domains), and there can be no more.")
            await self._domains.insert_one(document, session=session)
            if client is not None:
                await insert_allow(self._mongo, Allow(client, domain.name), session)

        try:
            await self._mongo.in_transaction(both)
        except DuplicateKeyError as error:
            if "founded" in (error.details or {}).get("keyPattern", {}):
                return False
            raise Conflict(f"The domain {domain.name} is taken.") from error
        return True

    @translating
    async def get(self, name: str) -> Domain:
        """Return a domain. Raises NotFound."""
        return _found(await self._domains.find_one({"_id": name}, _WITHOUT_CREDENTIALS))

    async def list(self, user_id: str | None, page: Page) -> tuple[int, Sequence[Domain]]:
        """Return how many domains the user has a role on, or there are, and a page of them, by name."""
        where = {} if user_id is None else _of(user_id)
        total, documents = await self._pages(where, [("_id", ASCENDING)], page)
        return total, [from_document(document) for document in documents]

    @translating
    async def of_context(self, context: str) -> Sequence[Domain]:
        """Return the domains that share a context."""
        found = self._domains.find({"context": context}, _WITHOUT_CREDENTIALS)
        return [from_document(document) async for document in found]

    @translating
    async def save(self, before: Domain, after: Domain) -> bool:
        """Store what ``after`` changes of status, features, roles, records, the next check, context and ``ours``.

        If nobody has changed the domain since ``before`` was read; True when so. One that leaves a context is not
        the first of it any more.
        """
        old, new = _to_document(before), _to_document(after)
        fields = ("status", "features", "managers", "records", "check_at", "context", "ours")
        changed: Document = {field: new[field] for field in fields if old[field] != new[field]}
        update: Document = {"$inc": {"version": 1}}
        if changed:
            update["$set"] = changed
        if "context" in changed:
            update["$unset"] = {"founded": ""}
        where = {"_id": before.name, "version": before.version}
        return (await self._domains.update_one(where, update)).matched_count == 1

    async def record_check(self, before: Domain, after: Domain) -> bool:
        """Store what a check made of a domain, unless it was changed or checked since ``before`` was read.

        True when it is stored: of two checks at once the one that ends last may be the one that looked first. Where
        the domain is enabled after that, its mailboxes that wait are due at once, by the same transaction.
        """
        new = _to_document(after)
        where = {"_id": before.name, "version": before.version, "last_check": before.last_check}
        update = {
            "$set": {key: new[key] for key in ("status", "checks", "records", "last_check", "check_at")},
            "$unset": {"check_owner": ""},
        }

        async def both(session: Session) -> bool:
            done = await self._domains.update_one(where, update, session=session)
            if done.matched_count and after.status is DomainStatus.ENABLED:
                await self._mailboxes.update_many(
                    {"domain": before.name, "status": MailboxStatus.PENDING.value, "due_at": None},
                    {"$set": {"due_at": after.last_check}},
                    session=session,
                )
            return done.matched_count == 1

        return await self._mongo.in_transaction(both)

    @translating
    async def make_ours(self, name: str) -> None:
        """Note that what the mail backend has of that name, from now on, is this domain."""
        await self._domains.update_one({"_id": name}, {"$set": {"ours": True}})

    @translating
    async def private_key(self, name: str) -> str:
        """Return the DKIM key in PEM. Raises NotFound."""
        document = await self._domains.find_one({"_id": name}, {"credentials": 1})
        if document is None:
            raise _no_such_domain()
        opened: str = (await self._vault.decrypt(document["credentials"]))[_PRIVATE_KEY]
        return opened

    @translating
    async def check_leaving(self, user_id: str) -> None:
        """Raise Conflict where a domain would be left without an owner by that user's leaving."""
        await self._keep_owners(user_id)

    @translating
    async def forget(self, user_id: str) -> None:
        """Take a user who has gone out of the domains and of their mailboxes, which stay.

        Roles were taken before, by leave(); here are those that were given at that moment.
        """
        # By the version a change that is under way is known to be of what was before, and brings nothing back.
        nobodys = {"$set": {"user_id": None}, "$inc": {"version": 1}}
        await self._mailboxes.update_many({"user_id": user_id}, nobodys)
        await self._domains.update_many({"creator": user_id}, {"$unset": {"creator": ""}})
        await self._take_roles(user_id)

    # -- in transactions of others ---------------------------------------------------------------------------------

    async def hold(self, name: str, session: Session) -> Domain:
        """Return a domain that nobody else changes before the transaction ends. Raises NotFound."""
        return _found(
            await self._domains.find_one_and_update(
                {"_id": name}, {"$inc": {"held": 1}}, projection=_WITHOUT_CREDENTIALS, session=session
            )
        )

    async def set_roles(self, domain: Domain, roles: Mapping[str, Role], session: Session) -> None:
        """Store who manages a domain that is held."""
        update = {"$set": {"managers": _managers(roles)}, "$inc": {"version": 1}}
        await self._domains.update_one({"_id": domain.name}, update, session=session)

    async def leave(self, user_id: str, session: Session) -> None:
        """Take all roles of a user away. Raises Conflict where a domain would be left without an owner."""
        await self._keep_owners(user_id, session)
        await self._take_roles(user_id, session)

    async def _take_roles(self, user_id: str, session: Session | None = None) -> None:
        away = {"$pull": {"managers": {"user_id": user_id}}, "$inc": {"version": 1}}
        await self._domains.update_many(_of(user_id), away, session=session)

    async def _keep_owners(self, user_id: str, session: Session | None = None) -> None:
        documents = await self._domains.find(_of(user_id), _WITHOUT_CREDENTIALS, session=session).to_list(None)
        sole = [domain.name for domain in map(from_document, documents) if domain.is_sole_owner(user_id)]
        if sole:
            raise Conflict(
                f"You are the only owner of {', '.join(sorted(sole))}. Make somebody else an owner there first."
            )

    # -- the queue of checks ---------------------------------------------------------------------------------------

    @translating
    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Domain]:
        """Take domains whose check is due."""
        return [from_document(document) for document in await self._queue.claim(owner, now, lease, limit)]

    @translating
    async def renew(self, held: Collection[tuple[str, Domain]], until: datetime) -> None:
        """Extend the leases of these domains, each if its owner still holds it."""
        await self._queue.renew([(owner, domain.name) for owner, domain in held], until)

    async def release(self, held: Collection[tuple[str, Domain]], now: datetime) -> None:
        """Hand these domains back, due at once, each if its owner still holds it."""
        await self.renew(held, now)


def _of(user_id: str) -> Document:
    return {"managers.user_id": user_id}


def _found(document: Mapping[str, Any] | None) -> Domain:
    if document is None:
        raise _no_such_domain()
    return from_document(document)


def _no_such_domain() -> NotFound:
    return NotFound("There is no such domain.")


def _managers(roles: Mapping[str, Role]) -> list[Document]:
    return [{"user_id": user_id, "role": role.value} for user_id, role in roles.items()]


def _to_document(domain: Domain) -> Document:
    return {
        "_id": domain.name,
        "context": domain.context,
        "features": [feature.value for feature in domain.features],
        "status": domain.status.value,
        "dkim": {"selector": domain.dkim.selector, "public": domain.dkim.public},
        "managers": _managers(domain.roles),
        "date_insert": domain.date_insert,
        "checks": {name: _check_to_document(check) for name, check in domain.checks.items()},
        "records": [
            {"target": record.target, "type": record.type, "value": record.value} for record in domain.records
        ],
        "last_check": domain.last_check,
        "check_at": domain.check_at,
        "version": domain.version,
        "ours": domain.ours,
    }


def _check_to_document(check: DomainCheck) -> Document:
    faults = [{"code": fault.code, "detail": fault.detail} for fault in check.faults]
    return {"internal": check.internal, "faults": faults}


def from_document(document: Mapping[str, Any]) -> Domain:
    """Return the domain that a document is."""
    return Domain(
        name=document["_id"],
        context=document["context"],
        features=tuple(map(Feature, document["features"])),
        status=DomainStatus(document["status"]),
        dkim=DkimKey(**document["dkim"]),
        roles={each["user_id"]: Role(each["role"]) for each in document["managers"]},
        date_insert=document["date_insert"],
        checks={
            name: DomainCheck(check["internal"], tuple(Fault(**fault) for fault in check["faults"]))
            for name, check in document["checks"].items()
        },
        records=tuple(Record(**record) for record in document["records"]),
        last_check=document["last_check"],
        check_at=document["check_at"],
        version=document["version"],
        ours=document.get("ours", bool(document["records"])),  # of older versions those that have been hosted are
    )
