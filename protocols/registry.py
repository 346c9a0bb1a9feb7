"""Protocol name → adapter, and the ways to find servers: the one place that knows all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from gateway.config import Config, DeliverySection
from gateway.mail_hosts import Hosts
from gateway.ports import Adapter, Clock, DomainProbe, MailBackend
from protocols.autoconfig import Autoconfig
from protocols.backends.dimail import DimailBackend
from protocols.backends.fake import FakeBackend, Keep, SimulatedProbe
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


@asynccontextmanager
async def mail_backend(
    config: Config, network: Network, probe: DomainProbe, keep: Keep, clock: Clock
) -> AsyncIterator[tuple[MailBackend, DomainProbe]]:
    """Yield the servers of the hosted domains, and how these are looked at from outside; end their sessions.

    ``probe`` looks at the real DNS; ``keep`` is where the fake keeps its state. Raises ConfigurationError.
    """
    if config.domains.backend == "fake":
        hosts = Hosts.of(config.domains, config.accounts.local_domain)
        yield FakeBackend(keep, hosts, config.domains, clock), SimulatedProbe(probe)
        return
    async with DimailBackend(config.dimail, network.tls, clock) as dimail:
        yield dimail, probe
