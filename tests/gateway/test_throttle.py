"""The throttle of password guesses, on the store that all processes share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import TooOften
from gateway.throttle import Throttle
from storage import attempts
from storage.attempts import MongoAttempts
from storage.mongo import Mongo

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 7, 20, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the throttle."""
    return Clock()


@pytest.fixture
async def throttle(mongo: Mongo, clock: Clock) -> Throttle:
    """The throttle under test."""
    await mongo.ensure_indexes(attempts.INDEXES)
    return Throttle(MongoAttempts(mongo), clock)


async def fail_until_refused(throttle: Throttle, name: str, source: str, most: int = 200) -> int:
    """Fail with the name from the source; return how often that was let in."""
    for n in range(most):
        try:
            await throttle.begin(name, source)
        except TooOften:
            return n
    return most


async def test_a_name(throttle: Throttle, clock: Clock) -> None:
    """Wrong passwords of one name are refused after ten, from everywhere, with the time to wait."""
    assert await fail_until_refused(throttle, "someone", ELSEWHERE) == 10
    with pytest.raises(TooOften, match="Try again in 30 seconds") as refused:
        await throttle.begin("SOMEONE", HOME)
    assert refused.value.retry_after == 30
    clock.now += timedelta(seconds=30)
    assert await fail_until_refused(throttle, "someone", HOME) == 1
    await throttle.begin("somebody-else", HOME)


async def test_a_source(throttle: Throttle) -> None:
    """Wrong passwords of many names from one source are refused after a hundred, and other sources are not."""
    tried = 0
    while await fail_until_refused(throttle, f"name{tried}", ELSEWHERE, most=1):
        tried += 1
    assert tried == 100
    await throttle.begin("someone", HOME)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
async def test_sources(throttle: Throttle, one: str, other: str, same: bool) -> None:
    """What one subscriber has of addresses is one source."""
    for n in range(100):
        await throttle.begin(f"name{n}", one)
    if same:
        with pytest.raises(TooOften):
            await throttle.begin("someone", other)
    else:
        await throttle.begin("someone", other)


async def test_success_does_not_count(throttle: Throttle) -> None:
    """Who signs in rightly can do so as often as they like."""
    for _ in range(30):
        await throttle.succeeded(await throttle.begin("someone", HOME))


async def test_nobody_is_locked_out_at_home(throttle: Throttle, clock: Clock) -> None:
    """Where a name has signed in before, others' wrong passwords from elsewhere do not count."""
    await throttle.succeeded(await throttle.begin("someone", HOME))
    await fail_until_refused(throttle, "someone", ELSEWHERE)
    await throttle.succeeded(await throttle.begin("Someone", HOME))
    assert await fail_until_refused(throttle, "someone", HOME) == 10
    clock.now += timedelta(days=31)
    await fail_until_refused(throttle, "someone", ELSEWHERE)
    with pytest.raises(TooOften):
        await throttle.begin("someone", HOME)


async def test_somebody_called_so(throttle: Throttle) -> None:
    """What costs is counted apart from the sign-ins of a person whose name is its word."""
    await throttle.registered("registration", HOME)
    for _ in range(90):
        await throttle.spend("registration", HOME)
    await throttle.succeeded(await throttle.begin("registration", HOME))


async def test_what_costs(throttle: Throttle, clock: Clock) -> None:
    """What costs is refused beyond its measure, for whom it is counted by and for no other, until the next drip."""
    for _ in range(20):
        attempt = await throttle.spend("discovery", "one")
    with pytest.raises(TooOften):
        await throttle.spend("discovery", "one")
    await throttle.spend("discovery", "another")
    await throttle.spend("verification", "one")
    await throttle.take_back(attempt)
    await throttle.spend("discovery", "one")
    clock.now += timedelta(seconds=3)
    await throttle.spend("discovery", "one")
