"""A disk that runs full: what is new is refused and says so, nothing is corrupted, and room alone heals it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from storage.embedded import ROOM_BYTES, EmbeddedMongod
from storage.mongo import Mongo
from tests.e2e.conftest import Site, events_in
from tests.faults.load import Figures, Stage, assert_survived

_DISK_BYTES = 1024 * 2**20
_PATIENCE_S = 120
_DEATHS = 4


class Disk:
    """A small file system, with something in it that takes up room."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ballast = directory / "ballast"

    def leave(self, free: int) -> None:
        """Let so many bytes be free; 0 of what there are."""
        self._ballast.unlink(missing_ok=True)
        with self._ballast.open("wb") as ballast:
            while (more := shutil.disk_usage(self.directory).free - free) > 0:
                with suppress(OSError):  # mongod was faster
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, more)

    def relieve(self) -> None:
        """Make room again."""
        self._ballast.unlink()


@contextmanager
def small_disk(directory: Path) -> Iterator[Disk]:
    """Mount a file system of its own, in memory."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:  # noqa: S603 - as written
        pytest.skip("only root, and not in every container, may mount a small file system")
    try:
        yield Disk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)  # noqa: S603, S607 - as written


@pytest.mark.torture
async def test_disk_full(stage: Stage, figures: Figures) -> None:
    """With little room new things are refused and the rest goes on; with none the database is away for so long."""
    site = stage.site()
    mongo = Mongo(EmbeddedMongod(site.data).uri, "mail_gateway")
    with small_disk(site.data) as disk:
        async with stage.load(site) as load, site.running():
            await load.begin()
            async with load.going_on():
                await load.work(3)
                disk.leave(ROOM_BYTES // 2)
                await load.tally.refused()
                assert await warnings(site)
                disk.leave(0)
                await deaths(site)
                refused = load.tally["refused"]
                disk.relieve()
                await load.tally.acknowledged()
                await load.work(1)
            assert await warnings(site) == []
            await assert_survived([site], load, mongo, figures, "disk full")
            names = await mongo.database.list_collection_names(filter={"type": "collection"})
            assert all([(await mongo.database.validate_collection(name))["valid"] for name in names])
            mongo.close()  # it would look for a mongod that has gone for half a minute
    figures("disk full: requests refused, and starts of mongod that failed", f"{refused}, {_DEATHS}")


async def warnings(site: Site) -> list[str]:
    """Return what /readyz warns of."""
    async with aiohttp.ClientSession(site.url) as session, session.get("/readyz") as response:
        assert response.status == 200
        found: list[str] = (await response.json())["warnings"]
        return found


async def deaths(site: Site) -> None:
    """Return when mongod has died some times for want of room."""
    async with asyncio.timeout(_PATIENCE_S):
        while sum(str(each["event"]).startswith("mongod ended") for each in events_in(site.log)) < _DEATHS:
            await asyncio.sleep(0.1)
