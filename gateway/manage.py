"""Managing a domain: who has which role on it; ``gateway/roles.py`` has the table of who may change that.

A change: 1. read the domain; 2. see that who asks may do so, that an owner is left, and that the client knows what
it changes; 3. store it, if nobody has changed the domain since it was read; else all again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.access import Access
from gateway.domain import Domain, require_room
from gateway.errors import Conflict, Invalid, NotFound
from gateway.patch import Change
from gateway.ports import Domains, Page, Users
from gateway.roles import Action, Role, require_change

_TRIES = 100  # of a change that others come before, each time
_BUSY = "The domain is being changed. Try again when that is done."


@dataclass(frozen=True, slots=True)
class Manager:
    """A user with a role on a domain."""

    user_id: str
    username: str
    role: Role


@dataclass(frozen=True)
class Manage:
    """The managers of domains. ``by`` is who asks, a user_id."""

    domains: Domains
    access: Access
    users: Users

    async def list(self, by: str, name: str, page: Page) -> tuple[int, Sequence[Manager]]:
        """Return how many managers a domain has and a page of them, owners first. Raises NotFound."""
        domain = await self.access.permitted(name, by, Action.SEE_ACCESSES)
        ranked = sorted(domain.roles, key=lambda user_id: (-domain.roles[user_id].rank, user_id))
        shown = ranked[page.offset : page.offset + page.limit]
        names = await self.users.names(shown)
        return len(ranked), [Manager(each, names.get(each, ""), domain.roles[each]) for each in shown]

    async def get(self, by: str, name: str, user_id: str) -> Manager:
        """Return a manager of a domain. Raises NotFound."""
        domain = await self.access.permitted(name, by, Action.SEE_ACCESSES)
        return await self._manager(domain, user_id)

    async def _manager(self, domain: Domain, user_id: str) -> Manager:
        role = domain.roles.get(user_id)
        if role is None:
            raise NotFound("This user has no role on this domain.")
        return Manager(user_id, (await self.users.names([user_id])).get(user_id, ""), role)

    async def give(self, by: str, name: str, user_id: str, role: Role) -> Manager:
        """Give a user a role on a domain.

        Raises NotFound; Invalid (no such user); Forbidden; Conflict (the user has a role, the domain is full).
        """
        for _ in range(_TRIES):
            domain, mine = await self.access.seen(name, by)
            names = await self.users.names([user_id])
            if user_id not in names:
                raise Invalid("There is no such user.", {"user_id": ["There is no such user."]})
            require_change(mine, None, role)
            if user_id in domain.roles:
                raise Conflict(f"{names[user_id]} has a role on this domain already. Change that.")
            require_room(domain)
            if await self._save(domain, user_id, role):
                return Manager(user_id, names[user_id], role)
        raise Conflict(_BUSY)

    async def grant(self, name: str, user_id: str, role: Role) -> None:
        """Give a user a role on a domain, in the place of the one that is there: for the operator, who has none.

        Raises NotFound, Conflict (the last owner, the domain is full).
        """
        for _ in range(_TRIES):
            domain = await self.domains.get(name)
            if user_id not in domain.roles:
                require_room(domain)
            _require_owner(domain, user_id, role)
            if await self._save(domain, user_id, role):
                return
        raise Conflict(_BUSY)

    async def change(self, by: str, name: str, user_id: str, change: Change[Manager]) -> None:
        """Apply a merge patch of ``role``.

        Raises NotFound, Forbidden, Conflict (the last owner; ``current_state`` is not what is stored), Stale.
        """
        await self._set(by, name, user_id, change, lambda before: Role(change.patch.get("role", before)))

    async def remove(self, by: str, name: str, user_id: str, change: Change[Manager]) -> None:
        """Take a user's role away. Raises NotFound, Forbidden, Conflict (the last owner), Stale."""
        await self._set(by, name, user_id, change, lambda _: None)

    async def _set(
        self, by: str, name: str, user_id: str, change: Change[Manager], after: Callable[[Role], Role | None]
    ) -> None:
        for _ in range(_TRIES):
            domain, mine = await self.access.seen(name, by)
            manager = await self._manager(domain, user_id)
            role = after(manager.role)
            require_change(mine, manager.role, role, ones_own=user_id == by)
            _require_owner(domain, user_id, role)
            change.check(manager, {"role": manager.role})
            if await self._save(domain, user_id, role):
                return
        raise Conflict(_BUSY)

    async def _save(self, domain: Domain, user_id: str, role: Role | None) -> bool:
        others = {each: theirs for each, theirs in domain.roles.items() if each != user_id}
        roles = others if role is None else {**others, user_id: role}
        return await self.domains.save(domain, replace(domain, roles=roles))


def _require_owner(domain: Domain, user_id: str, role: Role | None) -> None:
    """Raise Conflict where the domain would have no owner if the user had that role."""
    if role is not Role.OWNER and domain.is_sole_owner(user_id):
        raise Conflict("A domain keeps one owner at least. Make somebody else an owner first.")
