"""How far something long is, for those who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one part of it is: ``done`` of ``total``, which is more than 0."""

    part: str
    done: float
    total: float


Report = Callable[[Progress], None]
