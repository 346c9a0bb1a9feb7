"""A rotation: new master key, new data key, and all credentials sealed anew, under running gateways.

1. A data key is made, sealed with a new master key: the one prepared in the key file, else one that is made; or
   that of the configured KMS.
2. In one transaction it becomes the current data key, and the one before is retired. Every gateway asks which one
   is current whenever it seals.
3. The retired data key is sealed with the new master key. From here on the old master key opens nothing.
4. Every value sealed with a retired data key is sealed with the current one, if it is still the value that was
   read: a client that changes it meanwhile wins.
5. After ``GRACE_S``, when whoever was about to write or read with the retired data key has done so or was told that
   it failed, step 4 is done for the last time.
6. The retired data key is deleted, and the old master key is removed from the key file.

Killed anywhere, nothing is lost: what values are sealed with stays until nothing is. The next run takes up at
step 2 what was begun. Several at once do no harm; each deletes only what has been retired for long enough and what
its own last pass has left no value of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass

from bson.binary import Binary
from pymongo import ASCENDING, UpdateOne

from gateway.errors import StartError, Unavailable
from storage.identities import IDENTITIES
from storage.keyring import LOCAL, drop_old_keys, ensure_next_key
from storage.mongo import Document, Mongo, Session, translating
from storage.secrets import CURRENT, KEYS, SEALED, Vault

GRACE_S = 60.0
"""Six times as long as a store's method may take from the sealing of a value to its writing, or from the reading of
one to its opening (``Mongo.operation_s``)."""

_NEXT = "next"
_RETIRED: Document = {"keyAltNames": {"$exists": False}}
"""What finds retired data keys: they have no name, and ``updateDate`` says since when, or later: it is also that of
their sealing with the new master key. libmongocrypt allows for no field of ours in these documents."""

_PAGE = 200  # documents; one page takes well under a second
_WAIT_S = 1.0

Value = tuple[str, str, str]
"""Where a value is: user_id, identity_id, and its key among the credentials as it is stored."""


@dataclass(frozen=True)
class Progress:
    """How far one part of a rotation is: ``done`` of ``total``."""

    part: str
    done: float
    total: float


class Rotation:
    """Rotates the keys of one database."""

    def __init__(
        self,
        mongo: Mongo,
        vault: Vault,
        *,
        grace_s: float = GRACE_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """``vault`` is open. ``grace_s`` may be 0 where no gateway is running."""
        self.operation_s = mongo.operation_s
        self._mongo = mongo
        self._keys = mongo.collection(KEYS)
        self._identities = mongo.collection(IDENTITIES)
        self._vault = vault
        self._keyring = vault.keyring
        self._grace_ms = int(grace_s * 1000)
        self._sleep = sleep

    async def run(self) -> AsyncGenerator[Progress, None]:
        """Rotate, or finish the rotation that was interrupted.

        Raises StartError when the key file or the KMS does not serve, Unavailable when the database does not answer
        or a value cannot be opened. It can be run again after each.
        """
        if not await self._begun():
            await self._begin()
        await self._promote()
        await self._rewrap()
        async for progress in self._reseal("credentials", await self._retired()):
            yield progress
        async for progress in self._wait():
            yield progress
        retired = await self._retired(self._grace_ms)
        async for progress in self._reseal("credentials, a last look", retired):
            yield progress
        await self._delete(retired)

    @translating
    async def _begun(self) -> bool:
        return await self._keys.find_one({"$or": [_RETIRED, {"keyAltNames": _NEXT}]}) is not None

    @translating
    async def _begin(self) -> None:
        if self._keyring.provider == LOCAL:
            ensure_next_key(self._keyring.key_file, (await self._current())["masterKey"]["provider"])
        self._vault.refresh()
        await self._vault.make_data_key(_NEXT)

    async def _promote(self) -> None:
        async def change_over(session: Session) -> None:
            successor = await self._keys.find_one({"keyAltNames": _NEXT}, session=session)
            if successor is not None:
                retire = {"$unset": {"keyAltNames": ""}, "$currentDate": {"updateDate": True}}
                await self._keys.update_one({"keyAltNames": CURRENT}, retire, session=session)
                promote = {"$set": {"keyAltNames": [CURRENT]}}
                await self._keys.update_one({"_id": successor["_id"]}, promote, session=session)

        await self._mongo.in_transaction(change_over)

    @translating
    async def _rewrap(self) -> None:
        new = (await self._current())["masterKey"]
        old = _RETIRED | {"masterKey": {"$ne": new}}
        await self._vault.rewrap(old, new["provider"], {name: new[name] for name in new if name != "provider"})

    @translating
    async def _current(self) -> Document:
        current = await self._keys.find_one({"keyAltNames": CURRENT})
        if current is None:
            raise StartError("The database holds no data key. Start a gateway on it first, which makes one.")
        return current

    @translating
    async def _retired(self, for_ms: int = 0) -> set[bytes]:
        """Return the data keys that were retired that long ago, by the database's clock."""
        before = {"$lte": ["$updateDate", {"$subtract": ["$$NOW", for_ms]}]}
        return {bytes(key["_id"]) async for key in self._keys.find(_RETIRED | {"$expr": before})}

    async def _wait(self) -> AsyncIterator[Progress]:
        """Return when all retired data keys have been so for the time of grace."""
        while (left := await self._grace_left_s()) > 0:
            yield Progress("waiting for running gateways", self._grace_ms / 1000 - left, self._grace_ms / 1000)
            await self._sleep(min(left, _WAIT_S))

    @translating
    async def _grace_left_s(self) -> float:
        left = {"$subtract": [{"$add": ["$updateDate", self._grace_ms]}, "$$NOW"]}
        found = self._keys.aggregate([{"$match": _RETIRED}, {"$group": {"_id": None, "ms": {"$max": left}}}])
        return max([0.0] + [float(group["ms"]) / 1000 async for group in found])

    async def _reseal(self, part: str, retired: Collection[bytes]) -> AsyncIterator[Progress]:
        """Seal all values anew that are sealed with one of these data keys."""
        total = await self._count()
        done, last = 0, ""
        while page := await self._page(last):
            await self._reseal_page(page, retired)
            done, last = done + len(page), page[-1]["_id"]
            yield Progress(part, done, max(total, done))

    @translating
    async def _count(self) -> int:
        return await self._identities.count_documents(SEALED)

    @translating
    async def _page(self, after: str) -> list[Document]:
        # Page by page in place of one long cursor, which an election would end.
        where = SEALED | {"_id": {"$gt": after}}
        found = self._identities.find(where, {"user_id": 1, "credentials": 1}).sort("_id", ASCENDING).limit(_PAGE)
        return await found.to_list(_PAGE)

    @translating
    async def _reseal_page(self, page: list[Document], retired: Collection[bytes]) -> None:
        old: dict[Value, bytes] = {
            (document["user_id"], document["_id"], key): value
            for document in page
            for key, value in document["credentials"].items()
            if _data_key_of(value) in retired
        }
        if old:
            new = await self._vault.encrypt(await self._opened(old))
            await self._identities.bulk_write([_update(at, old[at], new[at]) for at in old], ordered=False)

    async def _opened(self, old: dict[Value, bytes]) -> dict[Value, str]:
        values: dict[Value, str] = {}
        for at, sealed in old.items():
            try:
                values |= await self._vault.decrypt({at: sealed})
            except Unavailable as error:
                raise Unavailable(
                    f"The credentials of the identity {at[1]} cannot be opened. Is a key missing, or the KMS away?"
                    " If it is damaged, delete that identity. Then rotate again."
                ) from error
        return values

    @translating
    async def _delete(self, retired: Collection[bytes]) -> None:
        await self._keys.delete_many({"_id": {"$in": [Binary(key, 4) for key in retired]}})
        current = (await self._current())["masterKey"]["provider"]
        if current.startswith(LOCAL):
            used = {key["masterKey"]["provider"] async for key in self._keys.find()}
            drop_old_keys(self._keyring.key_file, current, used)


def _data_key_of(value: bytes) -> bytes:
    """Return the id of the data key that a value is sealed with.

    libmongocrypt's "BSON binary subtype 6": one byte for the kind of encryption, then the UUID of the data key.
    """
    return value[1:17]


def _update(at: Value, old: bytes, new: bytes) -> UpdateOne:
    user_id, identity_id, key = at
    path = f"credentials.{key}"
    return UpdateOne({"_id": identity_id, "user_id": user_id, path: old}, {"$set": {path: new}})
