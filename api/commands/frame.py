"""What all commands share: the configuration, exit codes (see ``manual.py``), progress, tables."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
import rich.progress
import uvloop
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.operate import in_words
from gateway import config as configuration
from gateway.config import Config
from gateway.errors import ConfigurationError, GatewayError, StartError
from gateway.progress import Progress, Report

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_START = 3
EXIT_SIGNAL = 130
_GAP = 3  # columns between those of a table
_ENDLESS = 10_000  # columns, of what is no terminal: a line of a table is then one line

Result = TypeVar("Result")

config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="Configuration file, see config.example.toml; relative paths in it count from its directory. Without one,"
    " environment variables and defaults count, and relative paths from the current directory.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


def load(path: Path | None) -> Config:
    """Return the configuration; where it is wrong, say so and end."""
    with errors_to_exit_codes():
        return configuration.load(path, os.environ)


@contextmanager
def progress() -> Iterator[Report]:
    """Show progress on standard error: as bars on a terminal, else a line for every tenth."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    with rich.progress.Progress(console=console) as bars:
        tasks: dict[str, rich.progress.TaskID] = {}

        def report(step: Progress) -> None:
            if step.part not in tasks:
                tasks[step.part] = bars.add_task(step.part)
            bars.update(tasks[step.part], completed=step.done, total=step.total)

        yield report


def _lines() -> Report:
    said = ""

    def report(step: Progress) -> None:
        nonlocal said
        line = f"{step.part}: {int(10 * step.done / step.total)}0 %"
        if line != said:
            said = line
            click.echo(line, err=True)

    return report


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work and return what it returns; where it fails, say why and end."""
    with errors_to_exit_codes():
        return uvloop.run(work)


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """Say what went wrong, and end with its exit code."""
    try:
        yield
    except StartError as error:
        click.echo(f"mail-gateway: {error}", err=True)
        sys.exit(EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_START)
    except GatewayError as error:
        click.echo(f"mail-gateway: {in_words(error)}", err=True)
        sys.exit(EXIT_FAILED)
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit(EXIT_SIGNAL)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns; where the terminal is too narrow for that, each as a block of lines."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _ENDLESS
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = _widths([columns, *rows], console.width - _GAP * len(columns))
    if not widths:
        for row in rows:
            print_block(dict(zip(columns, row, strict=True)))
            click.echo()
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return how wide the columns are: as their cells, but lines are broken between words where there is not room.

    Empty where there is not even room for the words.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, cells)) for cells in columns]
    least = [max(cell_len(word) for cell in cells for word in (cell.split() or [""])) for cells in columns]
    if sum(least) > room:
        return []
    while sum(widths) > room:
        slack = [width - word for width, word in zip(widths, least, strict=True)]
        widths[slack.index(max(slack))] -= 1
    return widths


def print_block(values: Mapping[str, str]) -> None:
    """Print values with their names, a line each."""
    width = max(map(len, values))
    for name, value in values.items():
        click.echo(f"{name:{width}}  {printable(value)}".rstrip())


def print_json(thing: Mapping[str, Any]) -> None:
    """Print one line."""
    click.echo(orjson.dumps(thing).decode())


def printable(text: str) -> str:
    """Return text without what would steer the terminal: users choose names."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
