"""Pages of things that may be large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ports import Page, Portions
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from storage.portions import PORTION, SMALL, ListMemory, PortionedPages
from tests.asked import Asked

NAME = "parcels"
ORDER = [("at", -1), ("_id", 1)]
ME = "me"
LARGE = PORTION // 4
SIZES = [0, 100, SMALL - 200, SMALL, LARGE, LARGE, LARGE, LARGE, 2 * PORTION, 10, LARGE, 0]

Parcel = tuple[str, int]


def parcel(document: dict[str, Any]) -> Parcel:
    """Return what a document is about; what is secret is not there."""
    assert "secret" not in document
    return document["_id"], len(document["text"])


@pytest.fixture
async def asked() -> Asked:
    """What the store asks."""
    return Asked(NAME)


@pytest.fixture
async def pages(mongod: EmbeddedMongod, mongo: Mongo, asked: Asked) -> AsyncIterator[PortionedPages[Parcel]]:
    """The pages under test."""
    database = Mongo(mongod.uri, mongo.database.name, listeners=[asked])
    yield PortionedPages(database, NAME, parcel, ListMemory(), {"secret": 0})
    database.close()


async def store(mongo: Mongo, sizes: list[int], user_id: str = ME) -> list[Parcel]:
    """Store documents of that many letters; return them in the order of lists."""
    documents = [
        {"_id": f"{user_id}/{n:03}", "user_id": user_id, "at": -n, "kind": "x", "text": "x" * size, "secret": 1}
        for n, size in enumerate(sizes)
    ]
    if documents:
        await mongo.collection(NAME).insert_many(documents)
    return [(str(each["_id"]), len(str(each["text"]))) for each in documents]


async def read(found: Portions[Parcel]) -> list[list[Parcel]]:
    """Return the portions."""
    return [found.first, *([each async for each in found.rest] if found.rest else [])]


async def test_small(mongo: Mongo, pages: PortionedPages[Parcel], asked: Asked) -> None:
    """A full page of what is small is one question, beside the count."""
    stored = await store(mongo, [SMALL - 200] * 201)
    await store(mongo, [10], "another")
    assert await pages(ME, {}, ORDER, Page(limit=201)) == (201, Portions(stored))
    assert asked.count == {f"aggregate {NAME}": 1}
    assert await pages(ME, {}, ORDER, Page(limit=200)) == (201, Portions(stored[:200]))
    assert asked.count == {f"aggregate {NAME}": 3}


async def test_large(mongo: Mongo, pages: PortionedPages[Parcel], asked: Asked) -> None:
    """Of what is large as much is read at a time as a portion may have, in the order of the list."""
    stored = await store(mongo, SIZES)
    total, found = await pages(ME, {"kind": "x"}, ORDER, Page())
    portions = await read(found)
    assert total == len(stored)
    assert [each for portion in portions for each in portion] == stored
    assert portions[0] == stored[:3]
    assert all(len(portion) == 1 or sum(size for _, size in portion) <= PORTION for portion in portions[1:])
    assert asked.count == {f"aggregate {NAME}": len(portions)}
    assert [len(portion) for portion in portions] == [3, 4, 1, 1, 3]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(SIZES), max_size=12), st.integers(1, 12), st.integers(0, 12))
async def test_whole(
    mongo: Mongo, pages: PortionedPages[Parcel], sizes: list[int], limit: int, offset: int
) -> None:
    """Whatever is large of it, a page is what it would be at once."""
    await mongo.collection(NAME).delete_many({})
    stored = await store(mongo, sizes)
    total, found = await pages(ME, {}, ORDER, Page(limit, offset))
    assert (total, [each async for each in found]) == (len(stored), stored[offset : offset + limit])


async def test_together(mongo: Mongo, pages: PortionedPages[Parcel]) -> None:
    """Pages that are asked for in one moment are what each would be alone."""
    users = ["a", "b", "c"]
    stored = [await store(mongo, SIZES[number:], user) for number, user in enumerate(users)]
    found = await asyncio.gather(*(pages(user, {}, ORDER, Page()) for user in users))
    assert [[each async for each in portions] for _, portions in found] == stored


async def test_deleted_meanwhile(mongo: Mongo, pages: PortionedPages[Parcel]) -> None:
    """What is deleted, or is no longer of the list, before it was read is left out."""
    stored = await store(mongo, [LARGE] * 5)
    _, found = await pages(ME, {"kind": "x"}, ORDER, Page())
    await mongo.collection(NAME).delete_one({"_id": stored[1][0]})
    await mongo.collection(NAME).update_one({"_id": stored[3][0]}, {"$set": {"kind": "y"}})
    assert [each async for each in found] == [stored[0], stored[2], stored[4]]


async def test_grown_meanwhile(mongo: Mongo, pages: PortionedPages[Parcel]) -> None:
    """What has grown before it was read is read by itself, in its place."""
    stored = await store(mongo, [LARGE] * 4)
    _, found = await pages(ME, {}, ORDER, Page())
    await mongo.collection(NAME).update_one({"_id": stored[1][0]}, {"$set": {"text": "x" * PORTION}})
    stored[1] = (stored[1][0], PORTION)
    assert await read(found) == [[], stored[:1], stored[1:2], stored[2:]]


async def test_memory(mongo: Mongo, mongod: EmbeddedMongod) -> None:
    """A portion has its memory until the next is asked for, or nobody wants it any more; small pages need none."""
    database = Mongo(mongod.uri, mongo.database.name)
    pages = PortionedPages(database, NAME, parcel, ListMemory(portions=PORTION, share=PORTION), {"secret": 0})
    for user in ("a", "b"):
        await store(mongo, [LARGE] * 8, user)
    await store(mongo, [10], "c")
    (_, one), (_, other) = [await pages(user, {}, ORDER, Page()) for user in ("a", "b")]
    assert one.rest
    assert other.rest
    async with aclosing(one.rest) as rest:
        await anext(rest)
        waiting = asyncio.create_task(anext(other.rest))
        await pages("c", {}, ORDER, Page())
        assert not waiting.done()
    assert len(await waiting) == 3
    await other.rest.aclose()
    database.close()
