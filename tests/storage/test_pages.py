"""Pages of a list."""

from __future__ import annotations

import asyncio

from gateway.ports import Page
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from storage.pages import Pages
from tests.asked import Asked

ORDER = [("size", -1), ("_id", 1)]


async def test_total(mongo: Mongo) -> None:
    """A page tells the total whichever part of the list it is."""
    await mongo.collection("numbers").insert_many([{"_id": n} for n in range(5)])
    pages = Pages(mongo, "numbers")
    for page, expected in {
        Page(limit=10): (5, [0, 1, 2, 3, 4]),
        Page(limit=2): (5, [0, 1]),
        Page(limit=2, offset=3): (5, [3, 4]),
        Page(limit=2, offset=4): (5, [4]),
        Page(limit=2, offset=9): (5, []),
    }.items():
        total, documents = await pages({}, [("_id", 1)], page)
        assert (total, [each["_id"] for each in documents]) == expected
    assert await pages({"_id": 99}, [("_id", 1)], Page()) == (0, [])


async def test_together(mongod: EmbeddedMongod, mongo: Mongo) -> None:
    """First pages asked for in one moment are what each would be alone, in its order, by one query."""
    letters = [{"_id": n, "of": n % 4, "size": n * 7 % 5, "secret": "x"} for n in range(40)]
    await mongo.collection("letters").insert_many(letters)
    asked = Asked("letters")
    database = Mongo(mongod.uri, "test", listeners=[asked])
    pages = Pages(database, "letters", {"secret": 0})
    queries = [({"of": of}, Page(limit=limit)) for of in range(5) for limit in (1, 5, 50)]
    alone = [await pages(where, ORDER, page) for where, page in queries]
    asked.count.clear()
    together = await asyncio.gather(*(pages(where, ORDER, page) for where, page in queries))
    database.close()
    assert together == alone
    assert asked.count["aggregate letters"] == 1 + _counts(alone)


def _counts(pages: list[tuple[int, list[dict[str, object]]]]) -> int:
    """Return for how many pages the total had to be counted, which is an aggregation, too."""
    return sum(total > len(documents) for total, documents in pages)
