"""Work that many processes or one find due at one moment, and how they do it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.figures import Figure, Target
from bench.servers import Process, Site
from storage.mongo import Document, Mongo

_SOON = timedelta(minutes=5)
_SPREAD_MS = 10_000
_POLL_S = 0.05
_DEADLINE_S = 300.0


@dataclass(frozen=True, slots=True)
class Run:
    """How work was done: pieces per second, processor time of the gateways per piece, most memory of one in MB."""

    per_s: float
    cpu_ms: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """The documents of a collection that match and have at ``date``, a dotted path, the time when each is due."""

    mongo: Mongo
    collection: str
    where: Document
    date: str

    async def worked_off(self, site: Site, role: str = "all", processes: int = 1) -> Run:
        """Start so many gateways, let all be due, and return how they do it, from the first piece to the last.

        So neither the start of a process nor a poll is counted.
        """
        async with asyncio.timeout(_DEADLINE_S), AsyncExitStack() as stack:
            gateways = [await stack.enter_async_context(site.running(role)) for _ in range(processes)]
            now = datetime.now(UTC)
            existing = {**self.where, self.date: {"$exists": True}}
            at = {"$subtract": [now, {"$multiply": [{"$rand": {}}, _SPREAD_MS]}]}
            due = await self.mongo.collection(self.collection).update_many(existing, [{"$set": {self.date: at}}])
            first = await self._fewer_than(due.matched_count, now)
            started, used = time.perf_counter(), _cpu_s(gateways)
            await self._fewer_than(1, now)
            seconds, used = time.perf_counter() - started, _cpu_s(gateways) - used
            return Run(first / seconds, used / first * 1000, max(gateway.peak_mb() for gateway in gateways))

    async def _fewer_than(self, count: int, since: datetime) -> int:
        """Return how much is left when that is less: what somebody is at has the end of a lease for its date."""
        where = {**self.where, self.date: {"$lt": since + _SOON}}
        collection = self.mongo.collection(self.collection)
        while (left := await collection.count_documents(where)) >= count:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(_POLL_S)
        return left


def _cpu_s(processes: Sequence[Process]) -> float:
    return sum(process.cpu_s() for process in processes)


def memory(what: str, runs: Sequence[Run]) -> Figure:
    """Return the figure of the memory that runs took."""
    return Figure(what, "MB", [run.peak_mb for run in runs], target=Target("≤", 150))
