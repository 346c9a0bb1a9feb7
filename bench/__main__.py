"""Measures what the gateway exists for, each figure beside its floor, and writes the tables of docs/performance.md.

``python -m bench`` measures all of it, ``python -m bench requests start`` parts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from bench import checking, many, requests, sending, sharing, start
from bench.figures import Figure, as_markdown, show
from storage.embedded import EmbeddedMongod
from tests.figures import put

PARTS: Mapping[str, Callable[[str, Path, int], Awaitable[Sequence[Figure]]]] = {
    "start": start.measure,
    "requests": requests.measure,
    "sending": sending.measure,
    "checking": checking.measure,
    "sharing": sharing.measure,
    "many": many.measure,
}
_DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
_PART_S = 3600.0


async def measured(part: str, rounds: int) -> Sequence[Figure]:
    """Measure a part, with a database server of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with EmbeddedMongod(Path(directory, "database")) as mongod:
            return await PARTS[part](mongod.uri, Path(directory), rounds)


def write(part: str, figures: Sequence[Figure], rounds: int) -> None:
    """Put the table of a part, with the machine, in its place in docs/performance.md."""
    machine = f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    said = f"Medians of {rounds} rounds, in brackets the least and the greatest. {machine}.\n\n"
    put(said + as_markdown(figures), _DOCUMENT, part)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Run from the command line. Exit with 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all, unless named")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    missed = False
    for part in options.parts or PARTS:
        figures = uvloop.run(asyncio.wait_for(measured(part, options.rounds), _PART_S))
        show(figures)
        write(part, figures, options.rounds)
        missed |= any(figure.is_met is False for figure in figures)
    if missed:
        raise SystemExit("A target is missed.")


if __name__ == "__main__":
    main()
