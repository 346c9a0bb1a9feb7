"""The database client: made here, and nowhere else does a driver type come from.

Errors of the driver become ours in :func:`translating`, which also bounds how long a call may take. Every write
waits for a majority of the members and their journals, because clients are told of it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import IndexModel, ReadPreference
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    EncryptionError,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)
from pymongo.monitoring import CommandListener

from gateway.errors import StartError, Unavailable

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
Session = AsyncIOMotorClientSession

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Store(Protocol):
    """What asks the database. ``operation_s`` is how long one of its methods may take, in seconds."""

    operation_s: float


AnyStore = TypeVar("AnyStore", bound=Store)

_OPERATION_MS = 10_000
# The driver's own deadline is to come first, for then its thread is free again.
_MARGIN_S = 0.5
# Interrupted, shutting down, stepping down, out of disk space, other members out of reach: the server is there and
# cannot serve now. What the driver itself holds to be worth another try is among them; and 43, a cursor that the
# server does not know: it was started again amid a long answer.
_UNAVAILABLE_CODES = frozenset({6, 7, 43, 89, 91, 133, 134, 189, 262, 9001, 10058, 10107})
_UNAVAILABLE_CODES |= {11600, 11602, 13435, 13436, 14031}
# A transaction that a restart or an election cut off says so by its label only.
_UNAVAILABLE_LABELS = ("TransientTransactionError", "RetryableWriteError")
_AWAY = "The database does not answer at the moment. Try again."
_FULL = "The disk of the database is nearly full: nothing new is stored until its operator has made room."
_FULL_RETRY_S = 60


def is_unavailable(error: PyMongoError) -> bool:
    """True when the same operation may succeed later."""
    if isinstance(error, EncryptionError) and isinstance(error.cause, PyMongoError):
        return is_unavailable(error.cause)
    if isinstance(error, BulkWriteError):  # what is not on a majority may be lost
        codes = {fault["code"] for fault in error.details["writeErrors"]}
        if codes & _UNAVAILABLE_CODES or error.details["writeConcernErrors"]:
            return True
    if isinstance(error, OperationFailure) and error.code in _UNAVAILABLE_CODES:
        return True
    labelled = any(error.has_error_label(label) for label in _UNAVAILABLE_LABELS)
    return labelled or error.timeout or isinstance(error, ConnectionFailure | AutoReconnect)


def translating(
    method: Callable[Concatenate[AnyStore, Arguments], Awaitable[Result]],
) -> Callable[Concatenate[AnyStore, Arguments], Coroutine[Any, Any, Result]]:
    """Let a store method raise Unavailable in place of the driver's errors of connection and time.

    All that the method asks of the driver has ``operation_s`` together. The second deadline is for the wait for one
    of Motor's few threads, which the driver does not count. A write that was cut off may still have happened.
    """

    @functools.wraps(method)
    async def translated(store: AnyStore, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            with pymongo.timeout(store.operation_s):
                async with asyncio.timeout(store.operation_s + _MARGIN_S):
                    return await method(store, *args, **kwargs)
        except TimeoutError as error:
            raise Unavailable(_AWAY) from error
        except PyMongoError as error:
            if is_unavailable(error):
                raise Unavailable(_AWAY) from error
            raise

    return translated


def unhurried() -> AbstractContextManager[None]:
    """Return a context in which the database may take its time: an index of a large collection takes minutes."""
    return pymongo.timeout(0)


class Mongo:
    """The connection to one database. Provides the core's Health."""

    def __init__(
        self,
        uri: str,
        database: str,
        *,
        operation_ms: int = _OPERATION_MS,
        listeners: Sequence[CommandListener] = (),
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        """Connect lazily. ``listeners`` hear of all that is asked.

        ``has_room`` tells whether more may be stored.

        Raises StartError when the connection string or the database's name is wrong.
        """
        self.operation_s = operation_ms / 1000
        self._has_room = has_room
        try:
            self.client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
                uri,
                appname="mail-gateway",
                tz_aware=True,
                w="majority",
                journal=True,
                timeoutMS=operation_ms,  # the search for a server is part of it
                event_listeners=list(listeners),
                # Whatever storage.uri says: who has written something must read it, and a revoked token be gone;
                # and with much else transactions fail.
                read_preference=ReadPreference.PRIMARY,
                readConcernLevel="local",
            )
            self.database = self.client.get_database(database)
        except InvalidName as error:
            raise StartError("storage.database is no valid name of a MongoDB database.") from error
        except (InvalidURI, ConfigurationError, ValueError) as error:
            raise StartError("storage.uri is no valid MongoDB connection string: mongodb://host/?…") from error

    def collection(self, name: str) -> Collection:
        """Return a collection of the gateway's database."""
        return self.database[name]

    def has_room(self) -> bool:
        """Tell whether more may be stored."""
        return self._has_room()

    def check_room(self) -> None:
        """Raise Unavailable where nothing new shall be stored."""
        if not self._has_room():
            raise Unavailable(_FULL, _FULL_RETRY_S)

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
        """Make the indexes that are not there yet, however long that takes. Raises StartError."""
        try:
            with unhurried():
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

    @translating
    async def in_transaction(self, work: Callable[[Session], Coroutine[Any, Any, Result]]) -> Result:
        """Run ``work`` in a transaction and return its result: all of its writes happen, or none.

        It may be run again, so it may not change anything but the database.

        Raises Unavailable and the driver's other errors.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + self.operation_s

        async def work_in_time(session: Session) -> Result:
            # with_transaction by itself goes on trying for 120 seconds.
            if now() >= deadline:
                raise TimeoutError
            return await work(session)

        async with await self.client.start_session() as session:
            result: Result = await session.with_transaction(work_in_time)
            return result

    def close(self) -> None:
        """Close all connections."""
        self.client.close()
