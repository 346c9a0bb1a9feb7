"""Inviting somebody to manage a domain, by mail address.

1. Whoever could give the role may invite to it; 2. the invitation is stored together with the notice of it, from
which ``gateway/notify.py`` makes a mail with a token; 3. who comes with the token gets the role, if who invited
could still give it, and the invitation is gone, in one transaction.

Whoever owns the address as an active local identity needs no token, and gets no mail: the role is there at once or,
where the identity is younger than the invitation, when a role of the user's is next asked for, see
``gateway/access.py``. A ``recovery_email``, which nobody has proven, gives nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from gateway.access import Access
from gateway.address import normalise_identifier
from gateway.domain import require_room
from gateway.errors import Invalid
from gateway.invitation import Invitation
from gateway.notice import GATEWAY_ID, Notice, NoticeKind
from gateway.ports import Clock, Identities, Invitations, Page
from gateway.roles import Action, Role, require, require_change
from gateway.throttle import Throttle

_LIFE = timedelta(days=7)


@dataclass(frozen=True)
class Invite:
    """The invitations to domains. ``by`` is who asks, a user_id; ``noticed`` wakes who writes the mails."""

    invitations: Invitations
    identities: Identities
    access: Access
    throttle: Throttle
    clock: Clock
    noticed: asyncio.Event

    async def list(self, by: str, name: str, page: Page) -> tuple[int, Sequence[Invitation]]:
        """Return how many invitations to a domain there are and a page of them. Raises NotFound, Forbidden."""
        domain = await self.access.permitted(name, by, Action.SEE_INVITATIONS)
        return await self.invitations.list(domain.name, self.clock(), page)

    async def create(self, by: str, name: str, email: str, role: Role) -> Invitation:
        """Invite an address to a role on a domain.

        Raises NotFound; Invalid (no address); Forbidden; Conflict (it is invited already, the domain is full);
        TooOften.
        """
        domain, mine = await self.access.seen(name, by)
        try:
            email = normalise_identifier(email)
        except ValueError as error:
            raise Invalid("This is no mail address.", {"email": [str(error)]}) from error
        require_change(mine, None, role)
        require_room(domain)
        await self.throttle.spend("invitation", by)
        now = self.clock()
        invitation = Invitation(str(uuid4()), domain.name, email, role, by, now, now + _LIFE)
        await self._add(invitation)
        return invitation

    async def _add(self, invitation: Invitation) -> None:
        owner = await self.identities.owner(invitation.email)
        if owner and owner != GATEWAY_ID:
            await self.invitations.add(invitation, None)
            await self.access.settle(owner)
        else:
            notice = Notice(str(uuid4()), NoticeKind.INVITATION, invitation.domain, invitation.invitation_id)
            await self.invitations.add(invitation, notice)
            self.noticed.set()

    async def revoke(self, by: str, name: str, invitation_id: str) -> None:
        """Take an invitation back. Raises NotFound, Forbidden."""
        domain, mine = await self.access.seen(name, by)
        await self.invitations.get(domain.name, invitation_id, self.clock())
        require(mine, Action.REVOKE_INVITATION)
        await self.invitations.delete(domain.name, invitation_id)

    async def accept(self, user_id: str, token: str) -> tuple[str, Role]:
        """Give the user the role that the token stands for; return domain and role, a higher one if it is there.

        Raises NotFound (wrong, used, expired, taken back, or of somebody who has lost the role to invite: which is
        not told), Conflict (the domain is full), TooOften.
        """
        attempt = await self.throttle.spend("acceptance", user_id)
        invitation = await self.invitations.of_token(token, self.clock())
        role = await self.invitations.accept(invitation, user_id)
        await self.throttle.take_back(attempt)
        return invitation.domain, role
