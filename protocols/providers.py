"""Large providers: their servers, and how one finds that an address is theirs. The facts are in providers.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from gateway.address import ascii_host, domain_of
from gateway.identity import OAUTH2, Credentials, Endpoint, endpoint
from gateway.proposal import Password, Proposal, Source
from protocols.dns import Resolver


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One entry of the file.

    ``domains``: of its own mailboxes. ``mx``: the ends of the names of hosts that take the mail of its customers'
    domains. ``sign_in``: password, app-password or oauth2. ``username``: the address, or its local part.
    ``files_sent``: the ends of the names of IMAP hosts where what is sent through the provider is in Sent at once.
    """

    name: str
    imap: str
    smtp: str
    domains: Sequence[str] = ()
    mx: Sequence[str] = ()
    sign_in: str = "password"
    username: str = "address"
    files_sent: Sequence[str] = ()

    def server(self, direction: str) -> Endpoint:
        """Return the server for ``in`` or ``out``; the TLS mode follows from the port. Raises Invalid."""
        infos = {"inserver": self.imap, "outserver": self.smtp}
        return endpoint(infos, Credentials({}), direction)

    def proposal(self, address: str) -> Proposal:
        """Return the servers, for an address at this provider."""
        username = address if self.username == "address" else address.rpartition("@")[0]
        passwords: Mapping[str, Password] = {"password": Password.NORMAL, "app-password": Password.APP}
        return Proposal(
            source=Source.PROVIDER,
            incoming=self.server("in"),
            outgoing=self.server("out"),
            inusername=username,
            outusername=username,
            authtype=OAUTH2 if self.sign_in == OAUTH2 else None,
            password=passwords.get(self.sign_in),
            provider=self.name,
        )


@cache
def known() -> Sequence[Provider]:
    """Return the providers of the file."""
    text = resources.files("protocols").joinpath("providers.toml").read_text(encoding="utf-8")
    return [Provider(**entry) for entry in tomllib.loads(text)["provider"]]


class Providers:
    """Finds the provider of an address: by its domain, else by where the domain's mail goes."""

    def __init__(self, resolver: Resolver) -> None:
        self._dns = resolver

    async def find(self, address: str) -> Sequence[Proposal]:
        """Return the provider's servers, if it is one of those we know. Raises Unreachable."""
        domain = ascii_host(domain_of(address))
        provider = next((each for each in known() if domain in each.domains), None)
        if provider is None:
            provider = by_exchangers(await self._dns.exchangers(domain))
        return [provider.proposal(address)] if provider else []


def by_exchangers(hosts: Sequence[str]) -> Provider | None:
    """Return the provider of the first of these hosts that is known to be one's."""
    return next(
        (each for host in hosts for each in known() for suffix in each.mx if f".{host}".endswith(f".{suffix}")),
        None,
    )


def files_sent(imap_host: str) -> bool:
    """True when what is sent through the provider of that IMAP host is put into its Sent folder by the provider."""
    host = f".{imap_host.lower()}"
    return any(host.endswith(f".{suffix}") for each in known() for suffix in each.files_sent)
