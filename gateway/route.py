"""Which servers an identity stands for, and which adapters speak to them."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.identity import Credentials, Endpoint, IdentityType, UserIdentity, endpoint
from gateway.ports import Identities, MessageStore, Outside, Submitter


@dataclass(frozen=True, slots=True)
class Route:
    """The way out of one identity and, where its protocol keeps mail, its mailbox."""

    submitter: Submitter
    outgoing: Endpoint
    mailbox: MessageStore | None = None
    incoming: Endpoint | None = None


@dataclass(frozen=True)
class Routing:
    """Finds the route of an identity: the relay for local ones, their own servers for remote ones."""

    identities: Identities
    outside: Outside

    async def find(self, user_id: str, identity_id: str) -> tuple[UserIdentity, Route]:
        """Return an identity with its route. Raises NotFound, Invalid (no server)."""
        identity, credentials = await self.identities.with_credentials(user_id, identity_id)
        return identity, self.to(identity, credentials)

    async def of(self, identity: UserIdentity) -> Route:
        """Return the route, credentials included. Raises NotFound (deleted meanwhile), Invalid (no server).

        The servers are those that are stored now, with the credentials: no password goes to servers of before.
        """
        if identity.type is IdentityType.LOCAL:
            return self.to(identity, Credentials({}))
        _, route = await self.find(identity.user_id, identity.identity_id)
        return route

    def server(self, identity: UserIdentity) -> str:
        """Return ``host:port`` of where its mail goes. Raises Invalid (no server)."""
        outgoing = self.to(identity, Credentials({})).outgoing
        return f"{outgoing.host}:{outgoing.port}"

    def to(self, identity: UserIdentity, credentials: Credentials) -> Route:
        """Return the route of an identity, stored or not. Raises Invalid (no server)."""
        if identity.type is IdentityType.LOCAL:
            return Route(self.outside.adapters["smtp"].submitter, self.outside.relay)
        adapter = self.outside.adapters[identity.protocol]
        outgoing = endpoint(identity.infos, credentials, "out")
        if adapter.mailbox is None:
            return Route(adapter.submitter, outgoing)
        return Route(adapter.submitter, outgoing, adapter.mailbox, endpoint(identity.infos, credentials, "in"))
