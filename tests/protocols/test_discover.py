"""Finding servers in several ways at once: none hides what the others find."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from gateway.config import NetworkSection
from gateway.errors import Unreachable
from gateway.identity import Endpoint, TLSMode
from gateway.proposal import Proposal, Source
from protocols import registry
from protocols.discover import Finder
from protocols.network import Network
from tests.protocols.name_server import NameServer

ADDRESS = "me@elsewhere.example"
FOUND = Proposal(
    source=Source.SRV,
    outgoing=Endpoint("smtp.elsewhere.example", 465, TLSMode.IMPLICIT),
    outusername=ADDRESS,
)


async def finds(_: str) -> Sequence[Proposal]:
    return [FOUND]


async def hangs(_: str) -> Sequence[Proposal]:
    await asyncio.Event().wait()
    return [FOUND]


async def fails(_: str) -> Sequence[Proposal]:
    raise Unreachable("no")


async def breaks(_: str) -> Sequence[Proposal]:
    raise KeyError("a fault of ours")


@pytest.mark.usefixtures("nothing_left")
async def test_ways(caplog: pytest.LogCaptureFixture) -> None:
    """A way that hangs, fails or breaks hides nothing; what breaks unexpectedly is logged, without the address."""
    with caplog.at_level(logging.ERROR):
        found = await Finder([hangs, fails, finds, breaks, finds], deadline=0.1).find(ADDRESS)
    assert found == [FOUND, FOUND]
    (record,) = caplog.records
    assert ADDRESS not in caplog.text
    assert record.exc_info


@pytest.mark.usefixtures("nothing_left")
async def test_cancellation() -> None:
    """Who stops to wait leaves no search behind."""
    task = asyncio.create_task(Finder([hangs, hangs]).find(ADDRESS))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_all_ways(names: NameServer) -> None:
    """The gateway's own finder asks in all ways; hosts with private addresses are not connected to."""
    names.has("elsewhere.example", "MX", "1 aspmx.l.google.com.")
    names.has("_submissions._tcp.elsewhere.example", "SRV", "0 1 465 smtp.elsewhere.example.")
    for host in ("autoconfig.", "imap.", "smtp.", "mail.", ""):
        names.has(f"{host}elsewhere.example", "A", "127.0.0.1", "10.0.0.1")
    finder = registry.finder(Network(NetworkSection(nameservers=(names.address,))), "gateway.example")
    assert [each.source for each in await finder.find(ADDRESS)] == [Source.PROVIDER, Source.SRV]
    assert {"autoconfig.elsewhere.example A", "mail.elsewhere.example A"} <= set(names.asked)
    assert len(names.asked) < 50
