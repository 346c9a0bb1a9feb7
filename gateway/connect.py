"""Connecting accounts: add an identity at another provider, read the identities.

Adding a remote identity: 1. normalise the identifier and fill in the defaults; 2. see that its servers are named
well; 3. store it with its credentials encrypted; a unique index refuses a second one of the same identifier and
protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from gateway.address import normalise_identifier
from gateway.errors import Invalid, NotFound
from gateway.identity import (
    DEFAULT_POLL_INTERVAL,
    LOGIN_PASSWORD,
    OAUTH2,
    WORKER_KEYS,
    Credentials,
    IdentityStatus,
    IdentityType,
    TLSMode,
    UserIdentity,
    endpoint,
)
from gateway.ports import Identities, Page


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRemote:
    """What a client says of an account at another provider."""

    protocol: str
    identifier: str
    display_name: str | None = None
    status: IdentityStatus = IdentityStatus.ACTIVE
    infos: Mapping[str, str]
    credentials: Credentials


@dataclass(frozen=True)
class Connect:
    """The user's identities."""

    identities: Identities
    allow_plaintext: bool

    async def add_remote(self, user_id: str, new: NewRemote) -> UserIdentity:
        """Store a remote identity. Raises Invalid, Conflict (identifier and protocol are there already)."""
        try:
            identifier = normalise_identifier(new.identifier)
        except ValueError as error:
            raise Invalid("The identifier is no mail address.", {"identifier": [str(error)]}) from error
        infos = _with_defaults(new.infos, new.credentials)
        self._check_servers(new.protocol, infos, new.credentials)
        identity = UserIdentity(
            identity_id=str(uuid4()),
            user_id=user_id,
            type=IdentityType.REMOTE,
            protocol=new.protocol,
            identifier=identifier,
            display_name=new.display_name or identifier,
            status=new.status,
            infos=infos,
            last_check=None,
        )
        await self.identities.add(identity, new.credentials)
        return identity

    def _check_servers(self, protocol: str, infos: Mapping[str, str], credentials: Credentials) -> None:
        """Raise Invalid with every server setting that is missing, malformed or not allowed."""
        errors: dict[str, Sequence[str]] = {}
        for direction in ("in", "out") if protocol == "imap" else ("out",):
            try:
                server = endpoint(infos, credentials, direction)
            except Invalid as error:
                errors |= error.errors
                continue
            if server.tls is TLSMode.NONE and not self.allow_plaintext:
                errors[f"infos.{direction}tls"] = ["Connections without TLS are not allowed here."]
        if errors:
            raise Invalid("The servers of this account are not usable.", errors)

    async def get(self, user_id: str, identity_id: str, kind: IdentityType) -> UserIdentity:
        """Return an identity of the user. Raises NotFound, also for one of the other type."""
        identity = await self.identities.get(user_id, identity_id)
        if identity.type is not kind:
            raise NotFound("There is no such identity.")
        return identity

    async def list(
        self, user_id: str, kind: IdentityType, filters: Mapping[str, str], page: Page
    ) -> tuple[int, Sequence[UserIdentity]]:
        """Return how many identities of that type the user has and a page of them."""
        return await self.identities.list(user_id, {**filters, "type": kind}, page)


def _with_defaults(infos: Mapping[str, str], credentials: Credentials) -> dict[str, str]:
    """Fill in what is stored with its default, and leave out what only workers set."""
    authtype = OAUTH2 if "accesstoken" in credentials.values else LOGIN_PASSWORD
    defaults = {"pollinterval": DEFAULT_POLL_INTERVAL, "authtype": authtype}
    return defaults | {key: value for key, value in infos.items() if key not in WORKER_KEYS}
