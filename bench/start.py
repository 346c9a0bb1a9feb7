"""How long a gateway takes from its command to the first 200 of /readyz, and what memory it takes doing nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure, Target
from bench.servers import Site

_AT_REST_S = 3.0


async def measure(uri: str, directory: Path, rounds: int) -> Sequence[Figure]:
    """Start gateways on a database that runs, on one of their own, and on one of their own for the first time."""
    running = Site(directory / "running", uri)
    embedded = Site(directory / "embedded")
    await _started(running)
    first = [await _started(Site(directory / f"first-{number}")) for number in range(rounds)]
    await _started(embedded)
    return [
        Figure(
            "start, database running",
            "s",
            [await _started(running) for _ in range(rounds)],
            target=Target("≤", 1.5),
        ),
        Figure(
            "start, database embedded",
            "s",
            [await _started(embedded) for _ in range(rounds)],
            target=Target("≤", 5),
        ),
        Figure("first start, database embedded", "s", first, target=Target("≤", 5)),
        Figure("memory, at rest", "MB", [await _at_rest(running) for _ in range(rounds)], target=Target("≤", 90)),
    ]


async def _started(site: Site) -> float:
    started = time.perf_counter()
    async with site.running():
        return time.perf_counter() - started


async def _at_rest(site: Site) -> float:
    async with site.running() as process:
        await asyncio.sleep(_AT_REST_S)
        return process.rss_mb()
