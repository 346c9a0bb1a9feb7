"""The aliases of hosted domains: one document for each pair of address and destination.

One that is being added has a date until when; where that has passed, nobody knows whether the backend has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from gateway.errors import Conflict, NotFound
from gateway.mailbox import Alias
from gateway.ports import Page
from storage.mongo import Document, Mongo, translating
from storage.pages import Pages

ALIASES = "aliases"
_ORDER = [("domain", ASCENDING), ("local_part", ASCENDING), ("destination", ASCENDING)]
INDEXES = {ALIASES: [IndexModel(_ORDER, unique=True)]}


class MongoAliases:
    """The core's Aliases."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._aliases = mongo.collection(ALIASES)
        self._pages = Pages(mongo, ALIASES)

    @translating
    async def begin(self, alias: Alias, now: datetime, until: datetime) -> bool:
        """Store an alias that is being added until then; True where that was begun before."""
        adding = {"adding_until": until}
        overdue = _to_document(alias) | {"adding_until": {"$lte": now}}
        if (await self._aliases.update_one(overdue, {"$set": adding})).matched_count:
            return True
        try:
            await self._aliases.insert_one(_to_document(alias) | adding)
        except DuplicateKeyError as error:
            raise Conflict(f"Mail to {alias.email} goes to {alias.destination} already.") from error
        return False

    @translating
    async def add(self, alias: Alias) -> None:
        """Store an alias; one that was being added is there from now on."""
        await self._aliases.update_one(_to_document(alias), {"$unset": {"adding_until": 1}}, upsert=True)

    @translating
    async def give_up(self, alias: Alias, until: datetime, now: datetime, *, forget: bool) -> None:
        """Let an alias, if it is being added until then, not be added any more; ``forget``: and not be there."""
        adding = _to_document(alias) | {"adding_until": until}
        if forget:
            await self._aliases.delete_one(adding)
        else:
            await self._aliases.update_one(adding, {"$set": {"adding_until": now}})

    @translating
    async def get(self, domain: str, local_part: str, destination: str) -> Alias:
        """Return an alias. Raises NotFound."""
        document = await self._aliases.find_one(_to_document(Alias(domain, local_part, destination)))
        if document is None:
            raise _no_such_alias()
        return _from_document(document)

    async def list(self, domain: str, page: Page, local_part: str | None = None) -> tuple[int, Sequence[Alias]]:
        """Return how many aliases there are, of one local part where given, and a page of them, in order."""
        where = {"domain": domain} if local_part is None else {"domain": domain, "local_part": local_part}
        total, documents = await self._pages(where, _ORDER, page)
        return total, [_from_document(document) for document in documents]

    @translating
    async def delete(self, alias: Alias) -> None:
        """Remove an alias. Raises NotFound."""
        if not (await self._aliases.delete_one(_to_document(alias))).deleted_count:
            raise _no_such_alias()


def _no_such_alias() -> NotFound:
    return NotFound("There is no such alias.")


def _to_document(alias: Alias) -> Document:
    return {"domain": alias.domain, "local_part": alias.local_part, "destination": alias.destination}


def _from_document(document: Mapping[str, Any]) -> Alias:
    return Alias(document["domain"], document["local_part"], document["destination"])
