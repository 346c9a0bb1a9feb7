"""The database client: deployments it accepts, errors it translates, pages."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    EncryptionError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from api.stores import INDEXES
from gateway.errors import StartError, Unavailable
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo, Session, is_unavailable


@pytest.mark.parametrize("uri", ["mongodb://", "mongodb://host:port", "http://example.org"])
def test_bad_uri(uri: str) -> None:
    """A malformed connection string stops the start with the key's name."""
    with pytest.raises(StartError, match=r"storage\.uri"):
        Mongo(uri, "x")


@pytest.mark.parametrize("name", ["", "a b"])
def test_bad_name(name: str) -> None:
    """A name that no database can have stops the start with the key's name."""
    with pytest.raises(StartError, match=r"storage\.database"):
        Mongo("mongodb://localhost", name)


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
        (OperationFailure("host unreachable", 6), True),
        (OperationFailure("cursor not found", 43), True),
        (OperationFailure("no member to read from", 133), True),
        (OperationFailure("try again", 1, {"errorLabels": ["RetryableWriteError"]}), True),
        (EncryptionError(AutoReconnect()), True),
        (EncryptionError(ValueError()), False),
        (OperationFailure("bad query", 2), False),
        (DuplicateKeyError("taken"), False),
        (PyMongoError("anything"), False),
        (BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 50, "errmsg": "no majority"}]}), True),
        (BulkWriteError({"writeErrors": [{"index": 0, "code": 14031}], "writeConcernErrors": []}), True),
        (BulkWriteError({"writeErrors": [{"index": 0, "code": 66}], "writeConcernErrors": []}), False),
    ],
)
def test_unavailable(error: PyMongoError, *, temporary: bool) -> None:
    """Errors of connection, time, role and room are temporary; those of our own making are not."""
    assert is_unavailable(error) is temporary


async def test_indexes_are_made_once(mongo: Mongo) -> None:
    """A second start finds the indexes there."""
    await mongo.client.drop_database(mongo.database.name)
    await mongo.ensure_indexes(INDEXES)
    await mongo.ensure_indexes(INDEXES)
    names = await mongo.database.list_collection_names()
    assert set(names) == set(INDEXES)


async def test_indexes_take_their_time(mongod: EmbeddedMongod) -> None:
    """The making of indexes is not bounded as other operations are: in a large collection it takes minutes."""
    hasty = Mongo(mongod.uri, "test", operation_ms=1)
    await hasty.ensure_indexes(INDEXES)
    hasty.close()


@pytest.mark.parametrize(
    "option",
    [
        "readPreference=secondaryPreferred",
        "readPreference=secondary&readPreferenceTags=dc:north&maxStalenessSeconds=120",
        "readConcernLevel=linearizable",
    ],
)
async def test_transaction_whatever_the_uri(mongod: EmbeddedMongod, option: str) -> None:
    """What the connection string says of reading breaks no transaction."""
    mongo = Mongo(f"{mongod.uri}&{option}", "test")

    async def work(session: Session) -> int:
        return await mongo.collection("numbers").count_documents({}, session=session)

    assert await mongo.in_transaction(work) == 0
    mongo.close()


_THREADS = 5 * (os.cpu_count() or 1)
"""What Motor has, unless MOTOR_MAX_WORKERS says otherwise."""


async def _pid(mongo: Mongo) -> int:
    return int((await mongo.client.admin.command("serverStatus"))["pid"])


async def _hang(pid: int) -> None:
    """Stop a process, and return when all of its threads have stopped: until then it may still answer."""
    os.kill(pid, signal.SIGSTOP)
    while not _hangs(pid):
        await asyncio.sleep(0.001)


def _hangs(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


async def test_database_away_and_back(tmp_path: Path) -> None:
    """While the database is away that is told; when it is back the same client goes on."""
    async with EmbeddedMongod(tmp_path) as server:
        mongo = Mongo(server.uri, "x", operation_ms=300)
        pid = await _pid(mongo)
        await _hang(pid)
        with pytest.raises(Unavailable):
            await mongo.ping()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while True:
                with suppress(Unavailable):
                    await mongo.ping()
                    break
        assert await _pid(mongo) != pid
        mongo.close()


@pytest.fixture
async def hung(mongod: EmbeddedMongod) -> AsyncIterator[Mongo]:
    """A connected client with 300 ms for an operation, whose server takes what it is sent and never answers."""
    mongo = Mongo(mongod.uri, f"test_{uuid4().hex}", operation_ms=300)
    pid = await _pid(mongo)
    await _hang(pid)
    yield mongo
    os.kill(pid, signal.SIGCONT)
    mongo.close()


async def test_crowd_before_a_hung_database(hung: Mongo) -> None:
    """Many more calls than the driver has threads are all told in time."""
    async with asyncio.timeout(2):
        outcomes = await asyncio.gather(*(hung.ping() for _ in range(10 * _THREADS)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}


async def test_no_thread_is_free(hung: Mongo, mongod: EmbeddedMongod) -> None:
    """A call that waits for one of the driver's threads is told in time too."""
    patient = Mongo(mongod.uri, "x", operation_ms=10_000)
    others = [asyncio.create_task(patient.ping()) for _ in range(_THREADS)]
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            await hung.ping()
    for each in others:
        each.cancel()
    await asyncio.wait(others)
    patient.close()


async def test_transaction_with_a_hung_database(hung: Mongo) -> None:
    """A transaction ends in the time of one operation, where the driver would try again for two minutes."""

    async def work(session: Session) -> None:
        await hung.collection("numbers").insert_one({}, session=session)

    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            await hung.in_transaction(work)


async def test_nobody_answers(tmp_path: Path) -> None:
    """A database that does not answer stops the start with what to do."""
    uri = f"mongodb://{str(tmp_path / 'nobody.sock').replace('/', '%2F')}"
    mongo = Mongo(uri, "x", operation_ms=100)
    with pytest.raises(StartError, match="does not answer"):
        await mongo.check_deployment()
    mongo.close()
