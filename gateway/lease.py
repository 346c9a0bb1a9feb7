"""The lease of a piece of work: how long a worker may go on with it unless the database renews it.

The date in the database is for the others: whoever finds it past takes the piece over. The holder counts by itself,
from before it asked, with a margin in which it is cut off: for clocks that go at different speeds, and for the time
that cutting off takes. It looks at the date too, which passes while a machine is halted.

What nobody else could do as well goes on: to hear what a server says of what it has, and to record it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, Self, TypeVar

Work = TypeVar("Work")

_MARGIN = 0.1  # of a lease


class Now(NamedTuple):
    """A point in time by the clock that is set, and by one that is not, in seconds."""

    date: datetime
    moment: float


class End(NamedTuple):
    """When a lease ends: for the others, and, in seconds of the clock that is not set, for its holder."""

    date: datetime
    moment: float

    @classmethod
    def after(cls, asked_at: Now, lease: timedelta) -> Self:
        """Return the end of a lease that was asked for at that time."""
        return cls(asked_at.date + lease, asked_at.moment + lease.total_seconds() * (1 - _MARGIN))

    def has_come(self, now: Now) -> bool:
        """Tell whether the holder may not go on."""
        return now.moment >= self.moment or now.date >= self.date


@dataclass(slots=True)
class Held(Generic[Work]):
    """A piece of work that runs here. ``is_cut``: it was told to end."""

    owner: str
    work: Work
    end: End
    may_be_cut: bool = False
    is_cut: bool = False

    def begin(self) -> None:
        """Let the running task be the one that does the work: from here on it may be cut off.

        Not before: what was counted for it when it was claimed, the task itself gives back.
        """
        _held.set(self)
        self.may_be_cut = True


_held: ContextVar[Held[Any] | None] = ContextVar("held", default=None)


@asynccontextmanager
async def finishing() -> AsyncIterator[None]:
    """Let what is done here go on beyond the lease of the piece of work that it is of, where it is of one."""
    held = _held.get()
    if held is None:
        yield
        return
    held.may_be_cut = False
    try:
        yield
    finally:
        held.may_be_cut = True
