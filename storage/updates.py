"""Writes of single documents, several in one call, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, WriteError

from storage.mongo import Collection, Document, is_unavailable

DUPLICATE_KEY = 11000
_IMMUTABLE_FIELD = 66
_NEVER_INSERTED = {"$setOnInsert": {"_id": None}}


class Update(NamedTuple):
    """What to change of the document that ``where`` finds by its ``_id`` and, for sharded clusters, its owner."""

    where: Document
    change: Document


async def update_each(collection: Collection, updates: Sequence[Update]) -> Sequence[bool | Exception]:
    """Return for each update whether there was such a document, or its error. Raises what concerns all of them.

    A write of several tells how many matched, but which ones only where each that did not is an error. So each is
    an upsert, and of a document that cannot be: another ``_id`` than the one that it is looked for by.
    """
    if len(updates) == 1:  # its errors say more than those of a bulk
        return [(await collection.update_one(*updates[0])).matched_count == 1]
    bulk = [UpdateOne(where, change | _NEVER_INSERTED, upsert=True) for where, change in updates]
    try:
        await collection.bulk_write(bulk, ordered=False)
    except BulkWriteError as error:
        return answers(error, len(updates), _IMMUTABLE_FIELD)
    return [True] * len(updates)


async def insert_each(collection: Collection, documents: Sequence[Document]) -> Sequence[bool | Exception]:
    """Return for each document whether it is new, or its error. Raises what concerns all of them."""
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        return answers(error, len(documents), DUPLICATE_KEY)
    return [True] * len(documents)


def answers(error: BulkWriteError, count: int, no: int) -> Sequence[bool | Exception]:
    """Return what became of each of so many writes: False for what failed with the code ``no``, or the fault.

    None of them may be tried again, for the rest is stored. Raises the error where it is the database's trouble.
    """
    if is_unavailable(error):
        raise error
    became: list[bool | Exception] = [True] * count
    for fault in error.details["writeErrors"]:
        failed = WriteError(fault["errmsg"], fault["code"], fault)
        became[fault["index"]] = False if fault["code"] == no else failed
    return became
