"""Writes of single documents, several in one call, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, WriteConcernError, WriteError

from storage.mongo import Collection, Document

_DUPLICATE_KEY = 11000
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
        return _answers(error, len(updates), _IMMUTABLE_FIELD)
    return [True] * len(updates)


async def insert_each(collection: Collection, documents: Sequence[Document]) -> Sequence[bool | Exception]:
    """Return for each document whether it is new, or its error. Raises what concerns all of them."""
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        return _answers(error, len(documents), _DUPLICATE_KEY)
    return [True] * len(documents)


def _answers(error: BulkWriteError, count: int, no: int) -> Sequence[bool | Exception]:
    """Return False for what failed with the code ``no``. Nothing of it may be tried again: the rest is stored."""
    answers: list[bool | Exception] = [True] * count
    for concern in error.details["writeConcernErrors"]:
        unsafe = WriteConcernError(concern.get("errmsg", ""), concern.get("code"), concern)
        answers = [unsafe] * count
    for fault in error.details["writeErrors"]:
        failed = WriteError(fault["errmsg"], fault["code"], fault)
        answers[fault["index"]] = False if fault["code"] == no else failed
    return answers
