"""gateway/work.py with a queue in memory; time passes by events, not by waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from gateway.errors import Unavailable
from gateway.lease import finishing
from gateway.work import Worker

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEVER_S = 3600.0
LONG = timedelta(hours=1)
MOMENT = timedelta(milliseconds=3)
SHORT = timedelta(milliseconds=60)
GUARD_S = 30  # only a test that fails takes that long

Result = TypeVar("Result")


async def soon(awaitable: Awaitable[Result]) -> Result:
    """Wait for what has to happen; that it never does is the failure."""
    return await asyncio.wait_for(awaitable, GUARD_S)


async def turns() -> None:
    """Give all that can run its turns on the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


class ScriptedQueue:
    """Work in memory that hands every piece out once, and tells what it is asked for.

    ``outages`` is how many calls fail before the database is back.
    """

    def __init__(self, *pieces: str, outages: int = 0) -> None:
        self.due = deque(pieces)
        self.outages = outages
        self.looks: asyncio.Queue[int] = asyncio.Queue()
        self.owners: list[str] = []
        self.leases: list[tuple[datetime, timedelta]] = []
        self.renewals: asyncio.Queue[tuple[set[str], datetime]] = asyncio.Queue()
        self.released: list[tuple[str, str]] = []
        self.released_at: list[datetime] = []
        self.held: dict[str, str] = {}

    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[str]:
        """Hand out up to ``limit`` pieces."""
        self.looks.put_nowait(limit)
        self._answer()
        self.owners.append(owner)
        self.leases.append((now, lease))
        taken = [self.due.popleft() for _ in range(min(limit, len(self.due)))]
        self.held |= dict.fromkeys(taken, owner)
        return taken

    async def renew(self, held: Collection[tuple[str, str]], until: datetime) -> None:
        """Tell whose leases are extended."""
        assert all(self.held[piece] == owner for owner, piece in held)
        self.renewals.put_nowait(({piece for _, piece in held}, until))
        self._answer()

    async def release(self, held: Collection[tuple[str, str]], now: datetime) -> None:
        """Tell what is handed back."""
        self._answer()
        self.released += held
        self.released_at.append(now)

    def _answer(self) -> None:
        if self.outages:
            self.outages -= 1
            raise Unavailable("The database does not answer.")


class GatedRunner:
    """Runs a piece until its gate opens; tells what begins and what ended how."""

    def __init__(self, faults: dict[str, Exception] | None = None) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.canceled: list[str] = []
        self.running: dict[str, asyncio.Event] = {}
        self.most = 0
        self._faults = faults or {}

    async def run(self, _owner: str, work: str, /) -> None:
        """Run one piece."""
        self.running[work] = asyncio.Event()
        self.most = max(self.most, len(self.running))
        self.begun.put_nowait(work)
        try:
            if work in self._faults:
                raise self._faults[work]
            await self.running[work].wait()
        except asyncio.CancelledError:
            self.canceled.append(work)
            raise
        finally:
            del self.running[work]
            self.ended.put_nowait(work)

    async def begin(self, count: int) -> list[str]:
        """Return what begins next."""
        return [await soon(self.begun.get()) for _ in range(count)]

    async def end(self, *pieces: str) -> None:
        """Let these pieces end, and see that they do."""
        for piece in pieces:
            self.running[piece].set()
        assert {await soon(self.ended.get()) for _ in pieces} == set(pieces)


@asynccontextmanager
async def working(
    queue: ScriptedQueue,
    runner: GatedRunner,
    *,
    concurrency: int = 10,
    poll_s: float = NEVER_S,
    lease: timedelta = LONG,
    wake: asyncio.Event | None = None,
    monotonic: Callable[[], float] = lambda: 0,
) -> AsyncIterator[Worker[str]]:
    """Yield a started worker, and stop it without grace."""
    worker: Worker[str] = Worker(
        queue,
        runner,
        concurrency=concurrency,
        poll_s=poll_s,
        wake=wake or asyncio.Event(),
        clock=lambda: NOW,
        lease=lease,
        database_pause_s=0,
        monotonic=monotonic,
    )
    worker.start()
    try:
        yield worker
    finally:
        await soon(worker.stop(0))


