"""Users and their password hashes. The lower-case name is unique."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from gateway.errors import Conflict, NotFound
from gateway.identity import UserIdentity
from gateway.user import User
from storage.identities import MongoIdentities
from storage.mongo import Document, Mongo, Session, translating

USERS = "users"
INDEXES = {USERS: [IndexModel([("name_key", ASCENDING)], unique=True)]}


class MongoUsers:
    """The core's Users."""

    def __init__(self, mongo: Mongo, identities: MongoIdentities) -> None:
        self._mongo = mongo
        self.operation_s = mongo.operation_s
        self._users = mongo.collection(USERS)
        self._identities = identities

    async def add(self, user: User, password_hash: str, first_identity: UserIdentity) -> None:
        """Store the user and the first identity in one transaction. Raises Conflict when the name is taken."""
        document = _to_document(user, password_hash)

        async def both(session: Session) -> None:
            await self._users.insert_one(document, session=session)
            await self._identities.insert(first_identity, {}, user.date_insert, session)

        try:
            await self._mongo.in_transaction(both)
        except DuplicateKeyError as error:
            raise Conflict("This user name is taken.") from error

    @translating
    async def get(self, user_id: str) -> User:
        """Return a user. Raises NotFound."""
        document = await self._users.find_one({"_id": user_id})
        if document is None:
            raise NotFound("There is no such user.")
        return _from_document(document)

    @translating
    async def find(self, username: str) -> tuple[User, str] | None:
        """Return the user of that name, compared without case, with the password hash."""
        document = await self._users.find_one({"name_key": username.lower()})
        return (_from_document(document), document["password_hash"]) if document else None


def _to_document(user: User, password_hash: str) -> Document:
    return {
        "_id": user.user_id,
        "name_key": user.username.lower(),
        "username": user.username,
        "display_name": user.display_name,
        "recovery_email": user.recovery_email,
        "date_insert": user.date_insert,
        "password_hash": password_hash,
    }


def _from_document(document: Mapping[str, Any]) -> User:
    return User(
        user_id=document["_id"],
        username=document["username"],
        display_name=document["display_name"],
        recovery_email=document["recovery_email"],
        date_insert=document["date_insert"],
    )
