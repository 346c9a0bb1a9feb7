"""Files in GridFS, written and read a chunk at a time.

The layout is GridFS's, so that the tools of MongoDB can read them, but not by the driver's own streams: those of
PyMongo 4 gather up to 48 MB before they write, and read in batches of 16 MB. The key of a file is the path of what
it belongs to, user first, and all of its chunks have it from the first on. So what belongs to a user or a message
is found by the path's beginning, down to the chunks of a file that a crash cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, IndexModel

from gateway.errors import NotFound, Unavailable
from gateway.ports import Content
from storage.mongo import Document, Mongo, translating

ATTACHMENTS = "attachments"
CHUNK_BYTES = 255 * 1024  # as the GridFS specification has it
_CLEAR_S = 2.0  # where the database is away somebody has waited for it already


def indexes(bucket: str) -> dict[str, list[IndexModel]]:
    """Return the indexes that a bucket needs; MongoDB makes that of the files' keys by itself."""
    return {f"{bucket}.chunks": [IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)]}


INDEXES = indexes(ATTACHMENTS)


class MongoFiles:
    """The core's Files. Each chunk has the time of one database operation."""

    def __init__(self, mongo: Mongo, bucket: str) -> None:
        self.operation_s = mongo.operation_s
        self._check_room = mongo.check_room
        self._files = mongo.collection(f"{bucket}.files")
        self._chunks = mongo.collection(f"{bucket}.chunks")

    async def put(self, path: Sequence[str], pieces: AsyncIterable[bytes]) -> int:
        """Store a file; return its size. Whatever ends it early, what was written is removed, if that is quick.

        The room on the disk is looked at before each chunk: others are stored at the same time.
        """
        self._check_room()
        key, size, number = key_of(path), 0, 0
        try:
            async for chunk in in_chunks(pieces):
                self._check_room()
                await self._add({"files_id": key, "n": number, "data": chunk})
                size, number = size + len(chunk), number + 1
            await self._finish(key, size)
        except BaseException:
            with suppress(Unavailable, TimeoutError):  # then it goes with what it belongs to, or is swept up
                async with asyncio.timeout(_CLEAR_S):
                    await self.delete(path)
            raise
        return size

    async def read(self, path: Sequence[str]) -> Content:
        """Return a file. Raises NotFound."""
        size = await self._size(key_of(path))
        return Content(size, self._pieces(key_of(path), size), tag=path[-1])

    @translating
    async def delete(self, path: Sequence[str]) -> None:
        """Remove a file, or all files below that path."""
        await self._files.delete_many({"_id": _below(path)})
        await self._chunks.delete_many({"files_id": _below(path)})

    @translating
    async def _add(self, chunk: Document) -> None:
        await self._chunks.insert_one(chunk)

    @translating
    async def _finish(self, key: str, size: int) -> None:
        """Make the file one: before this there are chunks only."""
        now = datetime.now(UTC)
        await self._files.insert_one({"_id": key, "length": size, "chunkSize": CHUNK_BYTES, "uploadDate": now})

    @translating
    async def _size(self, key: str) -> int:
        document = await self._files.find_one({"_id": key})
        if document is None:
            raise NotFound("There is no such file.")
        return int(document["length"])

    async def _pieces(self, key: str, size: int) -> AsyncIterator[bytes]:
        for number in range(-(-size // CHUNK_BYTES)):
            yield await self._chunk(key, number)

    @translating
    async def _chunk(self, key: str, number: int) -> bytes:
        chunk = await self._chunks.find_one({"files_id": key, "n": number})
        if chunk is None:
            raise NotFound("The file was removed while it was read.")
        return bytes(chunk["data"])


async def in_chunks(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the same bytes in chunks of the one size, the last one shorter; of nothing, none."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES])
            del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)


def key_of(path: Sequence[str]) -> str:
    """Return the path as one string; what lies below it begins with that."""
    return "".join(f"{part}/" for part in path)


def _below(path: Sequence[str]) -> Mapping[str, Any]:
    """Return a query for all keys that begin with the path; "0" is the character behind "/"."""
    return {"$gte": key_of(path), "$lt": f"{'/'.join(path)}0"}
