"""Who a user is to a domain: the role, with what invitations give to the addresses that the user owns.

Every use case about a domain begins here: 1. read the domain; 2. unless the user is an owner already, accept the
invitations to the addresses that are the user's active local identities: such an identity may be younger than the
invitation; 3. where there were any, read it again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from gateway.domain import Domain, parse_domain
from gateway.errors import Conflict, NotFound
from gateway.ports import Clock, Domains, Identities, Invitations
from gateway.roles import Action, Role, require


@dataclass(frozen=True)
class Access:
    """The roles of users on domains."""

    domains: Domains
    identities: Identities
    invitations: Invitations
    clock: Clock

    async def domain(self, name: str, user_id: str) -> tuple[Domain, Role | None]:
        """Return a domain, by either spelling of its name, and the user's role on it. Raises NotFound."""
        try:
            name = parse_domain(name)
        except ValueError as error:
            raise NotFound("There is no such domain.") from error
        domain = await self.domains.get(name)
        if domain.roles.get(user_id) is not Role.OWNER and await self.settle(user_id):
            domain = await self.domains.get(name)
        return domain, domain.roles.get(user_id)

    async def seen(self, name: str, user_id: str) -> tuple[Domain, Role]:
        """As domain(), where the user may see it. Raises NotFound."""
        domain, role = await self.domain(name, user_id)
        if role is None:
            raise NotFound("There is no such domain.")
        return domain, role

    async def permitted(self, name: str, user_id: str, action: Action) -> Domain:
        """As domain(), on which the user may do that. Raises NotFound, Forbidden."""
        domain, role = await self.domain(name, user_id)
        require(role, action)
        return domain

    async def settle(self, user_id: str) -> bool:
        """Accept all invitations to addresses that the user owns; True where there were any."""
        addresses = await self.identities.addresses(user_id)
        invitations = await self.invitations.of_addresses(addresses, self.clock()) if addresses else []
        for invitation in invitations:
            with suppress(NotFound, Conflict):  # accepted, taken back or void meanwhile; too many managers
                await self.invitations.accept(invitation, user_id)
        return bool(invitations)
