"""Clients that keep the gateway waiting, and many of them: they are let go, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import io
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from uuid import uuid4

import pytest

from api.connection import Clients
from api.metrics import Metrics
from api.process import open_files
from gateway import config as configuration
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.e2e.conftest import Site, mail_gateway
from tests.faults.raw_http import PATIENCE_S, Author, Wire, gateway, metric

NewSite = Callable[..., Site]
Figures = Callable[[str, object], None]

MIB = 1024 * 1024
HOST = b"Host: x\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
JSON, FORM = "Content-Type: application/json", "Content-Type: multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="attachment"; filename="a"\r\n\r\n'


@pytest.fixture
async def url(mongod: EmbeddedMongod, mongo: Mongo, tmp_path: Path) -> AsyncIterator[str]:
    """A gateway with little patience, but enough for those who share a busy machine with it."""
    server = {"client_timeout_s": 1, "max_connections": 10}
    async with gateway(mongod, mongo, tmp_path, server=server) as url:
        yield url


@pytest.fixture
async def author(url: str) -> AsyncIterator[Author]:
    """A user of it, with a draft."""
    async with Author.at(url) as author:
        yield author


@asynccontextmanager
async def dripping(wire: Wire, *, pause_s: float) -> AsyncIterator[None]:
    """Send a byte now and then, as long as the gateway takes them."""

    async def drip() -> None:
        with suppress(OSError):
            while True:
                await asyncio.sleep(pause_s)
                await wire.send(b"x")

    task = asyncio.create_task(drip())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def beginnings(author: Author) -> dict[str, bytes]:
    """Return what breaks off amid a header, a body and a file."""
    return {
        "header": b"GET /healthz HTTP/1.1\r\nHo",
        "body": author.head("POST", "/api/v1/messages", JSON, "Content-Length: 5000"),
        "file": author.head("POST", author.attachments, FORM, "Content-Length: 5000000") + FILE + b"x" * MIB,
    }


async def stored(mongo: Mongo) -> int:
    """Return how many documents there are of all files."""
    names = [f"attachments.{kind}" for kind in ("files", "chunks")]
    return sum([await mongo.collection(name).count_documents({}) for name in names])


@pytest.mark.parametrize("where", ["header", "body", "file"])
async def test_kept_waiting(url: str, author: Author, mongo: Mongo, where: str) -> None:
    """Who sends nothing more, or a byte now and then, is told 408 and nothing is kept; others are answered."""
    async with Wire.to(url) as silent, Wire.to(url) as slow, Wire.to(url) as other:
        await other.send(HEALTH + b"\r\n")  # an empty line begins no request (RFC 9112 §2.2)
        assert (await other.answer()).status == 200
        for wire in (silent, slow):
            await wire.send(beginnings(author)[where])
        async with dripping(slow, pause_s=0.02):
            assert await author.call("GET", "/api/v1/me")
            for wire in (silent, slow):
                answer = await wire.answer()
                assert (answer.status, answer.problem["title"]) == (408, "Request Timeout")
                assert "x-request-id" in answer.headers
                assert await wire.is_closed()
        await other.send(HEALTH)
        assert (await other.answer()).status == 200  # who asks for nothing keeps nobody waiting
    assert await stored(mongo) == 0
    assert (await author.call("GET", author.draft))["attachments"] == []


async def test_slow_and_fair(author: Author) -> None:
    """A file that takes more than twice as long, and comes all the time, is taken."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 1000
            await asyncio.sleep(0.05)

    await author.attach(pieces())


@pytest.mark.parametrize("what", ["attachment", "raw message"])
async def test_nothing_taken(url: str, author: Author, what: str) -> None:
    """Who stops reading amid a large answer is let go."""
    path = await author.attach(io.BytesIO(b"x" * 12 * MIB))
    if what == "raw message":
        path = await author.order()
    async with Wire.to(url) as wire:
        await wire.send(author.head("GET", path))
        async with asyncio.timeout(PATIENCE_S):
            while await metric(url, "gateway_http_connections") > 2:  # the author's, and the one that asks this
                await asyncio.sleep(0.02)
        assert len(await wire.end()) < 12 * MIB


