"""What users do with the mailboxes and aliases of a domain: see that their role allows it, then have it done.

RFC 2142 §5 gives the name to whoever looks after a domain's mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.access import Access
from gateway.domain import Domain
from gateway.errors import GatewayError
from gateway.forward import Forward
from gateway.mailbox import Alias, Mailbox
from gateway.patch import Change
from gateway.ports import Page
from gateway.provision import NewMailbox, Provision
from gateway.quota import Quota
from gateway.roles import Action, require
from gateway.throttle import Throttle


@dataclass(frozen=True)
class Postmaster:
    """Every method takes the user who asks and the domain in either spelling of its name.

    Each raises NotFound where the user has no role on the domain, Forbidden where it is too low, and as the methods
    of Provision and Forward do.
    """

    access: Access
    provision: Provision
    forward: Forward
    throttle: Throttle
    quota: Quota

    async def domain(self, user_id: str, name: str, action: Action = Action.SEE_DOMAIN) -> Domain:
        """Return a domain on which the user may do that."""
        return await self.access.permitted(name, user_id, action)

    # -- mailboxes -------------------------------------------------------------------------------------------------

    async def mailboxes(self, user_id: str, name: str, page: Page) -> tuple[int, Sequence[Mailbox]]:
        """Return how many mailboxes there are and a page of them, by local part."""
        domain = await self.domain(user_id, name, Action.SEE_MAILBOXES)
        return await self.provision.list(domain.name, page)

    async def mailbox(self, user_id: str, name: str, local_part: str) -> Mailbox:
        """Return a mailbox."""
        domain = await self.domain(user_id, name, Action.SEE_MAILBOXES)
        return await self.provision.get(domain.name, local_part)

    async def create_mailbox(self, user_id: str, name: str, new: NewMailbox) -> Mailbox:
        """Create a mailbox; nobody is told its password. Raises Full, too."""
        domain, role = await self.access.seen(name, user_id)
        most = self.quota.most(user_id, self.quota.limits.mailboxes)
        mailbox, _ = await self.provision.create(
            domain.name, new, lambda _: require(role, Action.CREATE_MAILBOX), most=most
        )
        return mailbox

    async def change_mailbox(self, user_id: str, name: str, local_part: str, change: Change[Mailbox]) -> None:
        """Change a mailbox; whose it is, it takes a role to change."""
        domain, role = await self.access.seen(name, user_id)
        keeps = change.patch.get("user_id", user_id) == user_id

        def permit(mailbox: Mailbox) -> None:
            require(role, Action.CHANGE_MAILBOX, ones_own=keeps and mailbox.user_id == user_id)

        await self.provision.change(domain.name, local_part, change, permit)

    async def delete_mailbox(self, user_id: str, name: str, local_part: str, change: Change[Mailbox]) -> None:
        """Delete a mailbox with its mail."""
        mailbox = await self._permitted(user_id, name, local_part, Action.DELETE_MAILBOX)
        await self.provision.delete(mailbox.domain, mailbox.local_part, change)

    async def disable_mailbox(self, user_id: str, name: str, local_part: str) -> Mailbox:
        """Put a mailbox out of use."""
        mailbox = await self._permitted(user_id, name, local_part, Action.DISABLE_MAILBOX)
        return await self.provision.disable(mailbox.domain, mailbox.local_part)

    async def enable_mailbox(self, user_id: str, name: str, local_part: str) -> Mailbox:
        """Put a mailbox into use."""
        mailbox = await self._permitted(user_id, name, local_part, Action.ENABLE_MAILBOX)
        return await self.provision.enable(mailbox.domain, mailbox.local_part)

    async def reset_password(self, user_id: str, name: str, local_part: str) -> Mailbox:
        """Give a mailbox a password that nobody knows, and send its sign-in link. Raises TooOften, too."""
        mailbox = await self._permitted(user_id, name, local_part, Action.RESET_PASSWORD)
        return await self._send_link(mailbox, reset=True)

    async def send_login_link(self, user_id: str, name: str, local_part: str) -> Mailbox:
        """Send a mailbox's sign-in link. Raises TooOften, too."""
        mailbox = await self._permitted(user_id, name, local_part, Action.SEND_LOGIN_LINK, ones_own=True)
        return await self._send_link(mailbox, reset=False)

    async def _send_link(self, mailbox: Mailbox, *, reset: bool) -> Mailbox:
        attempt = await self.throttle.spend("sign-in link", mailbox.email)
        try:
            return await self.provision.send_link(mailbox.domain, mailbox.local_part, reset=reset)
        except GatewayError:
            await self.throttle.take_back(attempt)  # no mail went out
            raise

    async def _permitted(
        self, user_id: str, name: str, local_part: str, action: Action, *, ones_own: bool = False
    ) -> Mailbox:
        """Return a mailbox with which the user may do that; ``ones_own``: also because it is the user's own."""
        domain, role = await self.access.seen(name, user_id)
        mailbox = await self.provision.get(domain.name, local_part)
        require(role, action, ones_own=ones_own and mailbox.user_id == user_id)
        return mailbox

    # -- aliases ---------------------------------------------------------------------------------------------------

    async def aliases(self, user_id: str, name: str, page: Page) -> tuple[int, Sequence[Alias]]:
        """Return how many aliases there are and a page of them, in order."""
        domain = await self.domain(user_id, name, Action.SEE_ALIASES)
        return await self.forward.list(domain.name, page)

    async def add_alias(self, user_id: str, name: str, local_part: str, destination: str) -> Alias:
        """Let mail to an address of the domain go to a mailbox. Raises Full, too."""
        domain, role = await self.access.seen(name, user_id)
        most = self.quota.most(user_id, self.quota.limits.aliases)
        return await self.forward.add(
            domain.name, local_part, destination, lambda: require(role, Action.CREATE_ALIAS), most=most
        )

    async def delete_alias(self, user_id: str, name: str, local_part: str, destination: str) -> None:
        """Let mail to an address not go there any more."""
        domain, role = await self.access.seen(name, user_id)
        alias = await self.forward.get(domain.name, local_part, destination)
        require(role, Action.DELETE_ALIAS)
        await self.forward.delete(alias.domain, alias.local_part, alias.destination)
