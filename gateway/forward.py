"""The aliases of hosted domains: add, list, delete. Who may do that stands in gateway/postmaster.py.

Each is done at the mail backend first, then stored: where that is cut off in between, asking again mends it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.address import normalise_identifier
from gateway.domain import Domain, DomainStatus, Feature
from gateway.errors import Conflict, Forbidden, Full, Invalid, NotFound
from gateway.mailbox import Alias, parse_local_part
from gateway.ports import Aliases, Domains, MailBackend, Page

MOST_DESTINATIONS = 100
"""How many destinations one address can have: a mail to it becomes as many."""


@dataclass(frozen=True)
class Forward:
    """The aliases. Domains are named by the one spelling of their names."""

    domains: Domains
    aliases: Aliases
    backend: MailBackend

    async def add(
        self,
        domain: str,
        local_part: str,
        destination: str,
        permit: Callable[[], None] = lambda: None,
        *,
        most: int = sys.maxsize,
    ) -> Alias:
        """Let mail to an address of the domain go to a mailbox; return the alias as it is stored.

        Raises NotFound (no such domain), Invalid, Forbidden (not permitted; the domain is disabled), Conflict (it
        is there already, or has too many destinations), Full (the domain has ``most`` aliases), RemoteError.
        """
        alias = _parsed(domain, local_part, destination)
        _admit(await self.domains.get(domain), permit)
        await self._check_free(alias)
        if (await self.aliases.list(domain, Page(limit=1)))[0] >= most:
            raise Full(f"{domain} has {most} aliases (limits.aliases). Delete one of them first.")
        await self.backend.add_alias(alias)
        await self.aliases.add(alias)
        return alias

    async def _check_free(self, alias: Alias) -> None:
        try:
            await self.aliases.get(alias.domain, alias.local_part, alias.destination)
        except NotFound:
            count, _ = await self.aliases.list(alias.domain, Page(limit=1), alias.local_part)
            if count >= MOST_DESTINATIONS:
                raise Conflict(f"{alias.email} has {count} destinations, and no room for more.") from None
        else:
            raise Conflict(f"Mail to {alias.email} goes to {alias.destination} already.")

    async def get(self, domain: str, local_part: str, destination: str) -> Alias:
        """Return an alias. Raises NotFound, also where these are no addresses at all."""
        try:
            alias = _parsed(domain, local_part, destination)
        except Invalid as error:
            raise NotFound("There is no such alias.") from error
        return await self.aliases.get(domain, alias.local_part, alias.destination)

    async def list(self, domain: str, page: Page, local_part: str | None = None) -> tuple[int, Sequence[Alias]]:
        """Return how many aliases a domain has, of one local part where given, and a page of them, in order."""
        return await self.aliases.list(domain, page, local_part)

    async def delete(self, domain: str, local_part: str, destination: str) -> None:
        """Let mail to an address not go there any more. Raises NotFound, RemoteError."""
        alias = await self.get(domain, local_part, destination)
        await self.backend.delete_alias(alias)
        await self.aliases.delete(alias)


def _parsed(domain: str, local_part: str, destination: str) -> Alias:
    """Return an alias of addresses in their one spelling. Raises Invalid."""
    errors = {}
    try:
        local_part = parse_local_part(local_part)
    except ValueError as error:
        errors["local_part"] = [f"This {error}."]
    try:
        destination = normalise_identifier(destination)
    except ValueError as error:
        errors["destination"] = [str(error)]
    alias = Alias(domain, local_part, destination)
    if destination == alias.email:
        errors["destination"] = ["Must be another address than the alias."]
    if errors:
        raise Invalid("This is no alias.", errors)
    return alias


def _admit(domain: Domain, permit: Callable[[], None]) -> None:
    if Feature.ALIAS not in domain.features:
        raise Invalid(f"{domain.name} has no aliases. Its owner can turn on the feature alias.")
    permit()
    if domain.status is DomainStatus.DISABLED:
        raise Forbidden(f"{domain.name} is disabled.")
