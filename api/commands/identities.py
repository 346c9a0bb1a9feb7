"""``mail-gateway identities``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from api.commands.frame import (
    EXIT_FAILED,
    config_option,
    json_option,
    load,
    print_json,
    print_table,
    printable,
    progress,
    run,
)
from api.commands.manual import Manual
from api.operate import list_identities
from api.records import Format
from api.transfer import export_identities, import_identities
from api.v2.identities import identity_json
from gateway.identity import UserIdentity
from gateway.timestamp import rfc3339

_STDIO = "-"
_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(Format, case_sensitive=False),
    help="Of the file; without it the file's name tells: .csv or .jsonl.",
)
IDENTITY_COLUMNS = ("Identifier", "Protocol", "Type", "Status", "Last check", "What is wrong")


@click.group(cls=Manual)
def identities() -> None:
    """List identities, write them to a file, and add those of a file."""


@identities.command("list")
@config_option
@json_option
@click.option("--user", "username", help="Those of this user only.")
@click.option("--failing", is_flag=True, help="Those only whose last check failed.")
def list_(path: Path | None, username: str | None, *, as_json: bool, failing: bool) -> None:
    """List identities with their health."""
    settings = load(path)
    rows: list[list[str]] = []

    def show(name: str, identity: UserIdentity) -> None:
        if failing and "lastFetchError" not in identity.infos:
            return
        if as_json:
            print_json({"username": name, **identity_json(identity)})
        else:
            rows.append([name, *identity_row(identity)])

    run(list_identities(settings, username, show))
    if not as_json:
        print_table(["User", *IDENTITY_COLUMNS], sorted(rows))


def identity_row(identity: UserIdentity) -> list[str]:
    """Return an identity as a row of IDENTITY_COLUMNS."""
    return [
        identity.identifier,
        identity.protocol,
        identity.type.value,
        identity.status.value,
        rfc3339(identity.last_check) if identity.last_check else "never",
        identity.infos.get("lastFetchError", ""),
    ]


@identities.command("export")
@config_option
@_format_option
@click.option("--user", "username", help="Those of this user only.")
@click.option(
    "--with-credentials", is_flag=True, help="Write passwords and tokens too, as they are: guard that file."
)
@click.argument("file")
def export(
    path: Path | None, form: Format | None, username: str | None, file: str, *, with_credentials: bool
) -> None:
    """Write the accounts at other providers to FILE, or to standard output for '-'.

    The file is for 'identities import', and nobody but its owner can read it (mode 0600). A value that a
    spreadsheet would take for a formula has an apostrophe before it, which the import takes away. Local identities
    are left out: they come with their users.
    """
    form = _format_of(file, form)
    if file == _STDIO and with_credentials and sys.stdout.isatty():
        raise click.UsageError("Credentials do not go to a terminal: name a file, or pipe them.")
    settings = load(path)
    with _private(file) as stream, progress() as report:
        count = run(export_identities(settings, username, stream, form, report, with_credentials=with_credentials))
    click.echo(f"{count} identities written.", err=True)


@identities.command("import")
@config_option
@_format_option
@click.option("--update", is_flag=True, help="Change the accounts that are there already to what the file says.")
@click.argument("file")
def import_(path: Path | None, form: Format | None, file: str, *, update: bool) -> None:
    """Add the accounts in FILE, or on standard input for '-', to their users.

    A line is added as a whole or not at all, by the rules of the REST API; the workers check it soon after. What a
    user has already, by identifier and protocol, is left alone, so it can be run again. Each line that is refused
    is told on standard error, with the reason, and the others go on; then it ends with 1.

    'identities export' shows how such a file looks. A line needs username, protocol, identifier and the servers.
    """
    form = _format_of(file, form)
    settings = load(path)
    with progress() as report:
        outcome = run(import_identities(settings, _content(file), form, report, update=update))
    for number, who, fault in sorted(outcome.faults):
        click.echo(printable(f"line {number}{who and f' ({who})'}: {fault}"), err=True)
    click.echo(outcome.summary())
    if outcome.faults:
        sys.exit(EXIT_FAILED)


def _format_of(file: str, form: Format | None) -> Format:
    suffix = Path(file).suffix.removeprefix(".").lower()
    if form is None and suffix not in list(Format):
        raise click.UsageError("Say --format csv or --format jsonl, or name a file that ends so.")
    return form or Format(suffix)


@contextmanager
def _private(file: str) -> Iterator[TextIO]:
    """Yield standard output, or what becomes the file when the block ends well: there is never half of one."""
    if file == _STDIO:
        yield sys.stdout
        return
    path = Path(file)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
    except OSError as error:
        raise click.FileError(file, error.strerror) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _content(file: str) -> bytes:
    if file == _STDIO:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise click.FileError(file, error.strerror) from error
