"""Finding what is due, in a collection where every piece of work has a date and one host or more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, IndexModel

from gateway.ports import Room
from storage.mongo import Collection, Document

_LOOKED_AT = 4  # times what is wanted: more keys of an index cost less than another question


def indexes_of_due(date: str, host: str, *hosts: str) -> Sequence[IndexModel]:
    """Return the indexes for :func:`find_due`, which hold all that it looks at.

    By the first it finds what is due longest, by the second what is due behind a long backlog of full hosts.
    """
    exists = {date: {"$exists": True}}
    orders = (date, host, *hosts, "_id"), (host, date, *hosts, "_id")
    return [IndexModel([(name, ASCENDING) for name in order], partialFilterExpression=exists) for order in orders]


async def find_due(
    collection: Collection, now: datetime, limit: int, room: Room, *, date: str, hosts: Sequence[str]
) -> Sequence[str]:
    """Return the keys of what has been due longest, of each host as many as there is room for.

    ``date`` and ``hosts`` are dotted paths. Where hosts have their share, it is looked again for what is of others.
    """
    keys: list[str] = []
    busy = Counter(room.busy)
    while wanted := limit - len(keys):
        full = [name for name, count in busy.items() if count >= room.share(len(keys))]
        query: Document = {date: {"$lte": now}}
        if full or keys:  # a question of another kind, for which the server finds the better index by itself
            query |= {**{host: {"$nin": full} for host in hosts}, "_id": {"$nin": keys}}
        most = _LOOKED_AT * wanted
        cursor = collection.find(query, dict.fromkeys(hosts, 1)).sort(date, ASCENDING).limit(most)
        found = await cursor.to_list(most)
        for document in found:
            names = {name for host in hosts if (name := _at(document, host)) is not None}
            if len(keys) < limit and all(busy[name] < room.share(len(keys)) for name in names):
                busy.update(names)
                keys.append(document["_id"])
        if len(found) < most:
            break
    return keys


def _at(document: Document, path: str) -> str | None:
    """Return the host there, None where there is none, as in what a version before this one has stored."""
    value: Any = document
    for key in path.split("."):
        value = value.get(key)
    return None if value is None else str(value)
