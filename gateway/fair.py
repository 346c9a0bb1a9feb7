"""A queue that is fair to hosts: none gets more of a worker than its share, nor do a few together get all of it.

A server that hangs, or takes its time, would else draw in one piece of work after the other until all of the worker
waits for it. What there is no room for stays in the queue, for when there is, or for another worker.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from gateway.ports import Room
from gateway.work import Runner

Work = TypeVar("Work")


class RoomyQueue(Protocol[Work]):
    """Where the work lies, as gateway.work.Queue has it, but with room for each host."""

    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int, room: Room) -> Sequence[Work]:
        """Take up to ``limit`` due pieces, of each host as many as there is room for."""

    async def renew(self, held: Collection[tuple[str, Work]], until: datetime) -> None:
        """Extend the leases of these pieces, each if its owner still holds it."""

    async def release(self, held: Collection[tuple[str, Work]], now: datetime) -> None:
        """Hand these pieces back, due at once, each if its owner still holds it."""


class Fair(Generic[Work]):
    """A Queue and a Runner for a worker, of which at most ``per_host`` pieces run for one host.

    A piece may be for several hosts, and then counts for each of them.
    """

    def __init__(
        self,
        queue: RoomyQueue[Work],
        runner: Runner[Work],
        *,
        hosts_of: Callable[[Work], Collection[str]],
        per_host: int,
        wake: asyncio.Event,
    ) -> None:
        """``wake`` is set when there is room again for a host that was passed over."""
        self._queue = queue
        self._runner = runner
        self._hosts_of = hosts_of
        self._per_host = per_host
        self._wake = wake
        self._busy: Counter[str] = Counter()

    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Work]:
        """Take up to ``limit`` due pieces of hosts that there is room for."""
        claimed = await self._queue.claim(
            owner, now, lease, limit, Room(self._per_host, dict(self._busy), free=limit)
        )
        for work in claimed:
            self._busy.update(self._hosts_of(work))
        return claimed

    async def renew(self, held: Collection[tuple[str, Work]], until: datetime) -> None:
        """Extend the leases of these pieces."""
        await self._queue.renew(held, until)

    async def release(self, held: Collection[tuple[str, Work]], now: datetime) -> None:
        """Hand these pieces back."""
        await self._queue.release(held, now)

    async def run(self, owner: str, work: Work, /) -> None:
        """Run a claimed piece."""
        try:
            await self._runner.run(owner, work)
        finally:
            self._end(self._hosts_of(work))

    def _end(self, hosts: Collection[str]) -> None:
        self._busy -= Counter(hosts)  # which forgets what has come to nothing
        self._wake.set()
