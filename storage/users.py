"""Users, their password hashes, and who of them is signed in.

A name is unique without regard to case and never given again: what is unique is a hash of it, which stays when the
user and with it the name is erased. Whatever issues tokens writes to the user's document in the same transaction,
and so does a change of the password or a deletion: of two at once one is run again, and sees what the other did.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from gateway.errors import Conflict, NotFound
from gateway.identity import UserIdentity
from gateway.user import Tokens, User
from storage.domains import MongoDomains
from storage.erasures import MongoErasures
from storage.holding import USERS
from storage.identities import MongoIdentities
from storage.mongo import Document, Mongo, Session, translating
from storage.tokens import MongoTokens

INDEXES = {USERS: [IndexModel([("name_key", ASCENDING)], unique=True)]}
_PAGE = 1000  # documents


class MongoUsers:
    """The core's Users."""

    def __init__(
        self,
        mongo: Mongo,
        identities: MongoIdentities,
        tokens: MongoTokens,
        erasures: MongoErasures,
        domains: MongoDomains,
    ) -> None:
        self._mongo = mongo
        self.operation_s = mongo.operation_s
        self._users = mongo.collection(USERS)
        self._identities = identities
        self._tokens = tokens
        self._erasures = erasures
        self._domains = domains

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
        document = await self._users.find_one({"_id": user_id, "username": {"$exists": True}})
        if document is None:
            raise NotFound("There is no such user.")
        return _from_document(document)

    @translating
    async def find(self, username: str) -> tuple[User, str] | None:
        """Return the user of that name, compared without case, with the password hash."""
        document = await self._users.find_one({"name_key": _name_key(username), "username": {"$exists": True}})
        return (_from_document(document), document["password_hash"]) if document else None

    @translating
    async def is_taken(self, username: str) -> bool:
        """True when a user has or had that name, compared without case."""
        return await self._users.find_one({"name_key": _name_key(username)}, {"_id": 1}) is not None

    async def walk(self) -> AsyncIterator[User]:
        """Yield all users. Raises Unavailable."""
        last = ""
        while page := await self._page(last):
            for document in page:
                yield _from_document(document)
            last = page[-1]["_id"]

    @translating
    async def _page(self, after: str) -> Sequence[Document]:
        found = self._users.find({"_id": {"$gt": after}, "username": {"$exists": True}})
        return await found.sort("_id", ASCENDING).limit(_PAGE).to_list(_PAGE)

    @translating
    async def names(self, user_ids: Collection[str]) -> Mapping[str, str]:
        """Return the names of these users, as far as they are there, by user_id."""
        where = {"_id": {"$in": list(user_ids)}, "username": {"$exists": True}}
        return {each["_id"]: each["username"] async for each in self._users.find(where, {"username": 1})}

    @translating
    async def reserve(self, username: str) -> bool:
        """Keep a name from being given; False where a user has it."""
        where = {"name_key": _name_key(username)}
        named = await self._users.find_one_and_update(
            where, {"$setOnInsert": {"_id": str(uuid4())}}, upsert=True, return_document=ReturnDocument.AFTER
        )
        return "username" not in named

    async def issue(self, user_id: str, password_hash: str, tokens: Tokens, most: int = sys.maxsize) -> bool:
        """Store a pair of tokens if the user is there and has this password hash still; True when it was.

        Of more than ``most`` pairs the oldest are void.
        """

        async def hold_and_insert(session: Session) -> bool:
            held = await self._users.update_one(
                {"_id": user_id, "password_hash": password_hash}, {"$inc": {"issued": 1}}, session=session
            )
            if held.matched_count:
                await self._tokens.insert(user_id, tokens, session)
                await self._tokens.keep_newest(user_id, most, session)
            return held.matched_count == 1

        return await self._mongo.in_transaction(hold_and_insert)

    async def renew(self, refresh_token: str, tokens: Tokens, now: datetime) -> User | None:
        """Put a new pair in the place of that of an unexpired refresh token; return whose it is, or None."""

        async def swap(session: Session) -> Document | None:
            old = await self._tokens.take(refresh_token, now, session)
            if old is None:
                return None
            held = await self._users.find_one_and_update(
                {"_id": old["user_id"]}, {"$inc": {"issued": 1}}, session=session
            )
            if held is not None:
                await self._tokens.insert(old["user_id"], tokens, session)
            return held

        document = await self._mongo.in_transaction(swap)
        if document is None:
            return None
        self._tokens.forget(document["_id"])
        return _from_document(document)

    @translating
    async def change(self, before: User, after: User) -> bool:
        """Store display name and recovery address if they are still as before; True when they were."""
        values = {"display_name": after.display_name, "recovery_email": after.recovery_email}
        return (await self._users.update_one(_unchanged(before), {"$set": values})).matched_count == 1

    async def change_password(self, before: User, after: User, hashes: tuple[str, str], access_token: str) -> bool:
        """As change(), with the password hash, old and new; voids all tokens but the pair of ``access_token``."""
        old, new = hashes
        values = {
            "display_name": after.display_name,
            "recovery_email": after.recovery_email,
            "password_hash": new,
        }

        async def both(session: Session) -> bool:
            where = _unchanged(before) | {"password_hash": old}
            changed = await self._users.update_one(where, {"$set": values}, session=session)
            if changed.matched_count:
                await self._tokens.void(before.user_id, session, keep=access_token)
            return changed.matched_count == 1

        done = await self._mongo.in_transaction(both)
        self._tokens.forget(before.user_id)
        return done

    async def check_leaving(self, user_id: str) -> None:
        """Raise Conflict where a domain would be left without an owner by the user's deletion."""
        await self._domains.check_leaving(user_id)

    async def retire(self, before: User, password_hash: str, erase_again_at: datetime) -> bool:
        """Turn the user into the hash of its name, take roles and tokens away, note that the rest is to be erased.

        All of it or nothing. False, and nothing changed, when the user is no longer as before. Raises Conflict
        where a domain would be left without an owner.
        """

        async def all_of_it(session: Session) -> bool:
            where = _unchanged(before) | {"password_hash": password_hash}
            gone = await self._users.delete_one(where, session=session)
            if gone.deleted_count:
                retired = {"_id": str(uuid4()), "name_key": _name_key(before.username)}
                await self._users.insert_one(retired, session=session)
                await self._domains.leave(before.user_id, session)
                await self._tokens.void(before.user_id, session)
                await self._erasures.insert(before.user_id, erase_again_at, session)
            return gone.deleted_count == 1

        done = await self._mongo.in_transaction(all_of_it)
        self._tokens.forget(before.user_id)
        return done


def _name_key(username: str) -> str:
    return sha256(username.lower().encode("utf-8", "surrogatepass")).hexdigest()


def _unchanged(user: User) -> Document:
    return {"_id": user.user_id, "display_name": user.display_name, "recovery_email": user.recovery_email}


def _to_document(user: User, password_hash: str) -> Document:
    return {
        "_id": user.user_id,
        "name_key": _name_key(user.username),
        "username": user.username,
        "display_name": user.display_name,
        "recovery_email": user.recovery_email,
        "date_insert": user.date_insert,
        "password_hash": password_hash,
        "issued": 0,
    }


def _from_document(document: Mapping[str, Any]) -> User:
    return User(
        user_id=document["_id"],
        username=document["username"],
        display_name=document["display_name"],
        recovery_email=document["recovery_email"],
        date_insert=document["date_insert"],
    )
