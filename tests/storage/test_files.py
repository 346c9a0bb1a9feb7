"""The store of files: GridFS, a chunk at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from gridfs import GridFSBucket
from pymongo import MongoClient

from gateway.errors import NotFound, Unavailable
from storage.embedded import EmbeddedMongod
from storage.files import ATTACHMENTS, CHUNK_BYTES, INDEXES, MongoFiles
from storage.mongo import Document, Mongo

USER, MESSAGE = str(uuid4()), str(uuid4())
PATH = (USER, MESSAGE, "file")


@pytest.fixture
async def store(mongo: Mongo) -> MongoFiles:
    """The store under test."""
    await mongo.ensure_indexes(INDEXES)
    return MongoFiles(mongo, ATTACHMENTS)


async def pieces_of(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    """Yield the bytes in pieces."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def stored(mongo: Mongo) -> int:
    """Return how many documents the bucket has."""
    names = (f"{ATTACHMENTS}.files", f"{ATTACHMENTS}.chunks")
    return sum([await mongo.collection(name).count_documents({}) for name in names])


async def read(store: MongoFiles, path: Sequence[str] = PATH) -> bytes:
    """Return a file."""
    content = await store.read(path)
    whole = b"".join([piece async for piece in content.pieces])
    assert len(whole) == content.size
    return whole


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 1_000_000])
async def test_round_trip(store: MongoFiles, size: int) -> None:
    """What is stored comes back, whatever its size."""
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert await store.put(PATH, pieces_of(content)) == size
    assert await read(store) == content


async def test_it_is_gridfs(store: MongoFiles, mongo: Mongo, mongod: EmbeddedMongod) -> None:
    """The driver's own GridFS reads the file."""
    await store.put(PATH, pieces_of(b"x" * 600_000))

    def read_by_driver() -> bytes:
        client: MongoClient[Document]
        with MongoClient(mongod.uri) as client:
            bucket = GridFSBucket(client[mongo.database.name], ATTACHMENTS)
            return bucket.open_download_stream(f"{USER}/{MESSAGE}/file/").read()

    assert await asyncio.to_thread(read_by_driver) == b"x" * 600_000


async def test_chunks_are_stored_as_they_come(store: MongoFiles, mongo: Mongo) -> None:
    """No more than a chunk is kept in memory: the next piece is asked for when those before it are stored."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            assert await stored(mongo) == number
            yield b"x" * CHUNK_BYTES

    await store.put(PATH, pieces())


class Broken(Exception):
    """What brought it never ends well."""


async def broken() -> AsyncIterator[bytes]:
    """Yield two chunks, then fail."""
    yield b"x" * 2 * CHUNK_BYTES
    raise Broken


async def test_broken_off(store: MongoFiles, mongo: Mongo) -> None:
    """Of a file whose bytes end with an error nothing is left."""
    with pytest.raises(Broken):
        await store.put(PATH, broken())
    assert await stored(mongo) == 0


async def test_no_room(store: MongoFiles, mongo: Mongo, mongod: EmbeddedMongod) -> None:
    """A file during which the disk becomes full is refused, and nothing of it is left."""
    room = iter([True, True, True, False])
    full = Mongo(mongod.uri, mongo.database.name, has_room=lambda: next(room))
    with pytest.raises(Unavailable, match="nearly full"):
        await MongoFiles(full, ATTACHMENTS).put(PATH, pieces_of(b"x" * 5 * CHUNK_BYTES))
    assert await stored(mongo) == 0
    full.close()


async def test_canceled(store: MongoFiles, mongo: Mongo) -> None:
    """Of a file whose storing is canceled nothing is left."""
    waiting = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 2 * CHUNK_BYTES
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put(PATH, endless()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stored(mongo) == 0


async def test_nobody_elses(store: MongoFiles) -> None:
    """A file is found under its whole path only."""
    await store.put(PATH, pieces_of(b"x"))
    for path in [(USER, MESSAGE), (USER, "file"), (str(uuid4()), MESSAGE, "file"), (USER, MESSAGE, "fil")]:
        with pytest.raises(NotFound):
            await store.read(path)


async def test_delete(store: MongoFiles, mongo: Mongo) -> None:
    """All below a path goes, also the chunks of a file that a crash cut off, and nothing beside it."""
    others = [(USER, "other", "file"), ("other", MESSAGE, "file"), (USER, f"{MESSAGE}0", "file")]
    for path in [PATH, (USER, MESSAGE, "second"), *others]:
        await store.put(path, pieces_of(b"x"))
    orphan = {"files_id": f"{USER}/{MESSAGE}/third/", "n": 0, "data": b"x"}
    await mongo.collection(f"{ATTACHMENTS}.chunks").insert_one(orphan)
    await store.delete((USER, MESSAGE))
    assert [await read(store, path) for path in others] == [b"x"] * 3
    assert await stored(mongo) == 6
    await store.delete((USER,))
    assert await stored(mongo) == 2


async def test_removed_while_it_is_read(store: MongoFiles) -> None:
    """Who reads a file that is removed meanwhile is told, and does not take half of it for the whole."""
    await store.put(PATH, pieces_of(b"x" * 2 * CHUNK_BYTES))
    content = await store.read(PATH)
    assert await anext(content.pieces)
    await store.delete(PATH)
    with pytest.raises(NotFound):
        await anext(content.pieces)
