"""RFC 5322 bytes of ordered messages, the sender's own copies."""

from __future__ import annotations

from gateway.errors import NotFound
from storage.mongo import Mongo, translating

RAWS = "raws"


class MongoRaws:
    """The core's Raws."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._raws = mongo.collection(RAWS)

    @translating
    async def put(self, user_id: str, raw_msg_id: str, raw: bytes) -> None:
        """Store the bytes under a fresh id."""
        await self._raws.insert_one({"_id": raw_msg_id, "user_id": user_id, "raw": raw})

    @translating
    async def get(self, user_id: str, raw_msg_id: str) -> bytes:
        """Return the bytes. Raises NotFound."""
        document = await self._raws.find_one({"_id": raw_msg_id, "user_id": user_id})
        if document is None:
            raise NotFound("There is no such message.")
        return bytes(document["raw"])

    @translating
    async def delete(self, user_id: str, raw_msg_id: str) -> None:
        """Remove the bytes, if they are there."""
        await self._raws.delete_one({"_id": raw_msg_id, "user_id": user_id})
