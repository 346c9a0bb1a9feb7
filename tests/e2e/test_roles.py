"""Processes with roles: some answer requests, others work, on one database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api.demo.provider import Provider
from storage.embedded import EmbeddedMongod
from tests.conftest import FRIEND
from tests.e2e.conftest import Process, Site, mail_gateway
from tests.e2e.test_serve import call, ordered, relay, signed_in

NewSite = Callable[..., Site]


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[str]:
    """Configuration lines for a database that several processes share."""
    async with EmbeddedMongod(tmp_path / "shared") as server:
        yield f'uri = "{server.uri}"\nkey_file = "{tmp_path}/key"'


@asynccontextmanager
async def running(site: Site, role: str) -> AsyncIterator[Process]:
    """Run a process with this role until the end of the block; begin when it is ready."""
    config = str(site.directory / "config.toml")
    async with mail_gateway("serve", "--role", role, "--config", config, log=site.directory / "log") as process:
        await site.wait_until_ready(process)
        yield process


async def test_apart(shared: str, new_site: NewSite, provider: Provider) -> None:
    """An order that an api process takes is carried out by a worker, and the client is told the outcome."""
    front, back = (new_site(relay(provider.relay_port, wait_s=60), storage=shared) for _ in range(2))
    async with running(front, "api") as api, running(back, "worker") as worker:
        assert (await ordered(front, await signed_in(front)))[0] == 200
        assert provider.inbox(FRIEND.address)
        assert await worker.stop() == 0
        assert await api.stop() == 0
    assert "attempt to send" not in [event["event"] for event in api.events()]
    assert "attempt to send" in [event["event"] for event in worker.events()]


async def test_api_alone(shared: str, new_site: NewSite, provider: Provider) -> None:
    """Without a worker an order is taken and waits, and the next worker carries it out."""
    front, back = (new_site(relay(provider.relay_port), storage=shared) for _ in range(2))
    async with running(front, "api") as api:
        token = await signed_in(front)
        status, message_id = await ordered(front, token)
        assert status == 202
        async with running(back, "worker"), asyncio.timeout(30):
            while not provider.inbox(FRIEND.address):
                await asyncio.sleep(0.02)
        status, message = await call(f"{front.url}/api/v1/messages/{message_id}", token=token)
        assert status == 200
        assert message["delivery"]["attempts"] == 1
        assert await api.stop() == 0


async def test_worker_has_no_api(shared: str, new_site: NewSite) -> None:
    """A worker answers those who look after it, and nobody else."""
    site = new_site(storage=shared)
    async with running(site, "worker") as worker:
        statuses = {
            path: (await call(f"{site.url}{path}"))[0]
            for path in ("/healthz", "/readyz", "/", "/api/v1/me", "/api/openapi.json", "/dimail/token/")
        }
        assert await worker.stop() == 0
    assert {path for path, status in statuses.items() if status == 200} == {"/healthz", "/readyz"}
    assert {status for status in statuses.values() if status != 200} == {404}
