"""The processes of a measurement: the gateway as operators run it, the floor, sinks for mail; and what they use."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from gateway import config as configuration
from gateway.config import Config
from tests.ports import free_port

_COMMAND = str(Path(sys.executable).with_name("mail-gateway"))
_SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
_PATIENCE_S = 60.0
_POLL_S = 0.005
_SINK_BACKLOG = "1000"
_KB = 1024
PROVIDERS = 5
"""Of the mail that is sent: one provider alone would get less than a gateway can do (delivery.per_host)."""


@dataclass(frozen=True, slots=True)
class Process:
    """A running process and, where it serves HTTP, its URL."""

    pid: int
    url: str = ""

    def rss_mb(self) -> float:
        """Return the memory resident now, in MB (10^6 bytes)."""
        return self._status("VmRSS")

    def peak_mb(self) -> float:
        """Return the most memory resident since the start, in MB (10^6 bytes)."""
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        return int(found[1]) * _KB / 1e6 if found else 0.0

    def cpu_s(self) -> float:
        """Return the seconds of processor time used so far, by all threads, in user and kernel mode."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime and stime


@dataclass(frozen=True, slots=True)
class Site:
    """Where a gateway is installed: its directory, and its database, embedded where ``uri`` is empty.

    All is as it is by default, but that it may reach the servers of the measurement: on ``mail_ports``, in plain
    too, and trusting ``ca_file``.
    """

    directory: Path
    uri: str = ""
    database: str = "mail_gateway"
    mail_ports: Sequence[int] = (25,)
    ca_file: str = ""

    def settings(self, port: int = 0) -> Config:
        """Return the configuration, for the use cases without a process around them."""
        return configuration.load(self._file(port), {})

    def _file(self, port: int) -> Path:
        self.directory.mkdir(exist_ok=True)
        path = self.directory / f"{port}.toml"
        path.write_text(
            f"""
            [server]
            port = {port}
            [accounts]
            local_domain = "home.example"
            [storage]
            data_dir = "{self.directory / "data"}"
            uri = "{self.uri}"
            database = "{self.database}"
            [network]
            allow = ["127.0.0.0/8"]
            ports = {list(self.mail_ports)}
            allow_plaintext = true
            ca_file = "{self.ca_file}"
            """
        )
        return path

    @asynccontextmanager
    async def running(self, role: str = "all") -> AsyncIterator[Process]:
        """Run a gateway; begin when it is ready."""
        port = free_port()
        config = str(self._file(port))
        log = self.directory / f"{port}.log"
        async with _process(_COMMAND, "serve", "--role", role, "--config", config, log=log) as pid:
            process = Process(pid, f"http://127.0.0.1:{port}")
            await _until_ok(f"{process.url}/readyz", log)
            yield process


@asynccontextmanager
async def bare(uri: str, directory: Path) -> AsyncIterator[Process]:
    """Run the bare handlers of bench/floor.py on the same database server."""
    port = free_port()
    async with _process(sys.executable, "-m", "bench.floor", uri, str(port), log=directory / "floor.log") as pid:
        process = Process(pid, f"http://127.0.0.1:{port}")
        await _until_ok(f"{process.url}/identities/nobody", directory / "floor.log")
        yield process


@dataclass(frozen=True, slots=True)
class Sinks:
    """Mail servers that take everything and keep nothing: one port, on as many addresses as there are providers."""

    hosts: Sequence[str]
    port: int
    logs: Sequence[Path]

    def taken(self) -> int:
        """Return how many messages they have taken since they were started."""
        return sum(int(count) for log in self.logs for count in re.findall(r"mesg=(\d+)", log.read_text())[-1:])


@asynccontextmanager
async def sinks(directory: Path) -> AsyncIterator[Sinks]:
    """Run Postfix's smtp-sink, once for each of five providers."""
    hosts, port = [f"127.0.0.{number + 2}" for number in range(PROVIDERS)], free_port()
    logs = [directory / f"sink-{host}.log" for host in hosts]
    user = ["-u", "nobody"] if os.getuid() == 0 else []  # it refuses to serve as root
    binary = program("smtp-sink", "postfix")
    async with AsyncExitStack() as stack:
        for host, log in zip(hosts, logs, strict=True):
            command = binary, "-c", *user, f"{host}:{port}", _SINK_BACKLOG
            await stack.enter_async_context(_process(*command, log=log))
        async with asyncio.timeout(_PATIENCE_S):
            for host in hosts:
                while not await _listens(host, port):  # noqa: ASYNC110 - another process sets no event
                    await asyncio.sleep(_POLL_S)
        yield Sinks(hosts, port, logs)


def program(name: str, package: str) -> str:
    """Return the path of a program. Ends the run where it is not installed."""
    path = shutil.which(name, path=_SBIN)
    if path is None:
        raise SystemExit(f"{name} is not installed: apt-get install {package}")
    return path


@asynccontextmanager
async def _process(*command: str, log: Path) -> AsyncIterator[int]:
    """Run a command, its output in ``log``; yield its process id, and end it."""
    with log.open("ab") as output:
        child = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield child.pid
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def _until_ok(url: str, log: Path) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S), aiohttp.ClientSession() as session:
            while not await _is_ok(session, url):  # noqa: ASYNC110 - another process sets no event
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        told = log.read_text()  # noqa: ASYNC240 - nothing else goes on any more
        raise SystemExit(f"{url} does not answer:\n{told}") from error


async def _is_ok(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.ok
    except aiohttp.ClientConnectionError:
        return False


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
