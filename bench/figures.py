"""What was measured: each figure with its floor of the same round, its spread and its target."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from rich.console import Console
from rich.table import Table

_HEADINGS = ("what", "measured", "floor", "ratio", "target", "met")
_MOST_DIGITS = 3
_KEEPS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le, "=": operator.eq}


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure, or its ratio to the floor where it has one, has to reach; ``least`` is of the figure alone."""

    relation: Literal["≥", "≤", "="]
    value: float
    least: float | None = None


NO_SLOWER, NO_MORE = Target("≥", round(1 / 1.2, 2)), Target("≤", 1.2)
"""Of a rate, and of a cost, beside that of the same thing elsewhere."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: a value of each round in ``unit``, and that of the floor in the same round where there is one."""

    what: str
    unit: str
    values: Sequence[float]
    floor: Sequence[float] = ()
    target: Target | None = None

    @property
    def ratios(self) -> Sequence[float]:
        """Return for each round the value as a multiple of the floor."""
        return [value / floor for value, floor in zip(self.values, self.floor, strict=True)] if self.floor else []

    @property
    def is_met(self) -> bool | None:
        """True when the median reaches the target; None where there is no target."""
        if self.target is None:
            return None
        met = _KEEPS[self.target.relation](median(self.ratios or self.values), self.target.value)
        return met and (self.target.least is None or median(self.values) >= self.target.least)

    def row(self) -> Sequence[str]:
        """Return its cells, in the order of the headings."""
        target = ""
        if self.target:
            unit = "" if self.floor else f" {self.unit}"
            target = f"{self.target.relation} {self.target.value:g}{unit}"
            if self.target.least is not None:
                target += f", and ≥ {self.target.least:g} {self.unit}"
        return (
            self.what,
            f"{_spread(self.values)} {self.unit}",
            f"{_spread(self.floor)} {self.unit}" if self.floor else "",
            _spread(self.ratios),
            target,
            {True: "yes", False: "NO", None: ""}[self.is_met],
        )


def _spread(values: Sequence[float]) -> str:
    """Return the median, with the least and the greatest behind it where there are several."""
    if not values:
        return ""
    middle = _digits(median(values))
    return middle if len(values) == 1 else f"{middle} ({_digits(min(values))} to {_digits(max(values))})"


def _digits(value: float) -> str:
    whole = len(f"{abs(value):.0f}") if abs(value) >= 1 else 0
    return f"{value:,.{max(0, _MOST_DIGITS - max(whole, 1))}f}"


def show(figures: Iterable[Figure]) -> None:
    """Print the table on the terminal."""
    table = Table(*_HEADINGS)
    for figure in figures:
        table.add_row(*figure.row())
    Console().print(table)


def as_markdown(figures: Iterable[Figure]) -> str:
    """Return the table as it stands in docs/performance.md."""
    rows = [_HEADINGS, ["---"] * len(_HEADINGS), *(figure.row() for figure in figures)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
