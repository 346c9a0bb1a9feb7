"""Protocol name → adapter, and the ways to find servers: the one place that knows all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from gateway.config import DeliverySection
from gateway.ports import Adapter
from protocols.autoconfig import Autoconfig
from protocols.discover import Finder
from protocols.https import Https
from protocols.imap import ImapAdapter
from protocols.network import Network
from protocols.probe import Probe
from protocols.providers import Providers
from protocols.smtp import SmtpAdapter
from protocols.srv import ServiceRecords


@asynccontextmanager
async def adapters(
    network: Network, helo_name: str, delivery: DeliverySection
) -> AsyncIterator[Mapping[str, Adapter]]:
    """Yield how identities of each protocol reach the outside; end their sessions."""
    smtp = SmtpAdapter(network, helo_name, per_host=delivery.per_host, in_all=delivery.concurrency)
    try:
        yield {"smtp": Adapter(smtp), "imap": Adapter(smtp, ImapAdapter(network))}
    finally:
        await smtp.close()


def finder(network: Network, helo_name: str) -> Finder:
    """Return how the servers of an address are found."""
    ways = (
        Autoconfig(network, Https(network)),
        Providers(network.dns),
        ServiceRecords(network),
        Probe(ImapAdapter(network), SmtpAdapter(network, helo_name)),
    )
    return Finder([way.find for way in ways])
