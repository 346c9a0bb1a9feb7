"""The database client: deployments it accepts, errors it translates, pages."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from uuid import uuid4

import pytest
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from api.main import INDEXES
from gateway.errors import StartError, Unavailable
from gateway.ports import Page
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo, is_unavailable, page_of


@pytest.mark.parametrize("uri", ["mongodb://", "mongodb://host:port", "http://example.org"])
def test_bad_uri(uri: str) -> None:
    """A malformed connection string stops the start with the key's name."""
    with pytest.raises(StartError, match=r"storage\.uri"):
        Mongo(uri, "x")


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (AutoReconnect(), True),
        (ServerSelectionTimeoutError(), True),
        (NotPrimaryError(), True),
        (ExecutionTimeout("", 50), True),
        (OperationFailure("shutting down", 91), True),
        (OperationFailure("out of disk space", 14031), True),
        (OperationFailure("cut off", 251, {"errorLabels": ["TransientTransactionError"]}), True),
        (OperationFailure("bad query", 2), False),
        (DuplicateKeyError("taken"), False),
        (PyMongoError("anything"), False),
    ],
)
def test_unavailable(error: PyMongoError, *, temporary: bool) -> None:
    """Errors of connection, time, role and room are temporary; those of our own making are not."""
    assert is_unavailable(error) is temporary


async def test_indexes_are_made_once(mongo: Mongo) -> None:
    """A second start finds the indexes there."""
    await mongo.ensure_indexes(INDEXES)
    await mongo.ensure_indexes(INDEXES)
    names = await mongo.database.list_collection_names()
    assert set(names) == set(INDEXES)


async def test_pages(mongo: Mongo) -> None:
    """A page tells the total whichever part of the list it is."""
    numbers = mongo.collection("numbers")
    await numbers.insert_many([{"_id": n} for n in range(5)])
    for page, expected in {
        Page(limit=10): (5, [0, 1, 2, 3, 4]),
        Page(limit=2): (5, [0, 1]),
        Page(limit=2, offset=3): (5, [3, 4]),
        Page(limit=2, offset=4): (5, [4]),
        Page(limit=2, offset=9): (5, []),
    }.items():
        total, documents = await page_of(numbers, {}, [("_id", 1)], page)
        assert (total, [each["_id"] for each in documents]) == expected
    assert await page_of(numbers, {"_id": 99}, [("_id", 1)], Page()) == (0, [])


async def test_database_away_and_back(tmp_path: Path) -> None:
    """While the database is away that is told; when it is back the same client goes on."""
    async with EmbeddedMongod(tmp_path) as server:
        mongo = Mongo(server.uri, f"test_{uuid4().hex}")
        await mongo.ping()
        pid = int((await mongo.client.admin.command("serverStatus"))["pid"])
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while True:
                try:
                    await mongo.ping()
                except Unavailable:
                    continue
                if int((await mongo.client.admin.command("serverStatus"))["pid"]) != pid:
                    break
        mongo.close()


async def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not answer stops the start with what to do."""
    monkeypatch.setattr("storage.mongo._SELECT_SERVER_MS", 100)
    mongo = Mongo(f"mongodb://{str(tmp_path / 'nobody.sock').replace('/', '%2F')}", "x")
    with pytest.raises(StartError, match="does not answer"):
        await mongo.check_deployment()
    mongo.close()
