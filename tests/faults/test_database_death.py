"""Death of the database under load: it and the gateway come back by themselves, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.faults.load import Figures, Stage, assert_survived, hurried, settled, spread
from tests.faults.mongods import ReplicaSet
from tests.storage.test_embedded import mongod_in

ONCE_OR_OFTEN = pytest.mark.parametrize("deaths", [1, pytest.param(20, marks=pytest.mark.torture)])


@ONCE_OR_OFTEN
async def test_the_embedded_database(stage: Stage, figures: Figures, deaths: int) -> None:
    """The embedded mongod is killed again and again: it is started again, and what was acknowledged is there."""
    what = f"embedded database killed {deaths} times"
    site, chance, seconds = stage.site(), stage.chance, []
    mongo = Mongo(EmbeddedMongod(site.data).uri, "mail_gateway")
    async with stage.load(site) as load:
        async with site.running():
            await load.begin()
            async with load.going_on():
                for _ in range(deaths):
                    await load.work(chance.uniform(0.1, 2))
                    os.kill(mongod_in(site.data), signal.SIGKILL)
                    seconds.append(await load.tally.acknowledged())
            await settled_by_itself(mongo, deaths)
        async with EmbeddedMongod(site.data):
            await hurried(mongo)
        async with site.running():
            await assert_survived([site], load, mongo, figures, what)
            mongo.close()  # it would look for a mongod that has gone for half a minute
    figures(f"{what}: seconds until a write was acknowledged", spread(seconds))


@pytest.fixture
async def external(tmp_path: Path) -> AsyncIterator[ReplicaSet]:
    """An operator's own mongod."""
    async with ReplicaSet(tmp_path / "mongod", 1) as members:
        yield members


@ONCE_OR_OFTEN
async def test_a_database_that_stays_away(
    stage: Stage, external: ReplicaSet, figures: Figures, deaths: int
) -> None:
    """An operator's own mongod is killed and stays away: requests wait, or are refused in time, and then go on."""
    what = f"external database killed {deaths} times"
    site, chance, seconds = stage.site(f'uri = "{external.uri}"'), stage.chance, []
    mongo, (mongod,) = Mongo(external.uri, "mail_gateway"), external.members
    async with stage.load(site) as load:
        async with site.running():
            await load.begin()
            async with load.going_on():
                for number in range(deaths):
                    await load.work(chance.uniform(0.1, 2))
                    mongod.kill()
                    await (asyncio.sleep(chance.uniform(0, 4)) if number else load.tally.refused())
                    mongod.start()
                    seconds.append(await load.tally.acknowledged())
            await settled_by_itself(mongo, deaths)
        await hurried(mongo)
        async with site.running():
            await assert_survived([site], load, mongo, figures, what)
    mongo.close()
    figures(f"{what}: seconds from its start until a write was acknowledged", spread(seconds))


async def settled_by_itself(mongo: Mongo, deaths: int) -> None:
    """Wait, in the long test, for the leases of what was under way; in the short one the next start is faster."""
    if deaths > 1:
        await settled(mongo)
