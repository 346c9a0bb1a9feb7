"""The history of checks: a time series, from which the database removes what is older than 30 days.

A time series takes deletions by its meta field alone, and no part in transactions (MongoDB 6.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from gateway.errors import StartError
from gateway.health import Finding, PastCheck
from gateway.identity import UserIdentity
from gateway.ports import Page
from storage.grouped import Grouped
from storage.mongo import Document, Mongo, translating, unhurried
from storage.pages import Pages
from storage.updates import insert_each

CHECKS = "checks"
OWNER = "of.user_id"
"""What finds a user's checks."""
_INDEX = [(OWNER, ASCENDING), ("of.identity_id", ASCENDING), ("at", DESCENDING)]
_INDEX_BEFORE = "of.identity_id_1_at_-1"
"""What versions before this one have made: it finds what is an identity's, but not what is a user's."""
_INDEX_NOT_FOUND = 27
_NAMESPACE_EXISTS = 48
_KEPT_S = 30 * 24 * 3600


class MongoHistory:
    """The core's History."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self.operation_s = mongo.operation_s
        self._checks = mongo.collection(CHECKS)
        self._pages = Pages(mongo, CHECKS)
        self._insert = Grouped(self._insert_all)

    async def prepare(self) -> None:
        """Make the collection and its index, where they are not there yet. Raises StartError."""
        try:
            await self._mongo.database.create_collection(
                CHECKS,
                timeseries={"timeField": "at", "metaField": "of", "granularity": "minutes"},
                expireAfterSeconds=_KEPT_S,
            )
        except (CollectionInvalid, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code != _NAMESPACE_EXISTS:
                raise StartError("The collection of checks cannot be made.") from error
        except PyMongoError as error:
            raise StartError("The collection of checks cannot be made.") from error
        try:
            with unhurried():
                await self._checks.create_index(_INDEX)
            await self._drop_index_before()
        except PyMongoError as error:
            raise StartError("The index of checks cannot be made.") from error

    async def _drop_index_before(self) -> None:
        try:
            await self._checks.drop_index(_INDEX_BEFORE)
        except OperationFailure as error:
            if error.code != _INDEX_NOT_FOUND:
                raise

    async def add(self, identity: UserIdentity, finding: Finding) -> None:
        """Note how a check ended."""
        await self._insert(
            {
                "at": finding.at,
                "of": {"user_id": identity.user_id, "identity_id": identity.identity_id},
                "ok": not finding.failures,
                "ms": finding.ms,
                "server": min(finding.failures, default=None),
                "error": finding.error,
            }
        )

    @translating
    async def _insert_all(self, documents: Sequence[Document]) -> Sequence[bool | Exception]:
        return await insert_each(self._checks, documents)

    async def list(
        self, user_id: str, identity_id: str, since: datetime | None, page: Page
    ) -> tuple[int, Sequence[PastCheck]]:
        """Return how many checks there were since then and a page of them, newest first."""
        where: Document = {"of.identity_id": identity_id, OWNER: user_id}
        if since is not None:
            where["at"] = {"$gte": since}
        total, documents = await self._pages(where, [("at", DESCENDING)], page)
        return total, [_from_document(document) for document in documents]

    @translating
    async def forget(self, identity: UserIdentity) -> None:
        """Remove what was noted of an identity."""
        await self._checks.delete_many({"of.user_id": identity.user_id, "of.identity_id": identity.identity_id})


def _from_document(document: Document) -> PastCheck:
    return PastCheck(document["at"], document["ok"], document["ms"], document["server"], document["error"])
