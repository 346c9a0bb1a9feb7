"""The retry schedule, a pure function.

========  ================================
attempt   the next one comes after
========  ================================
1         1 minute
2         5 minutes
3         15 minutes
4         30 minutes
5         1 hour
6         2 hours
7 …       4 hours, until the order is given up
========  ================================

Each delay is stretched or shortened by up to a tenth, so that what failed together does not return together. RFC
5321 §4.5.4.1 asks for at least 30 minutes between attempts as a rule and allows two within the first hour; a person
waits for this message, and a greylisting server (RFC 6647 §3) takes it after one to five minutes.
"""

from __future__ import annotations

from datetime import timedelta

_MINUTES = (1, 5, 15, 30, 60, 120, 240)
_SPREAD = 0.1


def delay(attempts: int, chance: float) -> timedelta:
    """Return how long to wait after ``attempts`` (≥ 1) failed attempts; ``chance`` is random in [0, 1)."""
    minutes = _MINUTES[min(attempts, len(_MINUTES)) - 1]
    return timedelta(minutes=minutes * (1 + _SPREAD * (2 * chance - 1)))
