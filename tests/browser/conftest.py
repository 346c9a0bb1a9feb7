"""A gateway that listens, another provider, and a browser in front of both."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from playwright.async_api import Browser, async_playwright

from api.demo.provider import Provider
from api.main import running
from gateway import config as configuration
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.absence import do_without
from tests.browser.tab import MAIL_HOST, WINDOWS, Tab
from tests.conftest import FRIEND, ME
from tests.protocols.name_server import NameServer


@pytest.fixture
async def provider(authority: trustme.CA) -> AsyncIterator[Provider]:
    """Another provider, with the accounts ME and FRIEND, which wants STARTTLS as those outside do."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(MAIL_HOST).configure_cert(tls)
    async with Provider([ME, FRIEND], tls=tls) as servers:
        yield servers


@pytest.fixture
async def names(provider: Provider) -> AsyncIterator[NameServer]:
    """A DNS server by which the provider's servers are found."""
    async with NameServer() as server:
        server.has(MAIL_HOST, "A", "127.0.0.1")
        server.has("_imap._tcp.elsewhere.example", "SRV", f"0 1 {provider.imap_port} {MAIL_HOST}.")
        server.has("_submission._tcp.elsewhere.example", "SRV", f"0 1 {provider.submission_port} {MAIL_HOST}.")
        yield server


@pytest.fixture
def storage(mongod: EmbeddedMongod, mongo: Mongo, tmp_path: Path) -> Mapping[str, str]:
    """The configuration of the gateway's database."""
    return {"uri": mongod.uri, "database": mongo.database.name, "data_dir": str(tmp_path)}


@pytest.fixture
async def site(
    storage: Mapping[str, str], provider: Provider, names: NameServer, ca_file: Path
) -> AsyncIterator[str]:
    """The address of a gateway at work."""
    document: dict[str, Any] = {
        "server": {"port": 0},
        "storage": storage,
        "accounts": {"local_domain": "home.example"},
        "messages": {"max_bytes": 2_000_000},
        "relay": {"host": provider.host, "port": provider.relay_port, "tls": "none"},
        "network": {
            "allow": ["127.0.0.0/8"],
            "ports": [provider.submission_port, provider.imap_port],
            "nameservers": [names.address],
            "ca_file": str(ca_file),
        },
        "delivery": {"poll_s": 0.05},
        "checks": {"poll_s": 0.05},
    }
    async with running(configuration.build(document)) as (_, url):
        yield url


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        do_without("Chromium is not installed: apt-get install chromium")
    async with async_playwright() as driver:
        # Debian's wrapper asks for drawing by a GPU; where there is none, that was seen to stall for good.
        flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        chromium = await driver.chromium.launch(executable_path=path, args=flags)
        yield chromium
        await chromium.close()


@pytest.fixture(params=list(WINDOWS))
async def tab(request: pytest.FixtureRequest, browser: Browser, site: str) -> AsyncIterator[Tab]:
    """A tab of that browser, once in a window of each size, at the console."""
    story = request.node.originalname.removeprefix("test_")
    async with await Tab.opened(browser, site, request.param, story) as opened:
        yield opened
