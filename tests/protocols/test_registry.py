"""The registry of protocols."""

from __future__ import annotations

import pytest

from gateway.config import DeliverySection, build
from gateway.errors import ConfigurationError
from gateway.identity import PROTOCOLS
from gateway.ports import system_clock
from protocols.backends.dimail import DimailBackend
from protocols.backends.fake import FakeBackend, SimulatedProbe
from protocols.domain_probe import DnsProbe
from protocols.registry import adapters, mail_backend
from storage.fake_mail import MongoFakeMail
from storage.mongo import Mongo
from tests.protocols.conftest import Reach


async def test_every_protocol_of_an_identity_has_an_adapter(reach: Reach) -> None:
    """There is an adapter for each protocol that an identity can have, and for no other."""
    async with adapters(reach(), "gateway.example", DeliverySection()) as known:
        assert set(known) == set(PROTOCOLS)


async def test_only_imap_keeps_mail(reach: Reach) -> None:
    """An imap identity has a mailbox to file sent copies in; an smtp identity has none."""
    async with adapters(reach(), "gateway.example", DeliverySection()) as known:
        assert known["imap"].mailbox is not None
        assert known["smtp"].mailbox is None


async def test_fake_backend(reach: Reach, mongo: Mongo) -> None:
    """By default the mail backend is simulated, and what is said of some names."""
    network = reach()
    config = build({"accounts": {"local_domain": "example.org"}})
    chosen = mail_backend(config, network, DnsProbe(network), MongoFakeMail(mongo), system_clock)
    async with chosen as (backend, probe):
        assert isinstance(backend, FakeBackend)
        assert isinstance(probe, SimulatedProbe)


async def test_dimail_backend(reach: Reach, mongo: Mongo) -> None:
    """With a dimail server nothing is simulated; without its URL the gateway does not start."""
    network = reach()
    tables = {"accounts": {"local_domain": "example.org"}, "domains": {"backend": "dimail"}}
    dimail = {"username": "gateway", "url": "https://dimail.example"}
    probe, keep = DnsProbe(network), MongoFakeMail(mongo)
    async with mail_backend(build(tables | {"dimail": dimail}), network, probe, keep, system_clock) as chosen:
        assert isinstance(chosen[0], DimailBackend)
        assert chosen[1] is probe
    with pytest.raises(ConfigurationError, match=r"dimail\.url"):
        async with mail_backend(build(tables), network, probe, keep, system_clock):
            pass
