"""The aliases of hosted domains: add, list, delete. Who may do that stands in gateway/postmaster.py.

Adding one: 1. store that it is being added; 2. create it at the mail backend; 3. store that it is there. What the
backend has before is somebody else's: it is not stored, so that nobody can delete it by us. Where 2 is cut off, or
has no answer, the alias is shown, because it may be there, and asking again mends it: what is there then is ours.

It is deleted at the backend first, then here: where that is cut off in between, asking again mends it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gateway.address import normalise_identifier
from gateway.domain import Domain, DomainStatus, Feature, require_ours
from gateway.errors import Conflict, Forbidden, Full, Invalid, NotFound, RemoteError
from gateway.mailbox import Alias, parse_local_part
from gateway.ports import Aliases, Clock, Domains, MailBackend, Page
from gateway.work import LEASE

MOST_DESTINATIONS = 100
"""How many destinations one address can have: a mail to it becomes as many."""


@dataclass(frozen=True)
class Forward:
    """The aliases. Domains are named by the one spelling of their names."""

    domains: Domains
    aliases: Aliases
    backend: MailBackend
    clock: Clock

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
        is there already, here or at the backend, or has too many destinations), Full (the domain has ``most``
        aliases), RemoteError.
        """
        alias = _parsed(domain, local_part, destination)
        _admit(await self.domains.get(domain), permit)
        await self._check_room(alias, most)
        await self._create(alias)
        return alias

    async def _check_room(self, alias: Alias, most: int) -> None:
        with suppress(NotFound):
            await self.aliases.get(alias.domain, alias.local_part, alias.destination)
            return  # it has its room
        count, _ = await self.aliases.list(alias.domain, Page(limit=1), alias.local_part)
        if count >= MOST_DESTINATIONS:
            raise Conflict(f"{alias.email} has {count} destinations, and no room for more.")
        if (await self.aliases.list(alias.domain, Page(limit=1)))[0] >= most:
            raise Full(f"{alias.domain} has {most} aliases (limits.aliases). Delete one of them first.")

    async def _create(self, alias: Alias) -> None:
        now = self.clock()
        until = now + LEASE
        again = await self.aliases.begin(alias, now, until)
        try:
            if not await self.backend.add_alias(alias) and not again:
                raise _not_ours(alias)
        except (RemoteError, Conflict) as error:
            forget = not again and (isinstance(error, Conflict) or error.nothing_done)
            await self.aliases.give_up(alias, until, self.clock(), forget=forget)
            raise
        await self.aliases.add(alias)

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


def _not_ours(alias: Alias) -> Conflict:
    return Conflict(
        f"At the mail servers, mail to {alias.email} goes to {alias.destination} already, which does not come from"
        " here. Their operator can remove that."
    )


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
    require_ours(domain)
