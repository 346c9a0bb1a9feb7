"""The command ``mail-gateway``: what stands where in its manual."""

from __future__ import annotations

import click

from api.commands.check import check
from api.commands.completion import completion
from api.commands.config import config
from api.commands.dimail import dimail
from api.commands.doctor import doctor
from api.commands.domains import domains
from api.commands.identities import identities
from api.commands.keys import keys
from api.commands.manual import Manual
from api.commands.serve import demo, serve
from api.commands.users import users
from api.process import keep_memory_private


@click.group(cls=Manual, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mail-identity-gateway", prog_name="mail-gateway")
def main() -> None:
    """One REST API in front of all the accounts from which a person sends mail.

    Every command that works with an installation takes its configuration with --config. All can be used while
    gateways run on the same database; without one, the embedded database is started for as long as it takes.
    """
    keep_memory_private()


main.section("Run the gateway", serve, demo)
main.section("Users and their accounts", users, identities, check)
main.section("Hosted domains", domains, dimail)
main.section("Set up and look after", config, doctor, keys, completion)
