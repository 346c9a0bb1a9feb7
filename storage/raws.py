"""RFC 5322 bytes of ordered messages, the sender's own copies.

Most are small and stand in one document, as fast as can be. The large ones, of which a document could not hold some
(16 MB), are files; each has a document all the same, before its first chunk, so that what a crash cut off is found.
``path`` says what the bytes belong to, as with files.

The gateway's own mails are small, and sealed: one-time secrets stand in them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from datetime import UTC, datetime

from pymongo import ASCENDING, IndexModel

from gateway.notice import GATEWAY_ID
from gateway.ports import Content, joined
from storage.files import CHUNK_BYTES, MongoFiles, in_chunks, indexes, key_of
from storage.grouped import Grouped
from storage.mongo import Document, Mongo, translating
from storage.secrets import Vault

RAWS = "raws"
INDEXES = {
    RAWS: [IndexModel([("user_id", ASCENDING)]), IndexModel([("path", ASCENDING)])],
    **indexes(RAWS),
}


class MongoRaws:
    """The core's Raws."""

    def __init__(self, mongo: Mongo, vault: Vault) -> None:
        self.operation_s = mongo.operation_s
        self._check_room = mongo.check_room
        self.files = MongoFiles(mongo, RAWS)
        self._raws = mongo.collection(RAWS)
        self._vault = vault
        self._document = Grouped(self._documents)

    async def put(self, user_id: str, message_id: str, raw_msg_id: str, pieces: AsyncIterable[bytes]) -> None:
        """Store the bytes of a message under a fresh id."""
        self._check_room()
        chunks = in_chunks(pieces)
        first = await anext(chunks, b"")
        is_small = len(first) < CHUNK_BYTES
        document = {
            "_id": raw_msg_id,
            "user_id": user_id,
            "path": key_of((user_id, message_id, raw_msg_id)),
            "at": datetime.now(UTC),
        }
        if user_id == GATEWAY_ID:
            whole = b"".join([piece async for piece in joined(first, chunks)])
            await self._add(document | {"credentials": await self._vault.encrypt({"raw": whole.decode()})})
            return
        await self._add(document | {"raw": first if is_small else None})
        if not is_small:
            await self.files.put((user_id, raw_msg_id), joined(first, chunks))

    async def read(self, user_id: str, raw_msg_id: str) -> Content:
        """Return the bytes, to be read piece by piece. Raises NotFound."""
        small = await self._small(user_id, raw_msg_id)
        if small is None:
            return await self.files.read((user_id, raw_msg_id))
        return Content(len(small), joined(small), tag=raw_msg_id)

    @translating
    async def delete(self, user_id: str, raw_msg_id: str) -> None:
        """Remove the bytes, if they are there."""
        await self.files.delete((user_id, raw_msg_id))
        await self._raws.delete_one({"_id": raw_msg_id, "user_id": user_id})

    @translating
    async def _add(self, document: Document) -> None:
        await self._raws.insert_one(document)

    async def _small(self, user_id: str, raw_msg_id: str) -> bytes | None:
        document = await self._document(raw_msg_id)
        if document is None or document["user_id"] != user_id:
            return None
        if sealed := document.get("credentials"):
            return (await self._vault.decrypt(sealed))["raw"].encode()
        return None if document["raw"] is None else bytes(document["raw"])

    @translating
    async def _documents(self, raw_msg_ids: Sequence[str]) -> Sequence[Document | None]:
        found = {each["_id"]: each async for each in self._raws.find({"_id": {"$in": list(raw_msg_ids)}})}
        return [found.get(raw_msg_id) for raw_msg_id in raw_msg_ids]
