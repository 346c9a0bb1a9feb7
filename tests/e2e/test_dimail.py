"""The backend dimail against the dimail-compatible face of a gateway in another process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from gateway import config as configuration
from gateway.ports import system_clock
from protocols.backends.dimail import DimailBackend
from protocols.network import Network
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.e2e.conftest import Site, site_in
from tests.protocols.backends.mail_backend import MailBackendContract

NAME, PASSWORD = "gateway", "a long password"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mongod: EmbeddedMongod) -> Iterator[Site]:
    """A gateway at work, on a loop of its own: each test has another."""
    database = f"test_{uuid4().hex}"
    directory = tmp_path_factory.mktemp("server") / "site"
    site = site_in(directory, storage=f'uri = "{mongod.uri}"\ndatabase = "{database}"')
    with asyncio.Runner() as runner:
        process = site.running()
        runner.run(process.__aenter__())
        yield site
        runner.run(process.__aexit__(None, None, None))
        runner.run(_drop(mongod, database))


async def _drop(mongod: EmbeddedMongod, database: str) -> None:
    mongo = Mongo(mongod.uri, database)
    await mongo.client.drop_database(database)
    mongo.close()


class TestDimailFace(MailBackendContract):
    """What the port promises holds from one gateway to another."""

    @pytest.fixture
    async def backend(self, server: Site) -> AsyncIterator[DimailBackend]:
        """The backend of a gateway for which the other one is its dimail server."""
        settings = configuration.build(
            {
                "accounts": {"local_domain": "home.example"},
                "dimail": {"url": f"{server.url}/dimail", "username": NAME, "password": PASSWORD},
            }
        )
        async with DimailBackend(settings.dimail, Network(settings.network).tls, clock=system_clock) as backend:
            await backend.make_admin()
            yield backend
