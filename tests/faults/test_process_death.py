"""Death of the process at any moment: what clients were told is true, and no order is lost.

A message goes out twice only where nobody can know better: where death falls between the final dot and the record
of its reply (RFC 1047). That is announced.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest

from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.e2e.conftest import Process, Site, events_in
from tests.faults.load import Figures, Stage, announced, assert_survived, hurried
from tests.storage.test_embedded import mongods_in

_PATIENCE_S = 120
_SHARED = 100  # messages
_COUNTER = "gateway_delivery_possible_duplicates_total"


@pytest.mark.parametrize("deaths", [3, pytest.param(100, marks=pytest.mark.torture)])
async def test_death_at_any_moment(stage: Stage, figures: Figures, deaths: int) -> None:
    """The gateway is killed again and again amid a mixed load, at times with its database; promises are kept."""
    what = f"process killed {deaths} times"
    began, site = time.monotonic(), stage.site()
    mongo = Mongo(EmbeddedMongod(site.data).uri, "mail_gateway")
    async with stage.load(site) as load:
        async with site.running():
            await load.begin()
        async with load.going_on():
            for _ in range(deaths):
                async with site.running() as process:
                    await killed(process, site, stage)
        async with EmbeddedMongod(site.data):
            await hurried(mongo)
        before = announced([site])
        async with site.running():
            await assert_survived([site], load, mongo, figures, what)
            assert await counted_duplicates(site) == (announced([site]) - before).total()
            mongo.close()  # it would look for a mongod that has gone for half a minute
    figures(f"{what}: seconds", round(time.monotonic() - began))


async def counted_duplicates(site: Site) -> float:
    """Return the metric of a running gateway."""
    async with aiohttp.ClientSession(site.url) as session, session.get("/metrics") as response:
        text = await response.text()
    (value,) = [line.split()[1] for line in text.splitlines() if line.startswith(_COUNTER)]
    return float(value)


async def killed(process: Process, site: Site, stage: Stage) -> None:
    """Return when the gateway was killed: amid the final dot of a message, or at any other moment."""
    chance = stage.chance
    at_dot, at_time, left = asyncio.Event(), chance.uniform(0.05, 1.5), chance.randint(1, 10)

    def kill() -> None:
        if process.child.returncode is None:
            process.child.send_signal(signal.SIGKILL)

    def taken() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            kill()
            at_dot.set()

    stage.outside.at_dot = taken if chance.random() < 0.5 else lambda: None
    with suppress(TimeoutError):
        await asyncio.wait_for(at_dot.wait(), at_time)
    kill()
    if chance.random() < 0.3:
        for pid in mongods_in(site.data):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(_PATIENCE_S):
        assert await process.child.wait() == -signal.SIGKILL


async def test_several_gateways(
    stage: Stage, figures: Figures, mongod: EmbeddedMongod, mongo: Mongo, tmp_path: Path
) -> None:
    """Three gateways on one database share the work, and no message goes out twice because of them."""
    storage = f"""
            uri = "{mongod.uri}"
            database = "{mongo.database.name}"
            key_file = "{tmp_path}/credentials.key"
    """
    sites, taken = [stage.site(storage) for _ in range(3)], stage.outside.taken
    async with stage.load(sites[0]) as load, AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(site.running()) for site in sites))
        await load.begin()
        async with load.going_on(), asyncio.timeout(_PATIENCE_S):
            while len(taken) < _SHARED:
                await asyncio.sleep(0.05)
        await assert_survived(sites, load, mongo, figures, "three gateways on one database")
        assert not load.second_copies()
    shares = [sum(each["event"] == "attempt to send" for each in events_in(site.log)) for site in sites]
    assert all(shares)
    assert sum(shares) == len(taken)
