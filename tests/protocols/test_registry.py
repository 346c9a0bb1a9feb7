"""The registry of protocols."""

from __future__ import annotations

from gateway.identity import PROTOCOLS
from protocols.registry import adapters
from tests.protocols.conftest import Reach


def test_every_protocol_of_an_identity_has_an_adapter(reach: Reach) -> None:
    """There is an adapter for each protocol that an identity can have, and for no other."""
    assert set(adapters(reach(), "gateway.example")) == set(PROTOCOLS)


def test_only_imap_keeps_mail(reach: Reach) -> None:
    """An imap identity has a mailbox to file sent copies in; an smtp identity has none."""
    known = adapters(reach(), "gateway.example")
    assert known["imap"].mailbox is not None
    assert known["smtp"].mailbox is None
