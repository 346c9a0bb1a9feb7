"""The registry of protocols."""

from __future__ import annotations

from gateway.config import DeliverySection
from gateway.identity import PROTOCOLS
from protocols.registry import adapters
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
