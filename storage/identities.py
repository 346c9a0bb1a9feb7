"""UserIdentities, with their credentials encrypted beside them.

A partial unique index keeps one identity per user, identifier and protocol among those that are not deleted. It
begins with ``user_id``, the sharding key, so that it holds on a sharded cluster too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from gateway.errors import Conflict, NotFound
from gateway.identity import Credentials, IdentityStatus, IdentityType, UserIdentity
from gateway.ports import Clock, Page
from storage.mongo import Document, Mongo, Session, page_of, translating
from storage.secrets import Vault

IDENTITIES = "identities"
_LIVING = {"$in": [IdentityStatus.ACTIVE.value, IdentityStatus.INACTIVE.value]}
INDEXES = {
    IDENTITIES: [
        IndexModel(
            [("user_id", ASCENDING), ("identifier", ASCENDING), ("protocol", ASCENDING)],
            unique=True,
            partialFilterExpression={"status": _LIVING},
        )
    ]
}
_WITHOUT_CREDENTIALS = {"credentials": 0}


class MongoIdentities:
    """The core's Identities."""

    def __init__(self, mongo: Mongo, vault: Vault, clock: Clock) -> None:
        self.operation_s = mongo.operation_s
        self._identities = mongo.collection(IDENTITIES)
        self._vault = vault
        self._clock = clock

    @translating
    async def add(self, identity: UserIdentity, credentials: Credentials) -> None:
        """Store an identity. Raises Conflict when the user has its identifier and protocol already."""
        encrypted = await self._vault.encrypt(credentials.values)
        await self.insert(identity, encrypted, self._clock())

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

    @translating
    async def get(self, user_id: str, identity_id: str) -> UserIdentity:
        """Return an identity of the user. Raises NotFound."""
        document = await self._identities.find_one(_one(user_id, identity_id), _WITHOUT_CREDENTIALS)
        return _found(document)

    @translating
    async def list(
        self, user_id: str, filters: Mapping[str, str], page: Page
    ) -> tuple[int, Sequence[UserIdentity]]:
        """Return how many there are and a page of them, oldest first. ``filters``: type, status, protocol."""
        where = {"user_id": user_id, "status": _LIVING, **{key: str(value) for key, value in filters.items()}}
        order = [("date_insert", ASCENDING), ("_id", ASCENDING)]
        total, documents = await page_of(self._identities, where, order, page, _WITHOUT_CREDENTIALS)
        return total, [_from_document(document) for document in documents]

    @translating
    async def credentials(self, user_id: str, identity_id: str) -> Credentials:
        """Return the decrypted credentials, empty where there are none. Raises NotFound."""
        document = await self._identities.find_one(_one(user_id, identity_id), {"credentials": 1})
        if document is None:
            raise NotFound("There is no such identity.")
        return Credentials(await self._vault.decrypt(_unescaped(document["credentials"])))

    @translating
    async def change(
        self, before: UserIdentity, after: UserIdentity, credentials: Credentials | None, *, exactly: bool
    ) -> bool:
        """Store what ``after`` changes, and the credentials unless None, if no client changed it since ``before``.

        Only the keys of ``infos`` that differ are touched: workers write theirs at the same time.
        """
        changes = {key: after.infos.get(key) for key in {**before.infos, **after.infos}}
        update = _infos_update({k: v for k, v in changes.items() if before.infos.get(k) != v})
        update["$set"] |= {"display_name": after.display_name, "status": after.status.value}
        if credentials is not None:
            update["$set"]["credentials"] = _escaped(await self._vault.encrypt(credentials.values))
        update["$inc"] = {"version": 1}
        return (await self._identities.update_one(_unchanged(before, exactly=exactly), update)).matched_count == 1

    @translating
    async def delete(self, identity: UserIdentity, *, exactly: bool) -> bool:
        """Mark it deleted and destroy its credentials, at once. Raises NotFound."""
        where = _unchanged(identity, exactly=True) if exactly else _one(identity.user_id, identity.identity_id)
        gone = {"status": IdentityStatus.DELETED.value, "credentials": {}, "infos": {}}
        if (await self._identities.update_one(where, {"$set": gone})).matched_count:
            return True
        if not exactly:
            raise NotFound("There is no such identity.")
        return False

    @translating
    async def record_check(
        self, identity: UserIdentity, at: datetime, changes: Mapping[str, str | None]
    ) -> UserIdentity:
        """Store the end of a check: ``last_check`` and worker-managed ``infos`` (None removes a key)."""
        update = _infos_update(changes)
        update["$set"]["last_check"] = at
        document = await self._identities.find_one_and_update(
            _one(identity.user_id, identity.identity_id),
            update,
            projection=_WITHOUT_CREDENTIALS,
            return_document=ReturnDocument.AFTER,
        )
        return _found(document)


def _one(user_id: str, identity_id: str) -> Document:
    return {"_id": identity_id, "user_id": user_id, "status": _LIVING}


def _unchanged(identity: UserIdentity, *, exactly: bool) -> Document:
    """Return what finds the identity if no client, and ``exactly`` no worker, has changed it since it was read.

    Whatever a worker writes comes with a new ``last_check``.
    """
    where = _one(identity.user_id, identity.identity_id) | {"version": identity.version}
    return where | {"last_check": identity.last_check} if exactly else where


def _infos_update(changes: Mapping[str, str | None]) -> Document:
    """Return the update that sets keys of ``infos``, or removes them where the value is None."""
    values = _escaped(changes)
    update: Document = {"$set": {f"infos.{key}": value for key, value in values.items() if value is not None}}
    if removed := {f"infos.{key}": "" for key, value in values.items() if value is None}:
        update["$unset"] = removed
    return update


def _found(document: Mapping[str, Any] | None) -> UserIdentity:
    if document is None:
        raise NotFound("There is no such identity.")
    return _from_document(document)


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
    )


def _escaped(values: Mapping[str, Any]) -> Document:
    """Return a map whose keys a dotted path can name: clients choose keys, and '.' and '$' have a meaning there."""
    return {key.replace("%", "%25").replace(".", "%2E").replace("$", "%24"): value for key, value in values.items()}


def _unescaped(values: Mapping[str, Any]) -> Document:
    return {key.replace("%24", "$").replace("%2E", ".").replace("%25", "%"): value for key, value in values.items()}
