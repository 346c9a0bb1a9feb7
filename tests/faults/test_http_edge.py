"""What is no HTTP request, or more of one than there may be: it is refused as everything else is."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from api.connection import MAX_HEADER, MAX_LINE, Clients
from api.metrics import Metrics
from api.process import bind, url_of
from gateway import config as configuration
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.faults.raw_http import PATIENCE_S, Author, Wire, gateway, metric

MARK = b"s3cr3t"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HOST = b"Host: x\r\n"
POST = b"POST /api/v1/users HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED: dict[str, tuple[bytes, int]] = {
    "no request": (MARK + b"\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + MARK, 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a verb that is none": (b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a version that is none": (b"GET /" + MARK + b" HTTP/3.7\r\n" + HOST + b"\r\n", 400),
    "no address": (b"GET http://[::" + MARK + b"/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\nAuthorization: Bearer " + MARK + b"\r\n\r\n", 400),
    "NUL": (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer " + MARK + b"\0\r\n\r\n", 400),
    "a folded field": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n " + MARK + b"\r\n\r\n", 400),
    "a field without a name": (b"GET / HTTP/1.1\r\n" + HOST + b": " + MARK + b"\r\n\r\n", 400),
    "a length that is none": (POST + b"Content-Length: -" + MARK + b"\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "length and chunks": (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a chunk's size that is none": (CHUNKED + MARK + b"\r\n", 400),
    "an expectation of nothing": (b"GET /nothing HTTP/1.1\r\n" + HOST + b"Expect: " + MARK + b"\r\n\r\n", 417),
    "an expectation of nobody": (b"GET /nothing HTTP/1.1\r\n" + HOST + b"Expect: " + MARK + b"\xff\r\n\r\n", 417),
    "an address too long": (b"GET /" + MARK + b"x" * MAX_LINE + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a query too long": (b"GET /?" + MARK + b"x" * MAX_LINE + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a field too long": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + MARK + b"x" * 9000 + b"\r\n\r\n", 431),
    "a name too long": (b"GET / HTTP/1.1\r\n" + HOST + MARK + b"x" * 9000 + b": \r\n\r\n", 431),
    "too many fields": (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n", 431),
    "too many trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
}


@pytest.fixture
async def url(mongod: EmbeddedMongod, mongo: Mongo, tmp_path: Path) -> AsyncIterator[str]:
    """A gateway that takes small messages only."""
    async with gateway(mongod, mongo, tmp_path, messages={"max_bytes": 1_048_576}) as url:
        yield url


async def counted(url: str, status: int) -> float:
    """Return how many requests have come to no route and were answered like that."""
    labels = f'method="any",route="none",status="{status}"'
    return await metric(url, f"gateway_http_request_seconds_count{{{labels}}}")


async def test_refused(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is no request gets a problem document, quotes nothing, is counted and logged; the connection ends."""
    caplog.set_level(logging.INFO)
    for name, (sent, status) in REFUSED.items():
        before = await counted(url, status)
        async with Wire.to(url) as wire:
            await wire.send(sent)
            answer = await wire.answer()
            assert answer.status == answer.problem["status"] == status, name
            request_id = answer.headers["x-request-id"]
            assert UUID.fullmatch(request_id)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert MARK.decode() not in f"{answer.headers}{answer.content!r}", name
            if status != 417:
                assert await wire.is_closed(), name
            assert await counted(url, status) == before + 1, name
            assert any(getattr(record, "request_id", "") == request_id for record in caplog.records)
    assert MARK.decode() not in caplog.text


