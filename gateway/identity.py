"""A UserIdentity: one account from which a user sends, and the servers it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.address import parse_host_port
from gateway.errors import Invalid

PROTOCOLS = ("smtp", "imap")
DEFAULT_POLL_INTERVAL = "15"  # minutes
MAX_KEYS = 64  # of infos and of credentials, what workers add not counted
LOGIN_PASSWORD, OAUTH2 = AUTHTYPES = ("loginpassword", "oauth2")

WORKER_KEYS = frozenset(
    {
        "lastsync",
        "uidvalidity",
        "lastseenuid",
        "unseen",
        "lastFetchError",
        "firstErrorDate",
        "lastErrorDate",
        "errorsCount",
        "sentfolder",
        "capabilities",
        "inactivereason",
    }
)
"""Keys of ``infos`` that the workers own: what a client sends there is ignored."""

ERROR_KEYS = frozenset({"lastFetchError", "firstErrorDate", "lastErrorDate", "errorsCount"})
"""Keys of ``infos`` that a successful check removes."""


class IdentityType(StrEnum):
    """Whether the account is hosted here or at another provider."""

    LOCAL = "local"
    REMOTE = "remote"


class IdentityStatus(StrEnum):
    """``deleted`` is final: the identity can no longer be read."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"


class TLSMode(StrEnum):
    """RFC 8314 §3: TLS from the first byte, or negotiated by STARTTLS; ``none`` only where configured."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """One account from which a user sends. Its credentials are kept apart and never leave the store with it.

    ``version`` counts the changes of what clients may change. ``check_at`` is when a worker checks it next, None
    where none does; ``refusals`` counts the refused sign-ins in a row.
    """

    identity_id: str
    user_id: str
    type: IdentityType
    protocol: str
    identifier: str
    display_name: str
    status: IdentityStatus
    infos: Mapping[str, str]
    last_check: datetime | None
    version: int = 0
    check_at: datetime | None = None
    refusals: int = 0

    @property
    def hosts(self) -> tuple[str, ...]:
        """The one or two hosts that a check asks, in their order: what is bounded by host is so by each of them.

        An empty one for a local identity, which has the relay.
        """
        servers = (self.infos.get(_SERVERS[direction][0], "") for direction in directions(self.protocol))
        return tuple(sorted(set(map(_host, servers))))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an identity signs in with, by the key names of the contract. Its repr shows none."""

    values: Mapping[str, str] = field(repr=False)

    def sign_in(self, direction: str, authtype: str) -> SignIn | None:
        """Return the sign-in for ``in`` or ``out``; for ``out`` the ``in`` values serve when it has none."""
        values = self.values
        username = values.get(f"{direction}username") or values.get("inusername") or values.get("username")
        if authtype == OAUTH2:
            username = values.get("username") or username
        secret = values.get(self.secret_key(direction, authtype))
        if username is None or secret is None:
            return None
        return SignIn(username, secret, oauth2=authtype == OAUTH2)

    def secret_key(self, direction: str, authtype: str) -> str:
        """Return under which key the secret of that sign-in is, if there is one."""
        if authtype == OAUTH2:
            return "accesstoken"
        own = f"{direction}password"
        return own if self.values.get(own) else "inpassword"


@dataclass(frozen=True, slots=True)
class SignIn:
    """A user name with its password or, where ``oauth2``, its OAuth 2.0 access token."""

    username: str = field(repr=False)
    secret: str = field(repr=False)
    oauth2: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A mail server with all that is needed to use it.

    ``operators`` marks a server that the operator named, such as the relay: the address guard is for the others.
    """

    host: str
    port: int
    tls: TLSMode
    sign_in: SignIn | None = None
    operators: bool = False


# direction: (key of the server, key of the TLS mode, default port, port by mode)
_SERVERS: Mapping[str, tuple[str, str, Mapping[TLSMode | None, int]]] = {
    "in": (
        "inserver",
        "intls",
        {None: 993, TLSMode.IMPLICIT: 993, TLSMode.STARTTLS: 143, TLSMode.NONE: 143},
    ),
    "out": (
        "outserver",
        "outtls",
        {None: 587, TLSMode.IMPLICIT: 465, TLSMode.STARTTLS: 587, TLSMode.NONE: 587},
    ),
}
_IMPLICIT_PORTS = (993, 465)  # RFC 8314 §7


def directions(protocol: str) -> Sequence[str]:
    """Return of which servers an identity of that protocol makes use: ``in`` and ``out``, or one of them."""
    return ("in", "out") if protocol == "imap" else ("out",)


def endpoint(infos: Mapping[str, str], credentials: Credentials, direction: str) -> Endpoint:
    """Return the server for ``in`` (IMAP) or ``out`` (SMTP) that ``infos`` names.

    Without a port it follows from the TLS mode, without a TLS mode that follows from the port.
    Raises Invalid with the key that is missing or malformed.
    """
    server_key, tls_key, ports = _SERVERS[direction]
    text = infos.get(server_key, "")
    if not text:
        raise _invalid(server_key, "is missing")
    try:
        host, port = parse_host_port(text)
    except ValueError as error:
        raise _invalid(server_key, str(error)) from error
    chosen = infos.get(tls_key)
    if chosen is not None and chosen not in list(TLSMode):
        raise _invalid(tls_key, f"must be one of {', '.join(TLSMode)}")
    mode = TLSMode(chosen) if chosen else None
    port = port or ports[mode]
    mode = mode or (TLSMode.IMPLICIT if port in _IMPLICIT_PORTS else TLSMode.STARTTLS)
    return Endpoint(host, port, mode, credentials.sign_in(direction, infos.get("authtype", LOGIN_PASSWORD)))


def _host(server: str) -> str:
    try:
        return parse_host_port(server)[0]
    except ValueError:
        return ""


def _invalid(key: str, message: str) -> Invalid:
    return Invalid(f"infos.{key} {message}.", {f"infos.{key}": [f"This server setting {message}."]})
