"""The workers' loop: claim due work, run it, keep its leases alive, stop cleanly.

Everything that must happen is a document with a time at which it is due. A worker takes a batch of due ones for
itself until a lease ends, runs them side by side, and renews the leases while they run. A worker that dies stops
renewing, and another takes over. One that cannot renew, because it or the database is cut off, ends its work before
another may take over. Nothing is kept in memory that is not in the database too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar
from uuid import uuid4

from gateway.errors import Unavailable
from gateway.lease import End, Held, Now
from gateway.ports import Clock

logger = logging.getLogger(__name__)

Work = TypeVar("Work")
Taken_contra = TypeVar("Taken_contra", contravariant=True)

LEASE = timedelta(seconds=60)
_RENEWALS_PER_LEASE = 3
_LOOKS_PER_LEASE = 60  # for what is beyond its lease


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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``wake`` is set by those who make work in this process: then it is looked for at once.

        What becomes due, or free, in ``claim_pause_s`` seconds is claimed together. A piece that is not renewed
        comes back after ``lease``, and is cut off before; a database that does not answer is asked again after
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
        self._monotonic = monotonic
        self._running: dict[asyncio.Task[None], Held[Work]] = {}
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
        loops = self._claim_loop(), self._renew_loop(), self._cut_loop()
        self._loops = [asyncio.create_task(loop) for loop in loops]

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
                await self._queue.release(_named(held), self._clock())
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
            while await self._try(self._renew) is None:
                pass

    async def _cut_loop(self) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / _LOOKS_PER_LEASE)
            self._cut_off()

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
        """Start as much due work as there is room for; True when there may be more at once.

        What runs here beyond its lease is renewed first: it would be due.
        """
        room = self._concurrency - len(self._running)
        if room <= 0:
            await asyncio.wait(list(self._running), return_when=asyncio.FIRST_COMPLETED)
            return True
        now = self._now()
        if any(held.end.has_come(now) for held in self._renewable()):
            await self._renew()
            now = self._now()
        # An owner of its own for every claim: a piece whose lease ran out is claimed under another name, even by
        # this worker, and what the first run would still record of it is refused.
        owner = str(uuid4())
        claimed = await self._queue.claim(owner, now.date, self._lease, room)
        for work in claimed:
            held = Held(owner, work, End.after(now, self._lease))
            task = asyncio.create_task(self._run(held))
            self._running[task] = held
            task.add_done_callback(self._running.pop)
        return len(claimed) == room

    async def _run(self, held: Held[Work]) -> None:
        held.begin()
        try:
            await self._runner.run(held.owner, held.work)
        except Unavailable as error:
            logger.warning("outcome not recorded; the lease will return the work", extra={"error": str(error)})
        except Exception:
            logger.exception("work failed unexpectedly; its lease will return it")

    async def _sleep(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._poll_s)

    async def _renew(self) -> bool:
        self._cut_off()
        if renewable := self._renewable():
            end = End.after(self._now(), self._lease)
            await self._queue.renew(_named(renewable), end.date)
            for held in renewable:
                held.end = end
        return True

    def _renewable(self) -> Sequence[Held[Work]]:
        return [held for held in self._running.values() if not held.is_cut]

    def _cut_off(self) -> None:
        """End what has outlived its lease, for another worker may have it; what must be finished goes on."""
        now = self._now()
        for task, held in self._running.items():
            if held.end.has_come(now) and held.may_be_cut and not held.is_cut:
                held.is_cut = True
                task.cancel()
                logger.warning("work cut off; its lease could not be renewed")

    def _now(self) -> Now:
        return Now(self._clock(), self._monotonic())


def _named(held: Sequence[Held[Work]]) -> Sequence[tuple[str, Work]]:
    return [(each.owner, each.work) for each in held]
