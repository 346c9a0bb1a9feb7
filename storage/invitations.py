"""Invitations to manage domains, with hashes of the tokens that accept them; the database removes expired ones.

A token is 256 random bits, so a plain SHA-256 is enough, as in storage/tokens.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from gateway.domain import Domain, require_room
from gateway.errors import Conflict, Forbidden, NotFound
from gateway.invitation import Invitation
from gateway.notice import Notice
from gateway.ports import Page
from gateway.roles import Role, require_change
from storage.domains import MongoDomains
from storage.mongo import Document, Mongo, Session, translating
from storage.notices import MongoNotices
from storage.pages import Pages

INVITATIONS = "invitations"
INDEXES = {
    INVITATIONS: [
        IndexModel([("domain", ASCENDING), ("email", ASCENDING)], unique=True),
        IndexModel([("email", ASCENDING)]),
        IndexModel([("token", ASCENDING)], partialFilterExpression={"token": {"$exists": True}}),
        IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
    ]
}


class MongoInvitations:
    """The core's Invitations."""

    def __init__(self, mongo: Mongo, domains: MongoDomains, notices: MongoNotices) -> None:
        self._mongo = mongo
        self.operation_s = mongo.operation_s
        self._invitations = mongo.collection(INVITATIONS)
        self._pages = Pages(mongo, INVITATIONS)
        self._domains = domains
        self._notices = notices

    async def add(self, invitation: Invitation, notice: Notice | None) -> None:
        """Store an invitation, and that a mail is to tell of it, in one transaction. Raises Conflict."""
        now = invitation.date_insert
        pair = {"domain": invitation.domain, "email": invitation.email}

        async def all_of_it(session: Session) -> None:
            await self._invitations.delete_one({**pair, "expires_at": {"$lte": now}}, session=session)
            await self._clear_void(pair, session)
            await self._invitations.insert_one(_to_document(invitation), session=session)
            if notice:
                await self._notices.insert(notice, now, session)

        try:
            await self._mongo.in_transaction(all_of_it)
        except DuplicateKeyError as error:
            raise Conflict(
                f"{invitation.email} is invited to this domain already. Take that invitation back first."
            ) from error

    async def _clear_void(self, pair: Document, session: Session) -> None:
        """Remove an invitation that gives nothing any more: it stands in nobody's way."""
        document = await self._invitations.find_one(pair, session=session)
        if document is None:
            return
        there = _from_document(document)
        if not _is_backed(there, await self._domains.hold(there.domain, session)):
            await self._invitations.delete_one(pair, session=session)

    async def list(self, domain: str, now: datetime, page: Page) -> tuple[int, Sequence[Invitation]]:
        """Return how many there are to a domain and a page of them, oldest first."""
        where = {"domain": domain, **_valid(now)}
        order = [("date_insert", ASCENDING), ("_id", ASCENDING)]
        total, documents = await self._pages(where, order, page)
        return total, [_from_document(document) for document in documents]

    @translating
    async def get(self, domain: str, invitation_id: str, now: datetime) -> Invitation:
        """Return an invitation. Raises NotFound."""
        where = {"_id": invitation_id, "domain": domain, **_valid(now)}
        return _found(await self._invitations.find_one(where))

    @translating
    async def delete(self, domain: str, invitation_id: str) -> None:
        """Take an invitation back. Raises NotFound."""
        gone = await self._invitations.delete_one({"_id": invitation_id, "domain": domain})
        if not gone.deleted_count:
            raise _no_such_invitation()

    @translating
    async def set_token(self, invitation_id: str, token: str) -> bool:
        """Let this token, and no other, accept the invitation; stored is its hash.

        False when there is none, or it gives nothing any more.
        """
        document = await self._invitations.find_one({"_id": invitation_id})
        if document is None:
            return False
        if not _is_backed(_from_document(document), await self._domains.get(document["domain"])):
            return False
        update = {"$set": {"token": _hash(token)}}
        return (await self._invitations.update_one({"_id": invitation_id}, update)).matched_count == 1

    @translating
    async def of_token(self, token: str, now: datetime) -> Invitation:
        """Return the invitation that the token accepts. Raises NotFound."""
        return _found(await self._invitations.find_one({"token": _hash(token), **_valid(now)}))

    @translating
    async def of_addresses(self, addresses: Collection[str], now: datetime) -> Sequence[Invitation]:
        """Return the invitations of these addresses."""
        found = self._invitations.find({"email": {"$in": list(addresses)}, **_valid(now)})
        return [_from_document(document) async for document in found]

    async def accept(self, invitation: Invitation, user_id: str) -> Role:
        """Remove the invitation and give the user its role, unless there is a higher one already; return that.

        It is judged while nobody changes the roles: an administrator who is removed does not come back by an
        invitation of his own, to an address that he has got meanwhile.
        """

        async def both(session: Session) -> Role | None:
            gone = await self._invitations.delete_one({"_id": invitation.invitation_id}, session=session)
            if not gone.deleted_count:
                raise _no_such_invitation()
            domain = await self._domains.hold(invitation.domain, session)
            if not _is_backed(invitation, domain):
                return None  # an error would bring it back
            present = domain.roles.get(user_id)
            if present and present.rank >= invitation.role.rank:
                return present
            if not present:
                require_room(domain)
            await self._domains.set_roles(domain, {**domain.roles, user_id: invitation.role}, session)
            return invitation.role

        role = await self._mongo.in_transaction(both)
        if role is None:
            raise _no_such_invitation()
        return role


def _is_backed(invitation: Invitation, domain: Domain) -> bool:
    """True when who has invited may still give that role."""
    try:
        require_change(domain.roles.get(invitation.invited_by), None, invitation.role)
    except (NotFound, Forbidden):
        return False
    return True


def _valid(now: datetime) -> Document:
    """Return what finds those that have not expired: the database removes them about once a minute."""
    return {"expires_at": {"$gt": now}}


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _found(document: Mapping[str, Any] | None) -> Invitation:
    if document is None:
        raise _no_such_invitation()
    return _from_document(document)


def _no_such_invitation() -> NotFound:
    return NotFound("There is no such invitation.")


def _to_document(invitation: Invitation) -> Document:
    return {
        "_id": invitation.invitation_id,
        "domain": invitation.domain,
        "email": invitation.email,
        "role": invitation.role.value,
        "invited_by": invitation.invited_by,
        "date_insert": invitation.date_insert,
        "expires_at": invitation.expires_at,
    }


def _from_document(document: Mapping[str, Any]) -> Invitation:
    return Invitation(
        invitation_id=document["_id"],
        domain=document["domain"],
        email=document["email"],
        role=Role(document["role"]),
        invited_by=document["invited_by"],
        date_insert=document["date_insert"],
        expires_at=document["expires_at"],
    )
