"""Updates of single documents, each if the document still is as somebody saw it, several in one write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from storage.mongo import Collection, Document

_IMMUTABLE_FIELD = 66
_NEVER_INSERTED = {"$setOnInsert": {"_id": None}}


class Update(NamedTuple):
    """What to change of the document that ``where`` finds by its ``_id`` and, for sharded clusters, its owner."""

    where: Document
    change: Document


async def update_each(collection: Collection, updates: Sequence[Update]) -> Sequence[bool]:
    """Return for each update whether there was such a document. Raises the driver's errors.

    A write of several tells how many matched, but which ones only where each that did not is an error. So each is
    an upsert, and of a document that cannot be: another ``_id`` than the one that it is looked for by.
    """
    if len(updates) == 1:  # its errors say more than those of a bulk
        return [(await collection.update_one(*updates[0])).matched_count == 1]
    bulk = [UpdateOne(where, change | _NEVER_INSERTED, upsert=True) for where, change in updates]
    try:
        await collection.bulk_write(bulk, ordered=False)
    except BulkWriteError as error:
        missed = {fault["index"] for fault in error.details["writeErrors"] if fault["code"] == _IMMUTABLE_FIELD}
        if len(missed) < len(error.details["writeErrors"]) or error.details["writeConcernErrors"]:
            raise
        return [index not in missed for index in range(len(updates))]
    return [True] * len(updates)