# -- claiming ----------------------------------------------------------------------------------------------------


async def test_runs_what_it_claims() -> None:
    """Every due piece is claimed once, with the time and the lease, and run."""
    queue, runner = ScriptedQueue("a", "b", "c"), GatedRunner()
    async with working(queue, runner):
        assert sorted(await runner.begin(3)) == ["a", "b", "c"]
        await runner.end("a", "b", "c")
    assert queue.leases == [(NOW, LONG)]
    assert queue.released == []


async def test_never_more_than_its_concurrency() -> None:
    """There are never more pieces at once than allowed, and no room stays empty while work is due."""
    queue, runner = ScriptedQueue(*"abcdefgh"), GatedRunner()
    async with working(queue, runner, concurrency=3):
        running = await runner.begin(3)
        for _ in range(5):
            await runner.end(running.pop(0))
            running += await runner.begin(1)
        assert sorted(runner.running) == sorted(running)
        await runner.end(*running)
    assert runner.most == 3
    assert max(queue.looks.get_nowait() for _ in range(queue.looks.qsize())) == 3


async def test_each_claim_has_an_owner_of_its_own() -> None:
    """A piece that comes back to the same worker is held under another name than before."""
    queue, runner = ScriptedQueue("a", "b", "c"), GatedRunner()
    async with working(queue, runner, concurrency=1):
        for piece in ("a", "b", "c"):
            assert await runner.begin(1) == [piece]
            await runner.end(piece)
        await soon(queue.looks.get())
    assert len(set(queue.owners)) == len(queue.owners) >= 3


async def test_wake_means_an_immediate_look() -> None:
    """Work that is made in this process does not wait for the next look."""
    queue, runner, wake = ScriptedQueue(), GatedRunner(), asyncio.Event()
    async with working(queue, runner, wake=wake):
        await soon(queue.looks.get())
        queue.due.append("a")
        wake.set()
        assert await runner.begin(1) == ["a"]
        await runner.end("a")


async def test_wake_means_one_look() -> None:
    """After a look that finds nothing the worker rests until it is woken again."""
    queue, wake = ScriptedQueue(), asyncio.Event()
    async with working(queue, GatedRunner(), wake=wake):
        await soon(queue.looks.get())
        wake.set()
        await soon(queue.looks.get())
        await turns()
        assert queue.looks.empty()


async def test_wake_during_a_look_is_not_lost() -> None:
    """Work that is made while a look is under way is found by the next one, at once."""

    class LateQueue(ScriptedQueue):
        async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[str]:
            found = await super().claim(owner, now, lease, limit)
            if len(self.owners) == 1:
                self.due.append("a")
                wake.set()
            return found

    queue, runner, wake = LateQueue(), GatedRunner(), asyncio.Event()
    async with working(queue, runner, wake=wake):
        assert await runner.begin(1) == ["a"]
        await runner.end("a")


async def test_looks_again_after_a_while() -> None:
    """Work that other processes made, or that has become due, is found without being told of."""
    queue, runner = ScriptedQueue(), GatedRunner()
    async with working(queue, runner, poll_s=0.001):
        await soon(queue.looks.get())
        queue.due.append("a")
        assert await runner.begin(1) == ["a"]
        await runner.end("a")


# -- leases ------------------------------------------------------------------------------------------------------


async def test_renews_what_runs() -> None:
    """The leases of what runs are extended again and again, those of what ended are not."""
    queue, runner = ScriptedQueue("a", "b"), GatedRunner()
    async with working(queue, runner, lease=MOMENT):
        await runner.begin(2)
        for _ in range(3):
            assert await soon(queue.renewals.get()) == ({"a", "b"}, NOW + MOMENT)
        await runner.end("a")
        while (renewed := await soon(queue.renewals.get()))[0] != {"b"}:
            assert renewed[0] == {"a", "b"}  # under way when the piece ended
        assert await soon(queue.renewals.get()) == ({"b"}, NOW + MOMENT)


