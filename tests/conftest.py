"""What the tests share: one real mongod, a database per test, another mail provider, certificates."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import trustme
import uvloop

from api.demo.provider import Account, Provider
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.figures import put

ME = Account("me@elsewhere.example", "mailbox-password")
FRIEND = Account("friend@elsewhere.example", "friend-password")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on the loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


_figures: dict[str, str] = {}


@pytest.fixture
def figures() -> Callable[[str, object], None]:
    """Notes what was measured or counted, to be shown in a table after the run."""
    return lambda what, value: _figures.update({what: str(value)})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run that succeeds put its figures in their place in a document."""
    parser.addoption("--figures", type=Path, metavar="DOCUMENT", help="put the figures there")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Show the figures, as they stand in docs/reliability.md."""
    rows = [("what", "figure"), ("---", "---"), *_figures.items()]
    table = "".join(f"| {what} | {value} |\n" for what, value in rows)
    if _figures:
        terminalreporter.write_line(table)
    if exitstatus == pytest.ExitCode.OK and (document := config.getoption("--figures")):
        put(table, document, "figures")


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMongod]:
    """One real mongod for the whole run, on a loop of its own: each test has another."""
    directory = tmp_path_factory.mktemp("mongod")
    server = EmbeddedMongod(directory)
    with asyncio.Runner() as runner:
        runner.run(server.start())
        runner.run(let_nothing_expire(server))
        yield server
        runner.run(server.stop())
    shutil.rmtree(directory)  # some 300 MB, of which pytest would keep three


async def let_nothing_expire(server: EmbeddedMongod) -> None:
    """Have it remove nothing by itself: what tests write is of another year."""
    mongo = Mongo(server.uri, "test")
    await mongo.client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
    mongo.close()


@pytest.fixture
async def mongo(mongod: EmbeddedMongod) -> AsyncIterator[Mongo]:
    """An empty database; it may have the indexes of tests before, whose making takes longer than most tests."""
    database = Mongo(mongod.uri, "test")
    yield database
    async for each in await database.database.list_collections():
        if not each["name"].startswith("system."):  # what a time series is made of
            await database.collection(each["name"]).delete_many({})
    database.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA) -> Iterator[Path]:
    """Its certificate, as network.ca_file names it."""
    with authority.cert_pem.tempfile() as path:
        yield Path(path)


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """The context of a server that proves to be localhost and 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """The context of a client that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Another provider, with the accounts ME and FRIEND, without TLS."""
    async with Provider([ME, FRIEND]) as servers:
        yield servers