async def test_one_too_many(url: str) -> None:
    """Where all connections are taken, a new one has the place of the oldest that is idle."""
    async with AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(Wire.to(url)) for _ in range(10)]
        for wire in idle:
            await wire.send(HEALTH)
            assert (await wire.answer()).status == 200
        new = await stack.enter_async_context(Wire.to(url))
        await new.send(HEALTH)
        assert (await new.answer()).status == 200
        assert await idle[0].is_closed()
        await idle[1].send(HEALTH)
        assert (await idle[1].answer()).status == 200


async def test_no_room(mongod: EmbeddedMongod, mongo: Mongo, tmp_path: Path) -> None:
    """Where all connections are at work, a new one is closed."""
    begun = f"POST /api/v1/users HTTP/1.1\r\nHost: x\r\n{JSON}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    async with gateway(mongod, mongo, tmp_path, server={"max_connections": 10}) as url, AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(Wire.to(url)) for _ in range(10)]
        for wire in busy:
            await wire.send(begun.encode())
            assert (await wire.answer()).status == 100
        assert await (await stack.enter_async_context(Wire.to(url))).is_closed()


def test_open_files(caplog: pytest.LogCaptureFixture) -> None:
    """The process may open as many files as it is allowed to; where these are few, fewer connections are let in."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        assert open_files() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 65_536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    Clients(Metrics(), configuration.build({"accounts": {"local_domain": "home.example"}}), files=1000)
    (warning,) = caplog.records
    assert (warning.levelname, vars(warning)["connections"]) == ("WARNING", 750)


# -- many of them ------------------------------------------------------------------------------------------------

SLOW_CLIENTS, IDLE_CLIENTS, READERS = 200, 5_000, 100
FILE_BYTES = 20_000_000
LISTS, LONG_LIST, MESSAGE_BYTES = 20, 100, 1_000_000
RESIDENT_MIB = 250


@asynccontextmanager
async def process_at(site: Site) -> AsyncIterator[int]:
    """Run the gateway with some patience; yields its process id."""
    config, log = str(site.directory / "config.toml"), site.directory / "log"
    patience = {"GATEWAY_SERVER__CLIENT_TIMEOUT_S": "10"}
    async with mail_gateway("serve", "--config", config, log=log, **patience) as process:
        await site.wait_until_ready(process)
        yield process.child.pid


def resident(pid: int, of: str = "VmRSS") -> int:
    """Return the memory that a process has, or with VmHWM the most it has had, in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(of)]
    return int(line.split()[1]) // 1024


@asynccontextmanager
async def others(author: Author) -> AsyncIterator[list[float]]:
    """Let somebody ask and write all the time; yields how long each request took, in seconds."""
    seconds: list[float] = []

    async def ask() -> None:
        while True:
            for verb, path, body in (("GET", "/api/v1/me", None), ("PATCH", author.draft, {"body": uuid4().hex})):
                began = time.monotonic()
                await author.call(verb, path, json=body)
                seconds.append(time.monotonic() - began)
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    yield seconds
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking  # raises what went wrong


async def let_go(wire: Wire) -> int:
    """Send a byte a second; return the status of the answer that comes."""
    async with dripping(wire, pause_s=1):
        return (await wire.answer()).status


@pytest.mark.torture
async def test_two_hundred_slow_clients(new_site: NewSite, figures: Figures) -> None:
    """Two hundred that send a byte a second are let go, and nobody waits for them."""
    site = new_site()
    async with process_at(site), Author.at(site.url) as author, AsyncExitStack() as stack:
        begun = islice(cycle(beginnings(author).values()), SLOW_CLIENTS)
        wires = [await stack.enter_async_context(Wire.to(site.url)) for _ in range(SLOW_CLIENTS)]
        await asyncio.gather(*(wire.send(each) for wire, each in zip(wires, begun, strict=True)))
        async with others(author) as seconds:
            slow = [asyncio.create_task(let_go(wire)) for wire in wires]
            await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
            assert seconds  # of requests that began and ended while all of them were there
            statuses = await asyncio.gather(*slow)
    assert statuses == [408] * SLOW_CLIENTS
    figures("clients that sent a byte a second, let go", len(statuses))
    figures("requests of others answered beside them", len(seconds))
    figures("the slowest of these, ms", round(max(seconds) * 1000))