async def test_renewing_survives_the_database() -> None:
    """A renewal that the database does not answer is made up for by the next."""
    queue, runner = ScriptedQueue("a"), GatedRunner()
    async with working(queue, runner, lease=MOMENT) as worker:
        await runner.begin(1)
        queue.outages = 3
        for _ in range(5):
            assert (await soon(queue.renewals.get()))[0] == {"a"}
        assert worker.alive
        await runner.end("a")


class Moments:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


async def test_cut_off_before_the_lease_ends() -> None:
    """What cannot be renewed is cut off while nobody else may have it yet."""
    queue, runner, moments = ScriptedQueue("a"), GatedRunner(), Moments()
    async with working(queue, runner, lease=SHORT, monotonic=moments):
        await runner.begin(1)
        queue.outages = 10**9
        moments.now = 0.89 * SHORT.total_seconds()
        await soon(queue.renewals.get())
        assert runner.canceled == []
        moments.now = 0.91 * SHORT.total_seconds()
        assert await soon(runner.ended.get()) == "a"
        assert runner.canceled == ["a"]


async def test_a_renewed_lease_lasts() -> None:
    """A renewal counts from when it was asked for."""
    queue, runner, moments = ScriptedQueue("a"), GatedRunner(), Moments()
    async with working(queue, runner, lease=SHORT, monotonic=moments):
        await runner.begin(1)
        for _ in range(3):
            moments.now += 0.8 * SHORT.total_seconds()
            while not queue.renewals.empty():
                queue.renewals.get_nowait()
            await soon(queue.renewals.get())
        await runner.end("a")
    assert runner.canceled == []


async def test_what_must_be_finished_is_not_cut_off() -> None:
    """What is beyond its lease and may not be cut off is renewed before anything is claimed, lest it be due too."""

    class FinishingRunner(GatedRunner):
        @finishing()
        async def run(self, owner: str, work: str, /) -> None:
            await super().run(owner, work)

    queue, runner, moments, wake = ScriptedQueue("a"), FinishingRunner(), Moments(), asyncio.Event()
    async with working(queue, runner, monotonic=moments, wake=wake):
        await runner.begin(1)
        await soon(queue.looks.get())
        moments.now = 2 * LONG.total_seconds()
        queue.due.append("b")
        queue.outages = 1
        wake.set()
        for _ in range(2):
            assert (await soon(queue.renewals.get()))[0] == {"a"}
        assert await runner.begin(1) == ["b"]
        await runner.end("a", "b")
    assert runner.canceled == []


# -- failures ----------------------------------------------------------------------------------------------------


async def test_waits_for_the_database() -> None:
    """While the database is away the worker asks again; when it is back the work is run."""
    queue, runner = ScriptedQueue("a", outages=3), GatedRunner()
    async with working(queue, runner) as worker:
        assert await runner.begin(1) == ["a"]
        assert worker.alive
        await runner.end("a")
    assert queue.looks.qsize() >= 4


