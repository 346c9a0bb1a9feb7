"""Gateways as processes of their own, run by the command that users run."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import pytest

from tests.ports import free_port

COMMAND = str(Path(sys.executable).with_name("mail-gateway"))
START_S = 60
STOP_S = 10
"""The promise of README.md: a stop that takes longer fails its test."""


@dataclass
class Process:
    """A running ``mail-gateway``."""

    child: asyncio.subprocess.Process
    log: Path

    async def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal; return the exit code. Raises TimeoutError when that takes longer than promised."""
        if self.child.returncode is None:
            self.child.send_signal(number)
        async with asyncio.timeout(STOP_S):
            return await self.child.wait()

    def events(self) -> list[dict[str, object]]:
        """Return what it has logged, line by line."""
        return events_in(self.log)


@asynccontextmanager
async def mail_gateway(*arguments: str, log: Path, **environment: str) -> AsyncIterator[Process]:
    """Run ``mail-gateway`` with these arguments; end it where the test did not."""
    with log.open("ab") as stderr:
        child = await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={"PATH": os.environ["PATH"], **environment},
            start_new_session=True,
        )
    process = Process(child, log)
    try:
        yield process
    finally:
        if child.returncode is None:
            await process.stop(signal.SIGTERM)
        # The pipe's transport is closed by the loop only when somebody reads to the end.
        if child.stdout:
            await child.stdout.read()


@dataclass
class Site:
    """A place where a gateway is installed: its configuration, its data, its port."""

    directory: Path
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What its gateways have written, one after the other."""
        return self.directory / "log"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        """Run the gateway until the end of the block; begin when it is ready."""
        config = str(self.directory / "config.toml")
        async with mail_gateway("serve", "--config", config, log=self.log) as process:
            await self.wait_until_ready(process)
            yield process

    async def wait_until_ready(self, process: Process) -> None:
        """Return when /readyz says so."""
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while process.child.returncode is None:
                try:
                    async with session.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.02)
        raise AssertionError(self.log.read_text())


def events_in(log: Path) -> list[dict[str, object]]:
    """Return what is logged there, line by line; a line that death has cut short is none."""
    lines = log.read_bytes().splitlines()
    return [orjson.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[..., Site]:
    """Makes sites, each with further lines for its configuration, and for the table ``storage`` of it."""
    numbers = itertools.count()

    def make(more: str = "", storage: str = "") -> Site:
        return site_in(tmp_path / str(next(numbers)), more, storage)

    return make


def site_in(directory: Path, more: str = "", storage: str = "") -> Site:
    """Return a new site with further lines for its configuration, and for the table ``storage`` of it."""
    site = Site(directory, free_port())
    directory.mkdir()
    directory.joinpath("config.toml").write_text(
        f"""
        [server]
        port = {site.port}
        [log]
        format = "json"
        level = "debug"
        [storage]
        data_dir = "{site.data}"
        {storage}
        [accounts]
        local_domain = "home.example"
        {more}
        """
    )
    return site
