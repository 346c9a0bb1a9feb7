"""What operators do by the command line to domains, to the mail backend, and to API clients of the dimail face."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from api.operate import opened
from api.routing import validated
from api.v2.mailboxes import NewMailboxSchema
from gateway.config import Config
from gateway.domain import Domain, parse_domain
from gateway.errors import ConfigurationError, NotFound
from gateway.pages import every
from gateway.progress import Report
from gateway.provision import NewMailbox
from gateway.roles import Role
from protocols.backends.dimail import DimailBackend

# -- domains -----------------------------------------------------------------------------------------------------


async def list_domains(config: Config) -> Sequence[Domain]:
    """Return all domains, by name. Raises StartError, Unavailable."""
    async with opened(config) as (stores, _):
        return [domain async for domain in every(functools.partial(stores.domains.list, None))]


async def show_domain(config: Config, name: str) -> tuple[Domain, Mapping[str, str]]:
    """Return a domain, and its managers' user names by their ids. Raises StartError, NotFound, Unavailable."""
    async with opened(config) as (stores, _):
        domain = await stores.domains.get(_spelled(name))
        return domain, await stores.users.names(domain.roles)


async def check_domains(config: Config, names: Sequence[str], report: Callable[[Domain, int], None]) -> None:
    """Check these domains, or all where none is named; ``report`` gets each, and of how many.

    Raises StartError, NotFound, Unavailable.
    """
    async with opened(config) as (stores, core):
        domains = [await stores.domains.get(_spelled(name)) for name in names]
        if not names:
            domains = [domain async for domain in every(functools.partial(stores.domains.list, None))]
        for domain in domains:
            report(await core.examine.check(domain.name), len(domains))


async def grant_role(config: Config, name: str, username: str, role: Role) -> None:
    """Give a user a role on a domain, whichever there was.

    Raises StartError, NotFound, Conflict (it is the last owner, the domain is full), Unavailable.
    """
    async with opened(config) as (_, core):
        user = await core.accounts.named(username)
        await core.manage.grant(_spelled(name), user.user_id, role)


async def adopt_domain(config: Config, name: str, username: str, context: str | None) -> None:
    """Host a domain that the mail backend has already, and make a user its owner.

    Raises StartError, NotFound (no such user, or the mail backend has none), Invalid, Conflict, RemoteError,
    Unavailable.
    """
    async with opened(config) as (_, core):
        user = await core.accounts.named(username)
        domain = await core.host.adopt(name, context)
        await core.manage.grant(domain.name, user.user_id, Role.OWNER)


async def adopt_mailbox(config: Config, address: str, whose: Mapping[str, str], username: str | None) -> None:
    """Let a mailbox be the one that the mail backend has of that address.

    ``whose`` says of one that is not known here what a client says that creates it, ``username`` who has it.

    Raises StartError, NotFound, Invalid, Forbidden, Conflict, RemoteError, Unavailable.
    """
    local_part, _, domain = address.rpartition("@")
    async with opened(config) as (_, core):
        if username is not None:
            whose = {**whose, "user_id": (await core.accounts.named(username)).user_id}
        described = {"local_part": local_part, **whose}
        new = NewMailbox(**validated(NewMailboxSchema(), described)) if whose else None
        await core.provision.adopt(_spelled(domain), local_part, new)


async def dkim_key(config: Config, name: str) -> str:
    """Return the private DKIM key of a domain in PEM. Raises StartError, NotFound, Unavailable."""
    async with opened(config) as (stores, _):
        return await stores.domains.private_key(_spelled(name))


def _spelled(name: str) -> str:
    try:
        return parse_domain(name)
    except ValueError as error:
        raise NotFound(f"There is no domain {name}: it {error}.") from error


# -- dimail ------------------------------------------------------------------------------------------------------


async def make_dimail_admin(config: Config, name: str, password: str) -> bool:
    """Let there be an administrator among the API clients of this gateway; True where the name was new.

    Raises StartError, Invalid, Unavailable.
    """
    async with opened(config) as (_, core):
        return await core.dimail.make_admin(name, password)


async def set_up_dimail(config: Config) -> None:
    """Make the configured account the first administrator of the dimail server.

    Raises StartError, RemoteError, Unavailable.
    """
    async with opened(config) as (_, core):
        if isinstance(core.populate.backend, DimailBackend):
            await core.populate.backend.make_admin()


async def populate_backend(config: Config, report: Report) -> Sequence[str]:
    """Create at the mail backend what the gateway knows; return what it refused.

    Raises StartError, RemoteError, Unavailable.
    """
    async with opened(config) as (_, core):
        return await core.populate.run(report)


async def reset_backend(config: Config) -> None:
    """Empty the fake backend. Raises StartError, ConfigurationError (it is another), Unavailable."""
    if config.domains.backend != "fake":
        raise ConfigurationError("Only the fake backend can be emptied, and domains.backend is another.")
    async with opened(config) as (stores, _):
        await stores.fake_mail.clear()
