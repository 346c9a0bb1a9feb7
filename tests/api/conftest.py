"""A gateway at work and clients of its REST API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from api.demo.provider import Provider
from api.main import assembled
from gateway import config as configuration
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.client import Client
from tests.contract import Contract

CLOSED_PORT = 1


@pytest.fixture
def settings(
    mongod: EmbeddedMongod,
    mongo: Mongo,
    provider: Provider,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> dict[str, Any]:
    """The configuration of the gateway under test; the marker ``configured`` changes keys of it."""
    document: dict[str, Any] = {
        "storage": {"uri": mongod.uri, "database": mongo.database.name, "data_dir": str(tmp_path)},
        "accounts": {"local_domain": "home.example"},
        "relay": {"host": provider.host, "port": provider.relay_port, "tls": "none"},
        "network": {
            "allow": ["127.0.0.0/8"],
            "ports": [provider.submission_port, provider.imap_port, CLOSED_PORT],
            "allow_plaintext": True,
        },
        "delivery": {"poll_s": 0.05},
        "checks": {"poll_s": 60},  # no test is so long: what checks by itself asks for it
    }
    for mark in request.node.iter_markers("configured"):
        for section, values in mark.kwargs.items():
            document[section] = document.get(section, {}) | values
    return document


@pytest.fixture
async def api(settings: dict[str, Any], aiohttp_client: AiohttpClient) -> AsyncIterator[Client]:
    """A client, not signed in, of a gateway at work."""
    async with assembled(configuration.build(settings)) as gateway:
        http = await aiohttp_client(gateway.application)
        async with http.get("/api/openapi.json") as response:
            yield Client(http, Contract(await response.json()))


@pytest.fixture
async def user(api: Client) -> Client:
    """The same client, signed in as a new user."""
    return await api.register(f"user-{uuid4().hex[:12]}")
