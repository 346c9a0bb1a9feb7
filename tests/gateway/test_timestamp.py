"""Timestamps of the contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.timestamp import rfc3339


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 7, 20, 15, 56, 6, 62000, UTC), "2026-07-20T15:56:06.062Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 12, 31, 23, 59, 59, 999999, UTC), "2026-12-31T23:59:59.999Z"),
        (datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2))), "2025-12-31T23:00:00.000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_utc_with_milliseconds(moment: datetime, text: str) -> None:
    """A time is written in UTC, its year with four digits, its fraction cut to three."""
    assert rfc3339(moment) == text


@given(st.datetimes(timezones=st.just(UTC)))
def test_reads_back(moment: datetime) -> None:
    """What is written is the same time again, to the millisecond."""
    text = rfc3339(moment)
    assert len(text) == len("2026-07-20T15:56:06.062Z")
    assert datetime.fromisoformat(text) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
