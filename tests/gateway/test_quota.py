"""The limits of users, on the store that all processes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from gateway import config as configuration
from gateway.config import LimitsSection
from gateway.errors import ConfigurationError, Conflict, Full, Invalid, TooOften, Unavailable
from gateway.message import Attachment, Message, Participant
from gateway.notice import GATEWAY_ID
from gateway.quota import Quota
from storage.mongo import Mongo
from storage.usage import USAGE, MongoUsage
from tests.gateway.test_throttle import Clock

ME, SPECIAL = str(uuid4()), str(uuid4())
LIMITS = LimitsSection(
    messages_per_hour=4, recipients_per_day=6, storage_bytes=1_048_576, identities=2, exempt=(SPECIAL,)
)
NOW = datetime(2026, 7, 20, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    """The clock of the quota."""
    return Clock()


@pytest.fixture
def quota(mongo: Mongo, clock: Clock) -> Quota:
    """The quota under test."""
    return Quota(MongoUsage(mongo), LIMITS, clock)


def message(user_id: str = ME, recipients: int = 1) -> Message:
    """Return a message."""
    return Message(
        message_id=str(uuid4()),
        user_id=user_id,
        identity_id="i",
        subject="",
        body="",
        body_is_plain=True,
        excerpt="",
        participants=tuple(Participant(f"a{n}@example.org", "", "To") for n in range(recipients)),
        discussion_id="",
        date_insert=NOW,
        date_sort=NOW,
    )


async def done() -> bool:
    """Do what was counted."""
    return True


async def not_done() -> bool:
    """Do nothing, because somebody else was faster."""
    return False


async def order(quota: Quota, **changes: int | str) -> bool:
    """Order a message."""
    draft = message(**changes)  # type: ignore[arg-type]
    return await quota.order(draft, draft, done)


async def test_time_makes_room(quota: Quota, clock: Clock) -> None:
    """As many as an hour has are taken at once, and one more for each part of an hour that one has to wait for."""
    for _ in range(4):
        assert await order(quota)
    with pytest.raises(TooOften, match="Try again in 899 seconds") as refused:
        await order(quota)
    assert refused.value.temporary
    assert refused.value.retry_after == 899
    clock.now += timedelta(seconds=898)
    with pytest.raises(TooOften, match="in 1 seconds"):
        await order(quota)
    clock.now += timedelta(seconds=1)
    assert await order(quota)
    with pytest.raises(TooOften):
        await order(quota)


async def test_clocks_that_differ(quota: Quota, clock: Clock) -> None:
    """What a process has counted whose clock goes before ours leaves as much room as if it went right."""
    clock.now += timedelta(seconds=1)
    for _ in range(3):
        assert await order(quota)
    clock.now -= timedelta(seconds=1)
    assert await order(quota)
    with pytest.raises(TooOften):
        await order(quota)


async def test_recipients(quota: Quota, clock: Clock) -> None:
    """The wait is as long as it takes until there is room for all recipients; for more than fit it is none."""
    assert await order(quota, recipients=5)
    assert await order(quota, recipients=1)
    with pytest.raises(TooOften) as refused:
        await order(quota, recipients=3)
    assert refused.value.retry_after == 3 * 4 * 3600 - 1
    clock.now += timedelta(hours=12)
    assert await order(quota, recipients=3)
    clock.now += timedelta(days=2)
    with pytest.raises(Invalid):
        await order(quota, recipients=7)
    assert await order(quota, recipients=6)


async def test_what_is_not_done_does_not_count(quota: Quota) -> None:
    """An order that is refused, or is somebody else's, is given back."""

    async def refused() -> bool:
        raise Conflict("no")

    draft = message()
    for _ in range(20):
        assert not await quota.order(draft, draft, not_done)
        with pytest.raises(Conflict):
            await quota.order(draft, draft, refused)
        assert not await quota.keep(ME, 100_000, not_done)
    assert (await quota.usage.counters(ME))["bytes"] == 0
    assert await order(quota)


async def test_what_may_be_done_counts(quota: Quota, clock: Clock) -> None:
    """Where the database does not tell, it counts, until what is kept is counted anew."""

    async def cut_off() -> bool:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        await quota.keep(ME, 1_000_000, cut_off)
    with pytest.raises(Full):
        await quota.keep(ME, 100_000, done)
    clock.now += timedelta(minutes=2)
    assert await quota.keep(ME, 100_000, done)


async def test_storage(quota: Quota) -> None:
    """There is room up to the limit; what takes less than before is done whatever the limit is by now."""
    assert await quota.keep(ME, 1_048_576, done)
    with pytest.raises(Full) as refused:
        await quota.keep(ME, 1, done)
    assert not refused.value.temporary
    lower = replace(quota, limits=replace(LIMITS, storage_bytes=1_000))
    assert await lower.keep(ME, -1, done)
    assert await lower.keep(ME, 0, done)
    assert await order(lower)
    assert (await quota.usage.counters(ME))["bytes"] == 1_048_575


async def pieces(size: int) -> AsyncIterator[bytes]:
    """Yield so many bytes."""
    for start in range(0, size, 65_536):
        yield bytes(min(65_536, size - start))


