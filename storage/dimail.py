"""The clients of the dimail-compatible face, the domains that they are allowed on, the key that signs their tokens.

There is always somebody who can manage the accounts: what takes an administrator away writes to another one in the
same transaction, so that of two who take each other away one is run again, and finds nobody.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from gateway.api_client import Allow, ApiClient, Perm
from gateway.errors import Conflict, NotFound
from storage.mongo import Document, Mongo, Session, translating
from storage.secrets import Vault

CLIENTS = "dimail_users"
ALLOWS = "dimail_allows"
SETTINGS = "dimail"
INDEXES = {
    CLIENTS: [IndexModel([("first", ASCENDING)], unique=True, partialFilterExpression={"first": True})],
    ALLOWS: [
        IndexModel([("client", ASCENDING), ("domain", ASCENDING)], unique=True),
        IndexModel([("domain", ASCENDING)]),
    ],
}
_KEY_BYTES = 32  # as many as HMAC-SHA-256 has: RFC 7518 §3.2
_KEY = "key"


class MongoApiClients:
    """The core's ApiClients."""

    def __init__(self, mongo: Mongo, vault: Vault) -> None:
        self._mongo = mongo
        self.operation_s = mongo.operation_s
        self._clients = mongo.collection(CLIENTS)
        self._allows = mongo.collection(ALLOWS)
        self._settings = mongo.collection(SETTINGS)
        self._vault = vault

    # -- accounts --------------------------------------------------------------------------------------------------

    @translating
    async def is_empty(self) -> bool:
        """True when there is no account at all."""
        return await self._clients.find_one({}, {"_id": 1}) is None

    @translating
    async def add_first(self, client: ApiClient) -> bool:
        """Store an account if there is none at all; True when so. Of two at once one is the first."""
        if await self._clients.find_one({}, {"_id": 1}) is not None:
            return False
        try:
            await self._clients.insert_one(_to_document(client) | {"first": True})
        except DuplicateKeyError:
            return False
        return True

    @translating
    async def add(self, client: ApiClient) -> None:
        """Store an account. Raises Conflict when the name is taken."""
        try:
            await self._clients.insert_one(_to_document(client))
        except DuplicateKeyError as error:
            raise Conflict("User already exists") from error

    @translating
    async def find(self, name: str) -> ApiClient | None:
        """Return the account of that name."""
        document = await self._clients.find_one({"_id": name})
        return _from_document(document) if document else None

    @translating
    async def list(self) -> Sequence[ApiClient]:
        """Return all accounts, by name."""
        return [_from_document(document) async for document in self._clients.find().sort("_id", ASCENDING)]

    async def change(self, before: ApiClient, after: ApiClient) -> bool:
        """Store an account if it is still as before; True when so. Raises Conflict: no administrator is left."""

        async def both(session: Session) -> bool:
            if before.is_admin and not after.is_admin:
                await self._hold_another(before, session)
            done = await self._clients.update_one(
                _to_document(before), {"$set": _to_document(after)}, session=session
            )
            return done.matched_count == 1

        return await self._mongo.in_transaction(both)

    async def delete(self, client: ApiClient) -> bool:
        """Remove an account with its allows if it is still so; True when it was. Raises Conflict as change()."""

        async def all_of_it(session: Session) -> bool:
            await self._hold_another(client, session)
            gone = await self._clients.delete_one(_to_document(client), session=session)
            if gone.deleted_count:
                await self._allows.delete_many({"client": client.name}, session=session)
            return gone.deleted_count == 1

        return await self._mongo.in_transaction(all_of_it)

    async def _hold_another(self, client: ApiClient, session: Session) -> None:
        another = {"_id": {"$ne": client.name}} | ({"is_admin": True} if client.is_admin else {})
        held = await self._clients.update_one(another, {"$inc": {"held": 1}}, session=session)
        if not held.matched_count:
            raise Conflict("That is the last account that can manage others. Make another one first.")

    # -- allows ----------------------------------------------------------------------------------------------------

    async def allow(self, allow: Allow) -> None:
        """Store an allow. Raises NotFound (no such account), Conflict (it is there already)."""
        try:
            await self._mongo.in_transaction(functools.partial(insert_allow, self._mongo, allow))
        except DuplicateKeyError as error:
            raise Conflict("Allow already exists") from error

    @translating
    async def is_allowed(self, allow: Allow) -> bool:
        """True when there is that allow."""
        where = {"client": allow.client, "domain": allow.domain}
        return await self._allows.find_one(where, {"_id": 1}) is not None

    @translating
    async def allows(self, client: str | None, domain: str | None) -> Sequence[Allow]:
        """Return the allows, of one account or on one domain where given, in order."""
        where = {key: value for key, value in (("client", client), ("domain", domain)) if value is not None}
        found = self._allows.find(where).sort([("client", ASCENDING), ("domain", ASCENDING)])
        return [Allow(document["client"], document["domain"]) async for document in found]

    @translating
    async def disallow(self, allow: Allow) -> None:
        """Remove an allow. Raises NotFound."""
        gone = await self._allows.delete_one({"client": allow.client, "domain": allow.domain})
        if not gone.deleted_count:
            raise NotFound("Allow not found")

    # -- the key of tokens -----------------------------------------------------------------------------------------

    @translating
    async def signing_key(self) -> str:
        """Return the key that signs tokens, the same for all processes; the first to ask makes it."""
        where: Document = {"_id": "tokens"}
        document = await self._settings.find_one(where)
        if document is None:
            sealed = await self._vault.encrypt({_KEY: secrets.token_urlsafe(_KEY_BYTES)})
            with suppress(DuplicateKeyError):  # another process was first
                await self._settings.insert_one(where | {"credentials": sealed})
            document = await self._settings.find_one(where)
        opened = await self._vault.decrypt((document or {})["credentials"])
        return opened[_KEY]


async def insert_allow(mongo: Mongo, allow: Allow, session: Session) -> None:
    """Store an allow, in a transaction. Raises NotFound (no such account) and the driver's errors."""
    held = await mongo.collection(CLIENTS).update_one({"_id": allow.client}, {"$inc": {"held": 1}}, session=session)
    if not held.matched_count:
        raise NotFound("User not found")
    document = {"client": allow.client, "domain": allow.domain}
    await mongo.collection(ALLOWS).insert_one(document, session=session)


def _to_document(client: ApiClient) -> Document:
    return {
        "_id": client.name,
        "client_id": client.client_id,
        "is_admin": client.is_admin,
        "perms": sorted(perm.value for perm in client.perms),
        "password_hash": client.password_hash,
    }


def _from_document(document: Mapping[str, Any]) -> ApiClient:
    return ApiClient(
        name=document["_id"],
        client_id=document["client_id"],
        is_admin=document["is_admin"],
        perms=frozenset(map(Perm, document["perms"])),
        password_hash=document["password_hash"],
    )
