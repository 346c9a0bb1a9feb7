"""``mail-gateway domains``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from api.commands.frame import (
    EXIT_FAILED,
    config_option,
    json_option,
    load,
    print_block,
    print_json,
    print_table,
    progress,
    run,
)
from api.commands.manual import Manual
from api.provisioning import (
    adopt_domain,
    adopt_mailbox,
    check_domains,
    dkim_key,
    grant_role,
    list_domains,
    show_domain,
)
from api.v2.domains import domain_json
from gateway.domain import Domain, DomainStatus
from gateway.progress import Progress
from gateway.roles import Role
from gateway.timestamp import rfc3339


@click.group(cls=Manual)
def domains() -> None:
    """List, show and check the domains that are hosted here, and say who manages them."""


@domains.command("list")
@config_option
@json_option
def list_(path: Path | None, *, as_json: bool) -> None:
    """List all domains with their status."""
    found = run(list_domains(load(path)))
    if as_json:
        for domain in found:
            print_json(domain_json(domain, None))
        return
    print_table(["Domain", "Status", "Last check", "Context", "Managers"], [_row(domain) for domain in found])


def _row(domain: Domain) -> list[str]:
    return [domain.name, domain.status, _last_check(domain), domain.context, str(len(domain.roles))]


def _last_check(domain: Domain) -> str:
    return rfc3339(domain.last_check) if domain.last_check else "never"


@domains.command()
@config_option
@json_option
@click.argument("name")
def show(path: Path | None, name: str, *, as_json: bool) -> None:
    """Show a domain: what its last check found, the DNS records to publish, who manages it."""
    domain, usernames = run(show_domain(load(path), name))
    managers = [(usernames.get(user_id, user_id), role) for user_id, role in domain.roles.items()]
    managers.sort(key=lambda each: (-each[1].rank, each[0]))
    if as_json:
        accesses = [{"username": username, "role": role} for username, role in managers]
        print_json({**domain_json(domain, None), "accesses": accesses})
        return
    print_block(
        {
            "Domain": domain.name,
            "Status": domain.status,
            "Last check": _last_check(domain),
            "Context": domain.context,
            "Features": ", ".join(domain.features),
        }
    )
    _print_part(["Check", "Whose", "What is wrong"], [row[1:] for row in _faults([domain])])
    _print_part(["Record to publish", "Type", "Value"], _records(domain))
    _print_part(["Manager", "Role"], [[username, role] for username, role in managers])


def _print_part(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        click.echo()
        print_table(columns, rows)


def _faults(found: Sequence[Domain]) -> list[list[str]]:
    """Return what is wrong with domains, and in whose hands it is."""
    return [
        [domain.name, name, "operator" if check.internal else "owner", fault.detail]
        for domain in found
        for name, check in domain.checks.items()
        for fault in check.faults
    ]


def _records(domain: Domain) -> list[list[str]]:
    """Return the records with their whole names."""
    return [
        [f"{record.target}.{domain.ascii_name}".lstrip("."), record.type.upper(), record.value]
        for record in domain.records
    ]


@domains.command()
@config_option
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Check all domains.")
def check(path: Path | None, names: Sequence[str], *, everything: bool) -> None:
    """Check domains now, and say what is wrong with them.

    Gateways may run meanwhile. The outcomes are recorded, as those of the hourly checks. Ends with 1 when any is
    not enabled.
    """
    if everything == bool(names):
        raise click.UsageError("Name domains, or say --all.")
    settings = load(path)
    checked: list[Domain] = []
    with progress() as show_progress:

        def report(domain: Domain, total: int) -> None:
            checked.append(domain)
            show_progress(Progress("checks", len(checked), total))

        run(check_domains(settings, names, report))
    failed = [domain for domain in checked if domain.status is not DomainStatus.ENABLED]
    if faults := _faults(failed):
        print_table(["Domain", "Check", "Whose", "What is wrong"], faults)
    click.echo(f"{len(checked) - len(failed)} of {len(checked)} are enabled.")
    if failed:
        sys.exit(EXIT_FAILED)


@domains.command()
@config_option
@click.argument("name")
@click.argument("username")
@click.argument("role", type=click.Choice([role.value for role in Role]))
def grant(path: Path | None, name: str, username: str, role: str) -> None:
    """Give a user a role on a domain, in the place of the one that is there.

    The last owner keeps that role: make another owner first.
    """
    run(grant_role(load(path), name, username, Role(role)))
    click.echo(f"{username} is {role} of {name}.")


@domains.command()
@config_option
@click.argument("name")
@click.argument("username")
@click.option("--context", help="Its context at the backend; without it, the one that it has here or its name.")
def adopt(path: Path | None, name: str, username: str, context: str | None) -> None:
    """Host a domain that the mail backend has already, and make a user its owner.

    Nobody else can: users and API clients are told that the name is taken. See to it that the domain is that
    user's. Managers whom it has here keep their roles. One that is new here has all features, and the fake backend
    learns that: its owner turns off what it does not have.
    """
    run(adopt_domain(load(path), name, username, context))
    click.echo(f"{username} is owner of {name}.")


@domains.command("adopt-mailbox")
@config_option
@click.argument("address")
@click.option("--first-name", help="Of one that is not known here; with --last-name.")
@click.option("--last-name", help="Of one that is not known here; with --first-name.")
@click.option("--secondary-email", help="Where the sign-in link of one that is not known here goes.")
@click.option("--user", "username", help="Who has one that is not known here as a local identity.")
def adopt_mailbox_(path: Path | None, address: str, username: str | None, **names: str | None) -> None:
    """Take in a mailbox that the mail backend has already: one that has failed here, or is not known here.

    Its user then has the identity, and its second address gets a sign-in link: see to it that what is there was
    made from here, or is meant for them. One that is known here keeps its names, so say none of it.
    """
    whose = {name: value for name, value in names.items() if value is not None}
    run(adopt_mailbox(load(path), address, whose, username))
    click.echo(f"{address} is in use.")


@domains.command()
@config_option
@click.argument("name")
def key(path: Path | None, name: str) -> None:
    """Print the private DKIM key of a domain in PEM, for the mail server that signs its mail."""
    click.echo(run(dkim_key(load(path), name)), nl=False)