@pytest.mark.parametrize(
    ("fault", "severity"),
    [(RuntimeError("a fault of ours"), "ERROR"), (Unavailable("The database does not answer."), "WARNING")],
)
async def test_failing_work_stops_nothing(
    fault: Exception, severity: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A piece that fails is left to its lease: the others run on, and what is due later is run too."""
    queue, runner, wake = ScriptedQueue("good", "bad"), GatedRunner({"bad": fault}), asyncio.Event()
    async with working(queue, runner, wake=wake) as worker:
        assert sorted(await runner.begin(2)) == ["bad", "good"]
        assert await soon(runner.ended.get()) == "bad"
        queue.due.append("next")
        wake.set()
        assert await runner.begin(1) == ["next"]
        assert worker.alive
        await runner.end("good", "next")
    assert queue.released == []
    assert [record.levelname for record in caplog.records if record.name == "gateway.work"] == [severity]


# -- stopping ----------------------------------------------------------------------------------------------------


async def test_stop_lets_running_work_finish() -> None:
    """What runs when the worker is stopped may finish within the grace, and is not handed back."""
    queue, runner = ScriptedQueue("a", "b"), GatedRunner()
    async with working(queue, runner) as worker:
        await runner.begin(2)
        stopping = asyncio.create_task(worker.stop(GUARD_S))
        await turns()
        assert not worker.alive
        await runner.end("a", "b")
        await soon(stopping)
    assert (queue.released, runner.canceled) == ([], [])


async def test_stop_claims_nothing_more() -> None:
    """A worker that is being stopped leaves due work to others, also when it has room for it again."""
    queue, runner = ScriptedQueue("a", "b"), GatedRunner()
    async with working(queue, runner, concurrency=1) as worker:
        await runner.begin(1)
        stopping = asyncio.create_task(worker.stop(GUARD_S))
        await turns()
        await runner.end("a")
        await soon(stopping)
    assert list(queue.due) == ["b"]


async def test_stop_hands_back_the_rest() -> None:
    """What does not finish within the grace is canceled and handed back, due at once."""
    queue, runner = ScriptedQueue("a", "b", "c"), GatedRunner()
    async with working(queue, runner) as worker:
        await runner.begin(3)
        await runner.end("b")
        await soon(worker.stop(0.01))
    assert sorted(runner.canceled) == ["a", "c"]
    (owner,) = queue.owners
    assert sorted(queue.released) == [(owner, "a"), (owner, "c")]
    assert queue.released_at == [NOW]


async def test_stop_hands_back_at_full_concurrency() -> None:
    """A worker that has no room left, and so waits for its own work, is stopped like any other."""
    queue, runner = ScriptedQueue("a", "b"), GatedRunner()
    async with working(queue, runner, concurrency=1) as worker:
        await runner.begin(1)
        await soon(worker.stop(0.01))
    assert runner.canceled == ["a"]
    assert [piece for _, piece in queue.released] == ["a"]
    assert list(queue.due) == ["b"]


async def test_stop_without_the_database() -> None:
    """A worker whose database is away stops all the same: the leases will return the work."""
    queue, runner = ScriptedQueue("a"), GatedRunner()
    async with working(queue, runner) as worker:
        await runner.begin(1)
        queue.outages = 1
        await soon(worker.stop(0))
    assert (runner.canceled, queue.released) == (["a"], [])


async def test_stop_while_waiting_for_the_database() -> None:
    """A worker that waits for its database can be stopped."""
    queue = ScriptedQueue(outages=10**9)
    async with working(queue, GatedRunner()) as worker:
        await soon(queue.looks.get())
        await soon(worker.stop(GUARD_S))
        assert not worker.alive


async def test_stop_before_start() -> None:
    """A worker that was never started can be stopped."""
    worker: Worker[str] = Worker(
        ScriptedQueue(), GatedRunner(), concurrency=1, poll_s=1, wake=asyncio.Event(), clock=lambda: NOW
    )
    await soon(worker.stop(GUARD_S))
    assert not worker.alive


# -- liveness ----------------------------------------------------------------------------------------------------


async def test_alive_from_start_to_stop() -> None:
    """A worker is alive while it looks for work."""
    queue = ScriptedQueue()
    async with working(queue, GatedRunner()) as worker:
        await soon(queue.looks.get())
        assert worker.alive
    assert not worker.alive


async def test_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is seen from outside and in the log; the loop tries again and is alive when it succeeds."""

    class BrokenQueue(ScriptedQueue):
        broken = True

        async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[str]:
            claimed = await super().claim(owner, now, lease, limit)
            if self.broken:
                raise RuntimeError("a fault of ours")
            return claimed

    queue, runner = BrokenQueue(), GatedRunner()
    async with working(queue, runner) as worker:
        await soon(queue.looks.get())
        await turns()
        while_broken = worker.alive
        assert "a fault of ours" in caplog.text
        queue.broken = False
        queue.due.append("a")
        assert await runner.begin(1) == ["a"]
        assert (while_broken, worker.alive) == (False, True)
        await runner.end("a")
