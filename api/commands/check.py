"""``mail-gateway check``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from api.commands.frame import EXIT_FAILED, config_option, load, print_table, progress, run
from api.operate import check_identities
from gateway.identity import UserIdentity
from gateway.progress import Progress


@click.command()
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
    if failed:
        print_table(["Identifier", "Protocol", "Since", "What is wrong"], [_row(identity) for identity in failed])
    click.echo(f"{done - len(failed)} of {done} work.")
    if failed:
        sys.exit(EXIT_FAILED)


def _row(identity: UserIdentity) -> list[str]:
    infos = identity.infos
    return [identity.identifier, identity.protocol, infos["firstErrorDate"], infos["lastFetchError"]]
