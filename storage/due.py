"""Finding what is due, in a collection where every piece of work has a date and a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from pymongo import ASCENDING, IndexModel

from gateway.ports import Room
from storage.mongo import Collection, Document

_LOOKED_AT = 4  # times what is wanted: more keys of an index cost less than another question


def indexes_of_due(date: str, host: str) -> Sequence[IndexModel]:
    """Return the indexes for :func:`find_due`, which hold all that it looks at.

    By the first it finds what is due longest, by the second what is due behind a long backlog of full hosts.
    """
    exists = {date: {"$exists": True}}
    orders = (date, host, "_id"), (host, date, "_id")
    return [IndexModel([(name, ASCENDING) for name in order], partialFilterExpression=exists) for order in orders]


async def find_due(
    collection: Collection, now: datetime, limit: int, room: Room, *, date: str, host: str
) -> Sequence[str]:
    """Return the keys of what has been due longest, of each host as many as there is room for.

    ``date`` and ``host`` are dotted paths. Where hosts have their share, it is looked again for what is of others.
    """
    keys: list[str] = []
    busy = Counter(room.busy)
    while wanted := limit - len(keys):
        full = [name for name, count in busy.items() if count >= room.share(len(keys))]
        query: Document = {date: {"$lte": now}}
        if full or keys:  # a question of another kind, for which the server finds the better index by itself
            query |= {host: {"$nin": full}, "_id": {"$nin": keys}}
        most = _LOOKED_AT * wanted
        found = await collection.find(query, {host: 1}).sort(date, ASCENDING).limit(most).to_list(most)
        for document in found:
            name = _at(document, host)
            if len(keys) < limit and busy[name] < room.share(len(keys)):
                busy[name] += 1
                keys.append(document["_id"])
        if len(found) < most:
            break
    return keys


def _at(document: Document, path: str) -> str:
    value = document
    for key in path.split("."):
        value = value[key]
    return str(value)
