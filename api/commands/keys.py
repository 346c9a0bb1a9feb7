"""``mail-gateway keys``."""

from __future__ import annotations

from pathlib import Path

import click

from api.commands.frame import config_option, errors_to_exit_codes, load, progress, run
from api.commands.manual import Manual
from api.operate import prepare_keys, rotate_keys
from storage.keyring import LOCAL


@click.group(cls=Manual)
def keys() -> None:
    """Replace the keys that encrypt credentials, see docs/keys.md."""


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
