"""``mail-gateway users``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from api.commands.frame import (
    config_option,
    json_option,
    load,
    print_block,
    print_json,
    print_table,
    run,
)
from api.commands.identities import IDENTITY_COLUMNS, identity_row
from api.commands.manual import Manual
from api.operate import add_user, delete_user, list_users, set_password, show_user
from api.v1.accounts import user_json
from api.v2.identities import identity_json
from gateway.timestamp import rfc3339
from gateway.user import User

_COLUMNS = ("User", "Name", "Recovery address", "Since")


@click.group(cls=Manual)
def users() -> None:
    """List, add and delete users, and give them new passwords."""


@users.command("list")
@config_option
@json_option
def list_(path: Path | None, *, as_json: bool) -> None:
    """List all users."""
    settings = load(path)
    if as_json:
        run(list_users(settings, lambda user: print_json(user_json(user))))
        return
    found: list[User] = []
    run(list_users(settings, found.append))
    found.sort(key=lambda user: user.username.lower())
    print_table(_COLUMNS, [_row(user) for user in found])


def _row(user: User) -> list[str]:
    return [user.username, user.display_name, user.recovery_email or "", rfc3339(user.date_insert)]


@users.command()
@config_option
@json_option
@click.argument("username")
def show(path: Path | None, username: str, *, as_json: bool) -> None:
    """Show a user and its identities, with what is wrong with them."""
    user, identities = run(show_user(load(path), username))
    if as_json:
        print_json({**user_json(user), "identities": [identity_json(identity) for identity in identities]})
        return
    print_block({**dict(zip(_COLUMNS, _row(user), strict=True)), "Id": user.user_id})
    click.echo()
    print_table(IDENTITY_COLUMNS, [identity_row(identity) for identity in identities])


@users.command()
@config_option
@click.argument("username")
@click.option("--display-name", help="The name of the person.")
@click.option("--recovery-email", help="An address elsewhere.")
def add(path: Path | None, username: str, display_name: str | None, recovery_email: str | None) -> None:
    """Add a user; the password is asked for, or is the first line of standard input."""
    settings = load(path)
    user = run(add_user(settings, username, new_password(), display_name, recovery_email))
    click.echo(user.user_id)


@users.command("set-password")
@config_option
@click.argument("username")
def set_password_(path: Path | None, username: str) -> None:
    """Give a user another password, and sign the user out everywhere.

    The password is asked for, or is the first line of standard input.
    """
    settings = load(path)
    run(set_password(settings, username, new_password()))
    click.echo(f"{username} has a new password.")


def new_password() -> str:
    """Return it; never an argument, which other users of the machine can see."""
    if sys.stdin.isatty():
        password: str = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
        return password
    return sys.stdin.readline().rstrip("\r\n")


@users.command()
@config_option
@click.argument("username")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(path: Path | None, username: str, *, yes: bool) -> None:
    """Delete a user with all identities, credentials, drafts and messages; nobody gets the name again."""
    settings = load(path)
    if not yes:
        click.confirm(f"Delete {username} with all identities and messages?", abort=True, err=True)
    run(delete_user(settings, username))
    click.echo(f"{username} is deleted.")