@pytest.mark.torture
async def test_five_thousand_idle_connections(new_site: NewSite, figures: Figures) -> None:
    """Five thousand connections that have asked once, or never, and stay open keep nobody from being answered."""
    assert open_files() > IDLE_CLIENTS + 1000
    site, loop = new_site(), asyncio.get_running_loop()
    async with process_at(site) as pid, Author.at(site.url) as author, AsyncExitStack() as stack:
        before = resident(pid)
        for number in range(IDLE_CLIENTS):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", site.port))
            if number % 2:
                await loop.sock_sendall(sock, HEALTH)
                assert (await loop.sock_recv(sock, 12)) == b"HTTP/1.1 200"
        assert await metric(site.url, "gateway_http_connections") >= IDLE_CLIENTS
        async with others(author) as seconds, asyncio.timeout(PATIENCE_S):
            while len(seconds) < 500:
                await asyncio.sleep(0.1)
        figures("connections that stayed idle", IDLE_CLIENTS)
        figures("memory of the gateway for these connections, MiB", resident(pid) - before)
        figures("the slowest of 500 requests beside these connections, ms", round(max(seconds) * 1000))
        assert resident(pid) < RESIDENT_MIB


@pytest.mark.torture
async def test_a_hundred_slow_readers(new_site: NewSite, figures: Figures) -> None:
    """A hundred that read large files and messages slowly take little memory; when they stop, they are let go."""
    site = new_site("[messages]\nmax_bytes = 31_457_280")
    async with process_at(site) as pid, Author.at(site.url) as author, AsyncExitStack() as stack:
        paths = [await author.attach(io.BytesIO(b"x" * FILE_BYTES)), await author.order()]
        before = resident(pid, "VmHWM")
        wires = [await stack.enter_async_context(Wire.to(site.url)) for _ in range(READERS)]
        async with Author.at(site.url) as other, others(other) as seconds:
            for wire, path in zip(wires, cycle(paths), strict=False):
                await wire.send(author.head("GET", path))
            for _ in range(100):
                for wire in wires:
                    await wire.reader.readexactly(16_384)
            async with asyncio.timeout(60):
                while await metric(site.url, "gateway_http_connections") > 3:
                    await asyncio.sleep(0.1)
        for wire in wires:
            assert len(await wire.end()) < FILE_BYTES / 2
        figures("clients that read 20 MB slowly, let go when they stopped", len(wires))
        figures("most memory of the gateway before these readers, MiB", before)
        figures("most memory of the gateway with these readers, MiB", resident(pid, "VmHWM"))
        figures("the slowest request beside these readers, ms", round(max(seconds) * 1000))
        assert resident(pid, "VmHWM") < RESIDENT_MIB


@pytest.mark.torture
async def test_long_lists(new_site: NewSite, figures: Figures) -> None:
    """Lists of 100 MB, twenty at once and as many whose readers have stopped, take little memory."""
    site = new_site()
    async with process_at(site) as pid, Author.at(site.url) as author, AsyncExitStack() as stack:
        for _ in range(LONG_LIST):
            await author.write("x" * MESSAGE_BYTES)
        before = resident(pid, "VmHWM")
        for _ in range(LISTS):
            wire = await stack.enter_async_context(Wire.to(site.url))
            await wire.send(author.head("GET", "/api/v2/messages?limit=200"))
        async with Author.at(site.url) as other, others(other) as seconds:
            sizes = await asyncio.gather(*(author.size("/api/v2/messages?limit=200") for _ in range(LISTS)))
            assert min(sizes) > LONG_LIST * MESSAGE_BYTES
        figures("lists of 100 MB read at once, beside as many that were not read", LISTS)
        figures("most memory of the gateway before these lists, MiB", before)
        figures("most memory of the gateway with these lists, MiB", resident(pid, "VmHWM"))
        figures("the slowest request beside these lists, ms", round(max(seconds) * 1000))
        assert resident(pid, "VmHWM") < RESIDENT_MIB
