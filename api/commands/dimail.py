"""``mail-gateway dimail``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from api.commands.frame import EXIT_FAILED, config_option, load, printable, progress, run
from api.commands.manual import Manual
from api.commands.users import new_password
from api.provisioning import make_dimail_admin, populate_backend, reset_backend, set_up_dimail
from gateway.config import Config


@click.group(cls=Manual)
def dimail() -> None:
    """Set up the mail backend, and the accounts of clients that use this gateway as a dimail server."""


@dimail.command()
@config_option
@click.option("--name", help="Name of the administrator, with the backend fake; the password is asked for.")
@click.option("--populate", is_flag=True, help="Create at the mail backend all that the gateway knows.")
def setup(path: Path | None, name: str | None, *, populate: bool) -> None:
    """Make the first administrator, and with --populate all that the backend lacks.

    With the backend dimail it is made at that server, with name and password of the configuration. With the backend
    fake it is one of this gateway's own accounts, of clients that use it as a dimail server; the password is asked
    for, or is the first line of standard input. All of it may be done again at any time.
    """
    settings = load(path)
    _make_admin(settings, name)
    if populate:
        _populate(settings)


def _make_admin(settings: Config, name: str | None) -> None:
    if settings.domains.backend == "dimail":
        if name is not None:
            raise click.UsageError("With the backend dimail, the name is dimail.username of the configuration.")
        run(set_up_dimail(settings))
        click.echo(f"{settings.dimail.username} is an administrator at {settings.dimail.url}.")
    elif name is not None:
        new = run(make_dimail_admin(settings, name, new_password()))
        click.echo(f"{name} {'is' if new else 'was and is'} an administrator.")
    else:
        raise click.UsageError("Name the administrator with --name.")


def _populate(settings: Config) -> None:
    with progress() as report:
        refused = run(populate_backend(settings, report))
    for sentence in refused:
        click.echo(printable(sentence), err=True)
    if refused:
        sys.exit(EXIT_FAILED)
    click.echo("The mail backend has all that the gateway knows.")


@dimail.command()
@config_option
@click.confirmation_option(prompt="Remove all domains and mailboxes of the fake backend?")
def reset(path: Path | None) -> None:
    """Empty the fake backend; the gateway's own domains and mailboxes stay."""
    run(reset_backend(load(path)))
    click.echo("The fake backend is empty. 'mail-gateway dimail setup --populate' fills it again.")
