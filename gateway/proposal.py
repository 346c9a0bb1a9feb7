"""A proposal: servers that an address probably has, as they were found, and which of several to show first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.address import parse_host_port
from gateway.identity import Endpoint, TLSMode


class Source(StrEnum):
    """Where servers were found, the most trustworthy first."""

    AUTOCONFIG = "autoconfig"
    """The domain says so itself, by HTTPS."""
    PROVIDER = "provider"
    """We know the provider to which the domain's mail goes."""
    SRV = "srv"
    """The domain says so in DNS (RFC 6186)."""
    PROBE = "probe"
    """They answer at a usual name."""


class Password(StrEnum):
    """Which password the servers take."""

    NORMAL = "normal"
    APP = "app"
    """One that the provider makes for a single program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Servers of an account, without any secret.

    ``confirm``: nothing but unauthenticated DNS leads to these servers of another domain; the user should be asked
    whether they are the right ones (RFC 6186 §6). ``password``: None where it is not known or none is taken.
    """

    source: Source
    incoming: Endpoint | None = None
    outgoing: Endpoint
    inusername: str | None = None
    outusername: str
    authtype: str | None = None
    password: Password | None = None
    provider: str | None = None
    confirm: bool = False

    @property
    def protocol(self) -> str:
        """The protocol of an identity that has these servers."""
        return "imap" if self.incoming else "smtp"

    @property
    def infos(self) -> Mapping[str, str]:
        """The ``infos`` of an identity that has these servers."""
        optional = {"authtype": self.authtype, "provider": self.provider}
        return {
            **({"inserver": _written(self.incoming), "intls": self.incoming.tls.value} if self.incoming else {}),
            "outserver": _written(self.outgoing),
            "outtls": self.outgoing.tls.value,
            **{key: value for key, value in optional.items() if value},
        }


def _written(server: Endpoint) -> str:
    return f"{server.host}:{server.port}"


def named_server(host: str, port: int | str, tls: TLSMode) -> Endpoint | None:
    """Return the server that somebody outside names, or None where that is no full host name with a port.

    Bare addresses have next to never a certificate, and names without a dot are those of our own network.
    """
    try:
        name, number = parse_host_port(f"{host}:{port}")
    except ValueError:
        return None
    top = name.rpartition(".")[2]
    if number is None or top == name or not top[0].isalpha():
        return None
    return Endpoint(name, number, tls)


def best_first(proposals: Iterable[Proposal]) -> Sequence[Proposal]:
    """Order proposals by source, those to confirm last; make one of those with the same servers.

    The best source of such servers wins; what it does not know of the provider the others tell.
    """
    best: dict[tuple[Endpoint | None, Endpoint], Proposal] = {}
    for each in sorted(proposals, key=lambda proposal: (proposal.confirm, list(Source).index(proposal.source))):
        servers = (each.incoming, each.outgoing)
        best[servers] = _merged(best[servers], each) if servers in best else each
    return list(best.values())


def _merged(better: Proposal, other: Proposal) -> Proposal:
    takes_password = better.authtype is None
    return replace(
        better,
        password=better.password or (other.password if takes_password else None),
        provider=better.provider or other.provider,
    )
