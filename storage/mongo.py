"""The database client: made here, and nowhere else does a driver type come from.

Errors of the driver become ours in :func:`translating`. Every write waits for a majority of the members and their
journals, because clients are told of it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import IndexModel
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from gateway.errors import StartError, Unavailable
from gateway.ports import Page

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
Session = AsyncIOMotorClientSession

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_SELECT_SERVER_MS = 5_000
_OPERATION_MS = 10_000
# Interrupted, shutting down, stepping down, out of disk space: the server is there and cannot serve now.
_UNAVAILABLE_CODES = frozenset({91, 189, 262, 10107, 11600, 11602, 13435, 13436, 14031})


def is_unavailable(error: PyMongoError) -> bool:
    """True when the same operation may succeed later."""
    if isinstance(error, OperationFailure):
        # A transaction that a restart or an election cut off says so by its label only.
        cut_off = error.has_error_label("TransientTransactionError")
        return error.timeout or cut_off or error.code in _UNAVAILABLE_CODES
    return error.timeout or isinstance(error, ConnectionFailure | AutoReconnect)


def translating(
    method: Callable[Arguments, Awaitable[Result]],
) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """Let a store method raise Unavailable in place of the driver's errors of connection and time."""

    @functools.wraps(method)
    async def translated(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return await method(*args, **kwargs)
        except PyMongoError as error:
            if is_unavailable(error):
                raise Unavailable("The database does not answer at the moment. Try again.") from error
            raise

    return translated


class Mongo:
    """The connection to one database. Provides the core's Health."""

    def __init__(self, uri: str, database: str) -> None:
        """Connect lazily. Raises StartError when the connection string is wrong."""
        try:
            self.client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
                uri,
                appname="mail-gateway",
                tz_aware=True,
                w="majority",
                journal=True,
                serverSelectionTimeoutMS=_SELECT_SERVER_MS,
                timeoutMS=_OPERATION_MS,
            )
        except (InvalidURI, ConfigurationError, ValueError) as error:
            raise StartError("storage.uri is no valid MongoDB connection string: mongodb://host/?…") from error
        self.database = self.client[database]

    def collection(self, name: str) -> Collection:
        """Return a collection of the gateway's database."""
        return self.database[name]

    async def check_deployment(self) -> None:
        """Raise StartError unless this is a replica set or a sharded cluster that answers."""
        try:
            hello = await self.client.admin.command("hello")
        except PyMongoError as error:
            raise StartError(
                "The database of storage.uri does not answer. Start it, or correct host, port and credentials."
            ) from error
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise StartError(
                "The database of storage.uri is a single server. The gateway needs transactions, which need a"
                " replica set: start mongod with --replSet and run rs.initiate()."
            )

    async def ensure_indexes(self, indexes: Mapping[str, Sequence[IndexModel]]) -> None:
        """Make the indexes that are not there yet. Raises StartError."""
        try:
            for name, models in indexes.items():
                await self.database[name].create_indexes(list(models))
        except PyMongoError as error:
            raise StartError(
                "The indexes cannot be made. Does the user of storage.uri have the role readWrite?"
            ) from error

    @translating
    async def ping(self) -> None:
        """Ask the database for a sign of life. Raises Unavailable."""
        await self.client.admin.command("ping")

    async def in_transaction(self, work: Callable[[Session], Coroutine[Any, Any, None]]) -> None:
        """Run ``work`` in a transaction: all of its writes happen, or none. It may be run again."""
        async with await self.client.start_session() as session:
            await session.with_transaction(work)

    def close(self) -> None:
        """Close all connections."""
        self.client.close()


async def page_of(
    collection: Collection,
    where: Mapping[str, Any],
    sort: Sequence[tuple[str, int]],
    page: Page,
    projection: Mapping[str, Any] | None = None,
) -> tuple[int, list[Document]]:
    """Return how many documents match and a page of them, by one query where the page holds the list's end."""
    cursor = collection.find(where, projection).sort(list(sort)).skip(page.offset).limit(page.limit + 1)
    documents = await cursor.to_list(page.limit + 1)
    if len(documents) <= page.limit and (documents or page.offset == 0):
        return page.offset + len(documents), documents
    return await collection.count_documents(where), documents[: page.limit]
