"""Updates that each stand or fall by themselves."""

from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import BulkWriteError, WriteError

from storage.grouped import Grouped
from storage.mongo import Mongo
from storage.updates import DUPLICATE_KEY, Update, answers, insert_each, update_each

CHANGE = {"$set": {"word": "new"}, "$inc": {"version": 1}}


async def test_each_by_itself(mongo: Mongo) -> None:
    """Of several, those whose document is as they say are stored and no others, and nothing is made."""
    numbers = mongo.collection("numbers")
    await numbers.insert_many([{"_id": n, "version": n % 2} for n in range(6)])
    seen_as_0 = [Update({"_id": n, "version": 0}, CHANGE) for n in range(8)]
    assert await update_each(numbers, seen_as_0) == [n % 2 == 0 and n < 6 for n in range(8)]
    assert await update_each(numbers, seen_as_0[:1]) == [False]
    stored = {each["_id"]: each["version"] async for each in numbers.find()}
    assert stored == dict.fromkeys(range(6), 1)


async def test_of_one_document(mongo: Mongo) -> None:
    """Of many that saw the same version, in one write or in several at once, exactly one is stored."""
    numbers = mongo.collection("numbers")
    await numbers.insert_one({"_id": 1, "version": 0})
    grouped: Grouped[Update, bool] = Grouped(lambda updates: update_each(numbers, updates))
    for version in range(20):
        seen = Update({"_id": 1, "version": version}, CHANGE)
        assert sum(await asyncio.gather(*(grouped(seen) for _ in range(250)))) == 1
    assert await numbers.find_one({"_id": 1}) == {"_id": 1, "version": 20, "word": "new"}


async def test_other_faults(mongo: Mongo) -> None:
    """What the server refuses for another reason fails with it, by itself; the others are stored, once."""
    numbers = mongo.collection("numbers")
    await numbers.insert_many([{"_id": 1, "word": "text"}, {"_id": 2}])
    grouped: Grouped[Update, bool] = Grouped(lambda updates: update_each(numbers, updates))
    more = [Update({"_id": n}, {"$inc": {"word": 1}}) for n in (1, 2, 3)]
    first, second, third = await asyncio.gather(*map(grouped, more), return_exceptions=True)
    assert isinstance(first, WriteError)
    assert (second, third) == (True, False)
    assert await numbers.find_one({"_id": 2}) == {"_id": 2, "word": 1}


async def test_inserts(mongo: Mongo) -> None:
    """Of several new documents those whose key is there already are not stored, and all others are."""
    numbers = mongo.collection("numbers")
    await numbers.insert_one({"_id": 2, "word": "old"})
    documents = [{"_id": n, "word": "new"} for n in (1, 2, 3, 3)]
    assert await insert_each(numbers, documents) == [True, False, True, False]
    stored = {each["_id"]: each["word"] async for each in numbers.find()}
    assert stored == {1: "new", 2: "old", 3: "new"}


def test_trouble_of_the_database() -> None:
    """Where what is stored may be lost, nobody is told that it is stored, nor that it is not."""
    trouble = BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 50, "errmsg": "no majority"}]})
    with pytest.raises(BulkWriteError):
        answers(trouble, 2, DUPLICATE_KEY)
