"""SRV records: what a domain says of its servers in DNS (RFC 6186, RFC 8314 §5.1).

DNS answers are not authenticated. A server under the domain itself has to prove its name by a certificate; one of
another domain proves nothing of the kind, so the proposal is marked for the user to confirm (RFC 6186 §6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.address import ascii_host, domain_of
from gateway.errors import Unreachable
from gateway.identity import Endpoint, TLSMode
from gateway.proposal import Proposal, Source, named_server
from protocols.network import Network

# RFC 8314 §3: TLS from the first byte goes before STARTTLS.
_IMAP = {"_imaps": TLSMode.IMPLICIT, "_imap": TLSMode.STARTTLS}
_SMTP = {"_submissions": TLSMode.IMPLICIT, "_submission": TLSMode.STARTTLS}


class ServiceRecords:
    """Asks for a domain's SRV records."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def find(self, address: str) -> Sequence[Proposal]:
        """Return the servers of the domain's SRV records, if there is one that takes mail."""
        domain = ascii_host(domain_of(address))
        incoming, outgoing = await asyncio.gather(self._first(_IMAP, domain), self._first(_SMTP, domain))
        if outgoing is None:
            return []
        proposal = Proposal(
            source=Source.SRV,
            incoming=incoming,
            outgoing=outgoing,
            inusername=address if incoming else None,  # RFC 6186 §4: first of all the whole address
            outusername=address,
            confirm=not all(_is_under(domain, each) for each in (incoming, outgoing) if each),
        )
        return [proposal]

    async def _first(self, services: dict[str, TLSMode], domain: str) -> Endpoint | None:
        """Return the best server of the first of these services that the domain offers."""
        found = await asyncio.gather(*(self._servers(name, tls, domain) for name, tls in services.items()))
        return next((each for servers in found for each in servers), None)

    async def _servers(self, service: str, tls: TLSMode, domain: str) -> Sequence[Endpoint]:
        try:
            targets = await self._network.dns.services(f"{service}._tcp.{domain}")
        except Unreachable:  # what the other records tell is still worth having
            return []
        servers = (named_server(each.host, each.port, tls) for each in targets)
        return [each for each in servers if each and self._network.permits(each)]


def _is_under(domain: str, server: Endpoint) -> bool:
    return f".{server.host}".endswith(f".{domain}")
