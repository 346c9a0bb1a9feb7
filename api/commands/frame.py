"""What all commands share: the configuration, exit codes, progress.

Exit codes: 0 done; 1 the command ran and what it was asked for failed; 2 wrong usage or wrong configuration; 3 the
gateway cannot start, e.g. because its port is in use or its database does not answer; 130 Ctrl-C or another signal
came before it had started, or was done.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import rich.progress
import uvloop
from rich.console import Console

from gateway import config as configuration
from gateway.config import Config
from gateway.errors import ConfigurationError, GatewayError, StartError
from gateway.progress import Progress, Report

EXIT_FAILED = 1
_EXIT_CONFIGURATION = 2
_EXIT_START = 3
_EXIT_SIGNAL = 130

Result = TypeVar("Result")

config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="Configuration file, see config.example.toml; relative paths in it count from its directory. Without one,"
    " environment variables and defaults count, and relative paths from the current directory.",
)


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
        sys.exit(_EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else _EXIT_START)
    except GatewayError as error:
        click.echo(f"mail-gateway: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit(_EXIT_SIGNAL)
