"""Lists of things that may be large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from api.demo.provider import Provider
from api.listing import CLIENT_TIMEOUT_S, Pieces
from tests.client import Client

BODIES = ["small", "x" * 300_000, "ü" * 150_000, '"\\\x01' * 60_000, "x" * 900_000, "small too"]


async def drafts(user: Client) -> list[dict[str, Any]]:
    """Create the drafts; return them as they are shown one by one, newest first."""
    identity = await user.local_identity()
    paths = [
        f"/api/v1/messages/{await user.draft(identity['identity_id'], body=body)}" for body in reversed(BODIES)
    ]
    return [(await user.get(path)).json for path in reversed(paths)]


async def test_whole(user: Client) -> None:
    """A list has the whole of its messages, however large they are, and HEAD has nothing of them."""
    stored = await drafts(user)
    for limit, offset in ((50, 0), (2, 0), (1, 4), (200, 1)):
        reply = await user.get(f"/api/v2/messages?limit={limit}&offset={offset}")
        assert reply.status == 200
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.json == {"total": len(BODIES), "messages": stored[offset : offset + limit]}
    head = await user.call("HEAD", "/api/v2/messages")
    assert (head.status, head.content) == (200, b"")


async def test_at_once(user: Client) -> None:
    """Many lists asked for at once are all whole."""
    stored = await drafts(user)
    replies = await asyncio.gather(*(user.get("/api/v2/messages") for _ in range(20)))
    assert all(reply.json["messages"] == stored for reply in replies)


async def test_identities(user: Client, provider: Provider) -> None:
    """So has a list of identities, whatever people keep in infos."""
    for number, size in enumerate((4000, 1, 4000)):
        identity_id = await user.add_remote(provider, identifier=f"me{number}@elsewhere.example")
        infos = {f"note{key}": "x" * size for key in range(50)}
        path = f"/api/v2/identities/remotes/{identity_id}"
        assert (await user.call("PATCH", path, {"infos": infos})).status == 204
    identities = (await user.get("/api/v2/identities/remotes")).json["remote_identities"]
    assert [each["identifier"] for each in identities] == [f"me{number}@elsewhere.example" for number in range(3)]
    assert [len(each["infos"]["note49"]) for each in identities] == [4000, 1, 4000]


async def answering(
    pieces: AsyncGenerator[bytes, None], client: AiohttpClient, timeout_s: float
) -> aiohttp.ClientResponse:
    """Ask a server that answers with these pieces."""

    async def answer(request: web.Request) -> web.Response:
        return Pieces(pieces).response(request, 200)

    app = web.Application()
    app[CLIENT_TIMEOUT_S] = timeout_s
    app.router.add_get("/", answer)
    return await (await client(app)).get("/")


async def test_cut_off(aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that fails midway does not look whole, and the log says so."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b'{"total":2,"messages":[{}'
        raise RuntimeError("the database is away")

    response = await answering(pieces(), aiohttp_client, timeout_s=60)
    assert response.status == 200
    with pytest.raises(aiohttp.ClientError):
        await response.read()
    assert any(record.message.startswith("a list was broken off: ") for record in caplog.records)


async def test_not_taken(aiohttp_client: AiohttpClient) -> None:
    """Who takes nothing of it for too long is cut off, and what was held for the answer is given back."""
    given_back = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b" " * 1_000_000
        finally:
            given_back.set()

    response = await answering(pieces(), aiohttp_client, timeout_s=0.1)
    await given_back.wait()
    with pytest.raises(aiohttp.ClientError):
        await response.read()
