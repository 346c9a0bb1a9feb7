"""The store of RFC 5322 bytes: small ones in documents, large ones in files."""

from __future__ import annotations

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
    """The store under test."""
    await mongo.ensure_indexes(INDEXES | KEYS)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    yield MongoRaws(mongo, vault)
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
    """What is stored comes back, in pieces of which none is large, until it is deleted."""
    raw_msg_id = await put(store, size)
    content = await store.read(USER, raw_msg_id)
    assert (content.size, content.tag) == (size, raw_msg_id)
    pieces = [piece async for piece in content.pieces]
    assert b"".join(pieces) == b"x" * size
    assert max(map(len, pieces)) <= CHUNK_BYTES
    await store.delete(USER, raw_msg_id)
    with pytest.raises(NotFound):
        await store.read(USER, raw_msg_id)


@pytest.mark.parametrize("size", [2000, LARGE])
async def test_of_one_user(store: MongoRaws, size: int) -> None:
    """Nobody else reads or deletes them."""
    raw_msg_id = await put(store, size)
    with pytest.raises(NotFound):
        await store.read("other", raw_msg_id)
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
    content = await store.read(GATEWAY_ID, raw_msg_id)
    assert [piece async for piece in content.pieces] == [b"x" * size]
    assert content.size == size
    for name in await mongo.database.list_collection_names():
        async for batch in mongo.collection(name).find_raw_batches():
            assert b"x" * 20 not in batch