async def test_a_header_without_an_end(url: str) -> None:
    """A header whose fields are all short enough, and that never ends, is 431 when it has become too large."""
    async with Wire.to(url) as wire:
        await wire.send(b"GET / HTTP/1.1\r\n" + HOST)
        for number in range(20):
            await wire.send(b"X-%d: " % number + b"x" * (MAX_HEADER // 16) + b"\r\n")
        assert (await wire.answer()).status == 431
        assert await wire.is_closed()


async def test_a_chunk_amid_a_body(url: str) -> None:
    """A body that stops being chunked as RFC 9112 §7.1 has it is told so, once, and at once."""
    async with Wire.to(url) as wire:
        await wire.send(CHUNKED.replace(HOST, HOST + b"Expect: 100-continue\r\n"))
        assert (await wire.answer()).status == 100  # it is being read
        await wire.send(b"2\r\n{}\r\nzz" + MARK + b"\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert answer.problem["detail"] == "The body did not come whole."
        assert await wire.is_closed()


async def test_the_clients_own_id(url: str) -> None:
    """A request that is refused as late as an expectation has the id that the client gave it."""
    async with Wire.to(url) as wire:
        await wire.send(b"GET /nothing HTTP/1.1\r\n" + HOST + b"Expect: x\r\nX-Request-ID: mine\r\n\r\n")
        assert (await wire.answer()).headers["x-request-id"] == "mine"
        await wire.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await wire.answer()).status == 200  # the connection goes on


@pytest.mark.parametrize("length", [b"Content-Length: 9999999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_a_body_too_large(url: str, length: bytes) -> None:
    """A body over the limit is 413 as soon as that shows, whether or not it says how large it will be."""
    async with Wire.to(url) as wire:
        await wire.send(POST + length)
        piece = b"x" * 65_536
        for _ in range(20):
            await wire.send(b"%x\r\n%s\r\n" % (len(piece), piece) if b"chunked" in length else piece)
        assert (await wire.answer()).problem["title"] == "Body Too Large"


async def test_a_form_that_does_not_begin(url: str) -> None:
    """What stands before the first boundary of a form, and is never to end, is 413 when it is too large."""
    async with Author.at(url) as author, Wire.to(url) as wire:
        form = "Content-Type: multipart/form-data; boundary=b"
        await wire.send(author.head("POST", author.attachments, form, "Transfer-Encoding: chunked"))
        line = b"x" * 1000 + b"\r\n"
        with suppress(OSError):
            for _ in range(2000):
                await wire.send(b"%x\r\n%s\r\n" % (len(line), line))
        assert (await wire.answer()).problem["title"] == "Body Too Large"


# -- whatever comes ----------------------------------------------------------------------------------------------

PIECES = [piece for sent, _ in REFUSED.values() for piece in re.split(rb"(?<=\r\n)", sent)] + [
    *(
        b"GET / HTTP/1.1\r\n",
        HOST,
        b"\r\n",
        POST,
        CHUNKED,
        b"2\r\n{}\r\n",
        b"0\r\n\r\n",
        b"Content-Length: 2\r\n\r\n{}",
    ),
    *(b"Connection: upgrade\r\nUpgrade: x\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n"),
]


async def echo(request: web.Request) -> web.Response:
    """Answer with the body's length."""
    return web.Response(text=str(len(await request.read())))


async def exchanged(pieces: list[bytes]) -> bytes:
    """Send these to a server whose connections are ours, and return all that it answers; it answers others yet."""
    document = {"accounts": {"local_domain": "home.example"}, "server": {"port": 0, "client_timeout_s": 0.1}}
    config = configuration.build(document)
    application = web.Application()
    application.router.add_route("*", "/{any:.*}", echo)
    with bind(config.server) as listener:
        clients = Clients(Metrics(), config, files=100_000)
        async with clients.served(application, listener, 0.1), Wire.to(url_of(listener)) as wire:
            with suppress(OSError):  # it may be closed already
                for piece in pieces:
                    await wire.send(piece)
                    await asyncio.sleep(0)
            async with asyncio.timeout(PATIENCE_S):
                answers = await wire.end()
            async with Wire.to(url_of(listener)) as other:
                await other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await other.answer()).status == 200
    return answers


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=50), max_size=8))
def test_whatever_comes(pieces: list[bytes]) -> None:
    """No bytes, in whatever order, are quoted, or too much for the server."""
    answers = asyncio.run(exchanged(pieces))
    assert MARK not in answers
    statuses = set(re.findall(rb"^HTTP/1\.[01] (\d{3})", answers, re.MULTILINE))
    assert statuses <= {b"100", b"200", b"400", b"408", b"413", b"414", b"417", b"431"}, answers
