"""The workers' loop: claim due work, run it, keep its leases alive, stop cleanly.

Everything that must happen is a document with a time at which it is due. A worker takes a batch of due ones for
itself until a lease ends, runs them side by side, and renews the leases while they run. A worker that dies stops
renewing, and another takes over. Nothing is kept in memory that is not in the database too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar
from uuid import uuid4

from gateway.errors import Unavailable
from gateway.ports import Clock

logger = logging.getLogger(__name__)

Work = TypeVar("Work")
Taken_contra = TypeVar("Taken_contra", contravariant=True)

LEASE = timedelta(seconds=60)
_RENEWALS_PER_LEASE = 3


class Queue(Protocol[Work]):
    """Where the work lies. Every method raises Unavailable when the database does not answer."""

    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Work]:
        """Take up to ``limit`` due pieces for the owner until ``now + lease``."""

    async def renew(self, held: Collection[tuple[str, Work]], until: datetime) -> None:
        """Extend the leases of these pieces, each if its owner still holds it."""

    async def release(self, held: Collection[tuple[str, Work]], now: datetime) -> None:
        """Hand these pieces back, due at once, each if its owner still holds it."""


class Runner(Protocol[Taken_contra]):
    """Does one piece of work."""

    async def run(self, owner: str, work: Taken_contra, /) -> None:
        """Run it and record the outcome. Raises Unavailable when the database does not answer."""


class Worker(Generic[Work]):
    """Runs due work, at most ``concurrency`` pieces at once, until stopped."""

    def __init__(
        self,
        queue: Queue[Work],
        runner: Runner[Work],
        *,
        concurrency: int,
        poll_s: float,
        wake: asyncio.Event,
        clock: Clock,
        lease: timedelta = LEASE,
        claim_pause_s: float = 0.002,
        database_pause_s: float = 1.0,
    ) -> None:
        """``wake`` is set by those who make work in this process: then it is looked for at once.

        What becomes due, or free, in ``claim_pause_s`` seconds is claimed together. A piece that is not renewed
        comes back after ``lease``; a database that does not answer is asked again after
        ``database_pause_s`` seconds.
        """
        self._queue = queue
        self._runner = runner
        self._concurrency = concurrency
        self._poll_s = poll_s
        self._clock = clock
        self._lease = lease
        self._claim_pause_s = claim_pause_s
        self._database_pause_s = database_pause_s
        self._running: dict[asyncio.Task[None], tuple[str, Work]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._wake = wake
        self._stopping = False
        self._faulty: set[str] = set()

    @property
    def alive(self) -> bool:
        """True from start to stop, unless a step fails for a fault of ours; it is tried again all the same."""
        return bool(self._loops) and not self._stopping and not self._faulty

    def start(self) -> None:
        """Start the loops."""
        self._loops = [asyncio.create_task(self._claim_loop()), asyncio.create_task(self._renew_loop())]

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more, let what runs finish for ``grace_s`` seconds, hand back the rest."""
        deadline = asyncio.get_running_loop().time() + grace_s
        self._stopping = True
        self._wake.set()
        await self._finish(self._loops[:1], deadline)
        await self._finish(list(self._running), deadline, hand_back=True)
        await self._finish(self._loops, deadline=0)

    async def _finish(
        self, tasks: Sequence[asyncio.Task[None]], deadline: float, *, hand_back: bool = False
    ) -> None:
        """Let tasks end until the deadline, then cancel them; ``hand_back``: and release what they worked on."""
        if not tasks:
            return
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        _, unfinished = await asyncio.wait(tasks, timeout=left)
        held = [self._running[task] for task in unfinished if task in self._running]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        if hand_back and held:
            try:
                await self._queue.release(held, self._clock())
            except Unavailable as error:
                logger.warning("work not handed back; its lease will return it", extra={"error": str(error)})

    async def _claim_loop(self) -> None:
        while not self._stopping:
            self._wake.clear()
            if await self._try(self._claim) is False:
                await self._sleep()
            await asyncio.sleep(self._claim_pause_s)

    async def _renew_loop(self) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / _RENEWALS_PER_LEASE)
            if self._running:
                await self._try(self._renew)

    async def _try(self, step: Callable[[], Awaitable[bool]]) -> bool | None:
        """Return what a step returns; where it fails None, when it is time to try again."""
        name = step.__name__
        try:
            done = await step()
        except Unavailable as error:
            logger.warning("waiting for the database", extra={"error": str(error)})
        except Exception:
            self._faulty.add(name)
            logger.exception("the worker failed unexpectedly", extra={"step": name})
        else:
            self._faulty.discard(name)
            return done
        await asyncio.sleep(self._database_pause_s)
        return None

    async def _claim(self) -> bool:
        """Start as much due work as there is room for; True when there may be more at once."""
        room = self._concurrency - len(self._running)
        if room <= 0:
            await asyncio.wait(list(self._running), return_when=asyncio.FIRST_COMPLETED)
            return True
        # An owner of its own for every claim: a piece whose lease ran out is claimed under another name, even by
        # this worker, and what the first run would still record of it is refused.
        owner = str(uuid4())
        claimed = await self._queue.claim(owner, self._clock(), self._lease, room)
        for work in claimed:
            task = asyncio.create_task(self._run(owner, work))
            self._running[task] = (owner, work)
            task.add_done_callback(self._running.pop)
        return len(claimed) == room

    async def _run(self, owner: str, work: Work) -> None:
        try:
            await self._runner.run(owner, work)
        except Unavailable as error:
            logger.warning("outcome not recorded; the lease will return the work", extra={"error": str(error)})
        except Exception:
            logger.exception("work failed unexpectedly; its lease will return it")

    async def _sleep(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._poll_s)

    async def _renew(self) -> bool:
        await self._queue.renew(list(self._running.values()), self._clock() + self._lease)
        return True