async def come(quota: Quota, size: int, *, length: int | None = None, framing: int = 1000) -> None:
    """Let a file of that size come, and be kept."""
    async with quota.reserved(ME, length, framing) as reservation:
        assert sum([len(piece) async for piece in reservation.counted(pieces(size))]) == size
        assert await reservation.keep(size, done)


async def taken(quota: Quota) -> int:
    """Return how many bytes are counted."""
    return (await quota.usage.counters(ME))["bytes"]


@pytest.mark.parametrize("length", [None, 1_048_576, 1_049_000, 1_049_576])
async def test_what_just_fits(quota: Quota, length: int | None) -> None:
    """A file of which every byte has room is taken, whatever is around it, and one byte more is refused."""
    with pytest.raises(Full):
        await come(quota, 1_048_577, length=length)
    assert await taken(quota) == 0
    await come(quota, 1_048_576, length=length)
    assert await taken(quota) == 1_048_576


async def test_what_comes_at_once(quota: Quota) -> None:
    """What is coming has its room: others are refused meanwhile, and it counts once when it is kept."""
    async with quota.reserved(ME, 700_000, 1000) as reservation:
        with pytest.raises(Full):
            await come(quota, 400_000, length=400_500)
        with pytest.raises(Full):
            await come(quota, 400_000)
        assert await taken(quota) == 700_000
        assert not await reservation.keep(699_500, not_done)
        assert await reservation.keep(699_500, done)
    assert await taken(quota) == 699_500
    await come(quota, 300_000)


async def test_what_did_not_come(quota: Quota) -> None:
    """What was counted is given back however it ends, but where nobody knows whether it was kept."""

    async def ended(how: BaseException) -> bool:
        raise how

    for error in (Conflict("no"), Unavailable("away"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            async with quota.reserved(ME, 700_000, 0):
                await ended(error)
        assert await taken(quota) == 0
    with pytest.raises(Conflict):
        async with quota.reserved(ME, 700_000, 0) as reservation:
            await reservation.keep(800_000, partial(ended, Conflict("no")))
    assert await taken(quota) == 0
    with pytest.raises(Unavailable):
        async with quota.reserved(ME, 700_000, 0) as reservation:
            await reservation.keep(800_000, partial(ended, Unavailable("away")))
    assert await taken(quota) == 800_000


async def test_what_comes_slowly(quota: Quota, clock: Clock, mongo: Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as something comes the counters are not at rest, and nobody counts anew without it."""
    monkeypatch.setattr("gateway.quota._MOVE_S", 0)
    async with quota.reserved(ME, 700_000, 0), asyncio.timeout(10):
        clock.now += timedelta(hours=1)
        while not await mongo.collection(USAGE).find_one({"moved_at": clock.now}):
            await asyncio.sleep(0.01)
        with pytest.raises(Full):
            await quota.keep(ME, 400_000, done)


async def test_first_of_all(quota: Quota) -> None:
    """Of the first requests of a user, that come at once, none is refused because nothing was counted before."""
    assert await asyncio.gather(*(quota.keep(ME, 10, done) for _ in range(10))) == [True] * 10
    assert (await quota.usage.counters(ME))["bytes"] == 100


async def test_exempt(quota: Quota) -> None:
    """Who is exempt, and the gateway itself, have no limits; what the former take up is known all the same."""
    for user_id in (SPECIAL, GATEWAY_ID):
        for _ in range(6):
            assert await order(quota, user_id=user_id, recipients=100)
        assert await quota.keep(user_id, 2_000_000, done)
        assert quota.most(user_id, LIMITS.identities) > 1_000_000
    async with quota.reserved(SPECIAL, 2_000_000, 0) as reservation:
        assert await reservation.keep(2_000_000, done)
    assert (await quota.usage.counters(SPECIAL))["bytes"] == 4_000_000
    assert not await quota.usage.counters(GATEWAY_ID)
    assert quota.most(ME, LIMITS.identities) == 2
    assert quota.most(None, LIMITS.domains) > 1_000_000  # the operator's


def test_size() -> None:
    """A message takes up its text in octets, its people, its files and, once ordered, as much again."""
    blank = replace(message(recipients=0), body="")
    assert replace(blank, body="ü").size == blank.size + 2
    assert replace(blank, participants=(Participant("a@b.c", "ü", "To", ("12",)),)).size == blank.size + 9
    with_file = replace(blank, body="x" * 100, attachments=(Attachment("t", "f", "a/b", 800),))
    assert with_file.size == blank.size + 900
    assert replace(with_file, raw_msg_id="r").size == blank.size + 900 + 100 + 1100


def test_who_can_be_exempt() -> None:
    """A name in the place of an id, which would exempt nobody, stops the start."""
    with pytest.raises(ConfigurationError, match=r"limits\.exempt"):
        configuration.build({"accounts": {"local_domain": "a.test"}, "limits": {"exempt": ["somebody"]}})
    good = {"accounts": {"local_domain": "a.test"}, "limits": {"exempt": [SPECIAL]}}
    assert configuration.build(good).limits.exempt == (SPECIAL,)
