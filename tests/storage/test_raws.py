"""The store of RFC 5322 bytes: small ones in documents, large ones in files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.errors import NotFound
from gateway.notice import GATEWAY_ID
from storage.files import CHUNK_BYTES
from storage.mongo import Mongo
from storage.raws import INDEXES, MongoRaws
from storage.secrets import INDEXES as KEYS
from storage.secrets import Vault

USER, MESSAGE = str(uuid4()), str(uuid4())
LARGE = 1_000_000
# More than a document holds, in MongoDB.
HUGE = 17 * 1024 * 1024


@pytest.fixture
async def store(mongo: Mongo, tmp_path: Path) -> AsyncIterator[MongoRaws]:
    """The store under test, with memory for two large ones."""
    await mongo.ensure_indexes(INDEXES | KEYS)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    yield MongoRaws(mongo, vault, memory=2 * LARGE)
    await vault.close()


async def pieces_of(size: int) -> AsyncIterator[bytes]:
    """Yield so many bytes."""
    while size:
        yield b"x" * min(size, 65_536)
        size -= min(size, 65_536)


async def put(store: MongoRaws, size: int, user_id: str = USER) -> str:
    """Store so many bytes; return their id."""
    raw_msg_id = str(uuid4())
    await store.put(user_id, MESSAGE, raw_msg_id, pieces_of(size))
    return raw_msg_id


@pytest.mark.parametrize("size", [0, 2000, CHUNK_BYTES - 1, CHUNK_BYTES, LARGE, HUGE])
async def test_round_trip(store: MongoRaws, size: int) -> None:
    """What is stored comes back, whole and in pieces, until it is deleted."""
    raw_msg_id = await put(store, size)
    async with store.held(USER, raw_msg_id) as raw:
        assert raw == b"x" * size
    content = await store.read(USER, raw_msg_id)
    assert (content.size, content.tag) == (size, raw_msg_id)
    assert sum([len(piece) async for piece in content.pieces]) == size
    await store.delete(USER, raw_msg_id)
    with pytest.raises(NotFound):
        await store.read(USER, raw_msg_id)


@pytest.mark.parametrize("size", [2000, LARGE])
async def test_of_one_user(store: MongoRaws, size: int) -> None:
    """Nobody else reads or deletes them."""
    raw_msg_id = await put(store, size)
    with pytest.raises(NotFound):
        await store.read("other", raw_msg_id)
    with pytest.raises(NotFound):
        async with store.held("other", raw_msg_id):
            pass
    await store.delete("other", raw_msg_id)
    assert (await store.read(USER, raw_msg_id)).size == size


async def test_small_ones_are_documents(store: MongoRaws, mongo: Mongo) -> None:
    """One document holds a usual message, so that it takes one write."""
    await put(store, 2000)
    assert await mongo.collection("raws").count_documents({}) == 1
    assert await mongo.collection("raws.chunks").count_documents({}) == 0


@pytest.mark.parametrize("size", [2000, LARGE])
async def test_of_the_gateway(store: MongoRaws, mongo: Mongo, size: int) -> None:
    """The gateway's own mails come back as they were, and nothing of them is in the database in clear."""
    raw_msg_id = await put(store, size, GATEWAY_ID)
    async with store.held(GATEWAY_ID, raw_msg_id) as raw:
        assert raw == b"x" * size
    assert (await store.read(GATEWAY_ID, raw_msg_id)).size == size
    for name in await mongo.database.list_collection_names():
        async for batch in mongo.collection(name).find_raw_batches():
            assert b"x" * 20 not in batch


async def test_memory_is_bounded(store: MongoRaws) -> None:
    """Who wants to hold a large one while there is no memory waits, in turn; small ones are there at once."""
    large = [await put(store, LARGE) for _ in range(4)]
    small = await put(store, 2000)
    held: list[str] = []
    ready, release = asyncio.Queue[str](), asyncio.Event()

    async def hold(raw_msg_id: str) -> None:
        async with store.held(USER, raw_msg_id):
            held.append(raw_msg_id)
            ready.put_nowait(raw_msg_id)
            await release.wait()
            held.remove(raw_msg_id)

    tasks = [asyncio.create_task(hold(each)) for each in large]
    await ready.get()
    await ready.get()
    async with store.held(USER, small) as raw:
        assert len(raw) == 2000
    assert len(held) == 2
    release.set()
    await asyncio.gather(*tasks)
    assert not held


async def test_larger_than_the_memory(store: MongoRaws) -> None:
    """One that needs more memory than there is gets all of it, and others after it what it gave back."""
    huge, large = await put(store, HUGE), await put(store, LARGE)
    for raw_msg_id, size in ((huge, HUGE), (large, LARGE)):
        async with store.held(USER, raw_msg_id) as raw:
            assert len(raw) == size


async def test_who_gives_up_waiting(store: MongoRaws) -> None:
    """A canceled wait takes no memory and holds up nobody."""
    huge, large = await put(store, HUGE), await put(store, LARGE)

    async def hold(raw_msg_id: str) -> int:
        async with store.held(USER, raw_msg_id) as raw:
            return len(raw)

    async with store.held(USER, huge):
        waiting = [asyncio.create_task(hold(large)) for _ in range(2)]
        await asyncio.wait(waiting, timeout=0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
    assert await waiting[1] == LARGE
