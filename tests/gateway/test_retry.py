"""The retry schedule."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import retry

MIDDLE = 0.5  # of the random values: neither stretched nor shortened
LONGEST = timedelta(hours=4)
UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}

chances = st.floats(0, 1, exclude_max=True)


def written_schedule() -> dict[int, timedelta]:
    """Return the table in the module's documentation."""
    rows = re.findall(r"^(\d)\b.*?\s(\d+) (minute|hour)s?", retry.__doc__ or "", re.MULTILINE)
    return {int(attempt): int(count) * UNITS[unit] for attempt, count, unit in rows}


def test_documented_table_is_the_schedule() -> None:
    """The table in the documentation is what happens."""
    table = written_schedule()
    assert sorted(table) == [1, 2, 3, 4, 5, 6, 7]
    assert {attempt: retry.delay(attempt, MIDDLE) for attempt in table} == table


@pytest.mark.parametrize("attempts", [7, 8, 100, 10**6])
def test_last_row_goes_on(attempts: int) -> None:
    """From the seventh attempt on the delay stays the same."""
    assert retry.delay(attempts, MIDDLE) == LONGEST


@given(st.integers(1, 1000), chances)
def test_spread_is_a_tenth(attempts: int, chance: float) -> None:
    """A delay is stretched or shortened by up to a tenth, never more."""
    middle = retry.delay(attempts, MIDDLE)
    assert 0.9 * middle <= retry.delay(attempts, chance) <= 1.1 * middle


@pytest.mark.parametrize(("chance", "minutes"), [(0.0, 54), (0.25, 57), (0.75, 63)])
def test_chance_spreads(chance: float, minutes: float) -> None:
    """Chance decides where in that tenth a delay lies: what failed together does not return together."""
    assert abs(retry.delay(5, chance) - timedelta(minutes=minutes)) < timedelta(seconds=1)


@given(st.integers(1, 20), chances)
def test_delays_never_shrink(attempts: int, chance: float) -> None:
    """The more attempts have failed, the longer is the wait, up to a bound."""
    assert retry.delay(attempts, chance) <= retry.delay(attempts + 1, chance) <= 1.1 * LONGEST
