"""Passwords that were right a short while ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.proven import Proven

NOW = datetime(2026, 7, 20, tzinfo=UTC)


class Clock:
    """A clock that is set."""

    now = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


def test_what_was_proven() -> None:
    """A password holds for the hash that it fitted, and no other password and no other hash does."""
    proven = Proven(Clock())
    assert not proven.holds("a hash", "right")
    proven.remember("a hash", "right")
    assert proven.holds("a hash", "right")
    assert not proven.holds("a hash", "wrong")
    assert not proven.holds("a hash", "")
    assert not proven.holds("another hash", "right")


def test_for_a_short_while() -> None:
    """After ten minutes it has to be proven again."""
    clock = Clock()
    proven = Proven(clock)
    proven.remember("a hash", "right")
    clock.now = NOW + timedelta(minutes=10)
    assert not proven.holds("a hash", "right")
    proven.remember("a hash", "right")
    assert proven.holds("a hash", "right")


def test_no_more_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten for the newest."""
    monkeypatch.setattr("gateway.proven._MOST", 2)
    proven = Proven(Clock())
    for name in "abac":
        proven.remember(name, "right")
    assert [name for name in "abc" if proven.holds(name, "right")] == ["a", "c"]


def test_no_password_in_memory() -> None:
    """What is kept is no password, and of another process it is another."""
    one, other = Proven(Clock()), Proven(Clock())
    for proven in (one, other):
        proven.remember("a hash", "right")
    assert "right" not in repr(vars(one))
    assert vars(one)["_seen"] != vars(other)["_seen"]
