"""A rotation: new master key, new data key, and all credentials sealed anew, under running gateways.

1. A data key is made, sealed with a new master key: the one prepared in the key file, else one that is made; or
   that of the configured KMS. With that it is the current one, for every gateway asks which one is newest whenever
   it seals; those before it are retired.
2. The retired data keys are sealed with the new master key. From here on the old master key opens nothing.
3. Every value sealed with a retired data key is sealed with the current one, if it is still the value that was
   read: a client that changes it meanwhile wins.
4. After ``GRACE_S``, when whoever was about to write or read with a retired data key has done so or was told that
   it failed, step 3 is done for the last time.
5. The retired data keys are deleted, and the old master key is removed from the key file.

Killed anywhere, nothing is lost: what values are sealed with stays until nothing is. The next run finds retired
data keys and takes up at step 2. Several at once do no harm: each deletes only what it has seen retired before its
own time of grace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection

from bson.binary import UUID_SUBTYPE, Binary
from pymongo import ASCENDING, UpdateOne

from gateway.errors import Unavailable
from gateway.progress import Progress
from storage.keyring import LOCAL, drop_old_keys, ensure_next_key
from storage.mongo import Collection as Holder
from storage.mongo import Document, Mongo, translating
from storage.secrets import HOLDERS, Vault, generation_of

GRACE_S = 60.0
"""Five times as long as a store's method may take from the sealing of a value to its writing, or from the reading
of one to its opening (``Mongo.operation_s``)."""

_PAGE = 200  # documents; one page takes well under a second

Value = tuple[str | None, str, str]
"""Where a value is: user_id, if its document has one, ``_id``, and its key among the stored credentials."""


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
        self._keys = vault.keys
        self._holders = [(mongo.collection(name), sealed) for name, sealed in HOLDERS.items()]
        self._vault = vault
        self._keyring = vault.keyring
        self._grace_s = grace_s
        self._sleep = sleep

    async def run(self) -> AsyncGenerator[Progress, None]:
        """Rotate, or finish the rotation that was interrupted.

        Raises StartError when the key file or the KMS does not serve, Unavailable when the database does not answer
        or a value cannot be opened. It can be run again after each.
        """
        retired = await self._retired() or await self._begin()
        await self._rewrap(retired)
        async for progress in self._reseal("credentials", retired):
            yield progress
        async for progress in self._wait():
            yield progress
        async for progress in self._reseal("credentials, a last look", retired):
            yield progress
        await self._delete(retired)

    @translating
    async def _retired(self) -> set[bytes]:
        """Return the ids of all data keys that there is a newer one than."""
        # By one query: what another rotation makes between two would be neither current nor retired.
        data_keys = sorted(await self._keys.find().to_list(None), key=generation_of)
        return {bytes(data_key["_id"]) for data_key in data_keys[:-1]}

    @translating
    async def _begin(self) -> set[bytes]:
        """Make the next data key; return the ids of those that it retires."""
        current = await self._vault.current()
        if self._keyring.provider == LOCAL:
            ensure_next_key(self._keyring.key_file, current["masterKey"]["provider"])
        self._vault.refresh()
        await self._vault.make_data_key(generation_of(current) + 1)
        return await self._retired()

    @translating
    async def _rewrap(self, retired: Collection[bytes]) -> None:
        new = dict((await self._vault.current())["masterKey"])
        await self._vault.rewrap(_those(retired), new.pop("provider"), new)

    async def _wait(self) -> AsyncIterator[Progress]:
        """Return when the time of grace is over."""
        for second in range(int(self._grace_s)):
            yield Progress("waiting for running gateways", second, self._grace_s)
            await self._sleep(1)

    async def _reseal(self, part: str, retired: Collection[bytes]) -> AsyncIterator[Progress]:
        """Seal all values anew that are sealed with one of these data keys."""
        total, done = await self._count(), 0
        for holder, sealed in self._holders:
            last = ""
            while page := await self._page(holder, sealed, last):
                await self._reseal_page(holder, page, retired)
                done, last = done + len(page), page[-1]["_id"]
                yield Progress(part, done, max(total, done))

    @translating
    async def _count(self) -> int:
        return sum([await holder.count_documents(sealed) for holder, sealed in self._holders])

    @translating
    async def _page(self, holder: Holder, sealed: Document, after: str) -> list[Document]:
        # Page by page in place of one long cursor, which an election would end.
        where = sealed | {"_id": {"$gt": after}}
        found = holder.find(where, {"user_id": 1, "credentials": 1}).sort("_id", ASCENDING).limit(_PAGE)
        return await found.to_list(_PAGE)

    @translating
    async def _reseal_page(self, holder: Holder, page: list[Document], retired: Collection[bytes]) -> None:
        old: dict[Value, bytes] = {
            (document.get("user_id"), document["_id"], key): value
            for document in page
            for key, value in document["credentials"].items()
            if _data_key_of(value) in retired
        }
        if old:
            new = await self._vault.encrypt(await self._opened(holder, old))
            await holder.bulk_write([_update(at, old[at], new[at]) for at in old], ordered=False)

    async def _opened(self, holder: Holder, old: dict[Value, bytes]) -> dict[Value, str]:
        values: dict[Value, str] = {}
        for at, sealed in old.items():
            try:
                values |= await self._vault.decrypt({at: sealed})
            except Unavailable as error:
                raise Unavailable(
                    f"What {at[1]} in {holder.name} keeps sealed cannot be opened. Is a key missing, or the KMS"
                    " away? If it is damaged, delete that document. Then rotate again."
                ) from error
        return values

    @translating
    async def _delete(self, retired: Collection[bytes]) -> None:
        await self._keys.delete_many(_those(retired))
        current = (await self._vault.current())["masterKey"]["provider"]
        if current.startswith(LOCAL):
            used = {key["masterKey"]["provider"] async for key in self._keys.find()}
            drop_old_keys(self._keyring.key_file, current, used)


def _those(data_keys: Collection[bytes]) -> Document:
    return {"_id": {"$in": [Binary(key, UUID_SUBTYPE) for key in data_keys]}}


def _data_key_of(value: bytes) -> bytes:
    """Return the id of the data key that a value is sealed with.

    libmongocrypt's "BSON binary subtype 6": one byte for the kind of encryption, then the UUID of the data key.
    """
    return value[1:17]


def _update(at: Value, old: bytes, new: bytes) -> UpdateOne:
    user_id, key, name = at
    path = f"credentials.{name}"
    where = {"_id": key, path: old} | ({"user_id": user_id} if user_id else {})  # the sharding key of identities
    return UpdateOne(where, {"$set": {path: new}})
