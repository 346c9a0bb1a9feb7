"""Finding what is due, in a collection where every piece of work has a date and a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from pymongo import ASCENDING

from gateway.ports import Room
from storage.mongo import Collection, Document


async def find_due(
    collection: Collection, now: datetime, limit: int, room: Room, *, date: str, host: str
) -> Sequence[str]:
    """Return the keys of what has been due longest, of each host as many as there is room for.

    ``date`` and ``host`` are dotted paths. Where hosts are full, it is looked again for what is of others.
    """
    keys: list[str] = []
    busy = Counter(room.busy)
    while wanted := limit - len(keys):
        full = [name for name, count in busy.items() if count >= room.per_host]
        query = {date: {"$lte": now}, host: {"$nin": full}, "_id": {"$nin": keys}}
        found = await collection.find(query, {host: 1}).sort(date, ASCENDING).to_list(wanted)
        taken = []
        for document in found:
            name = _at(document, host)
            if busy[name] < room.per_host:
                busy[name] += 1
                taken.append(document["_id"])
        keys += taken
        if len(found) < wanted:
            break
    return keys


def _at(document: Document, path: str) -> str:
    value = document
    for key in path.split("."):
        value = value[key]
    return str(value)
