"""Protocol name → adapter: the one place that knows all of them."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.ports import Adapter
from protocols.imap import ImapAdapter
from protocols.network import Network
from protocols.smtp import SmtpAdapter


def adapters(network: Network, helo_name: str) -> Mapping[str, Adapter]:
    """Return how identities of each protocol reach the outside."""
    smtp = SmtpAdapter(network, helo_name)
    return {"smtp": Adapter(smtp), "imap": Adapter(smtp, ImapAdapter(network))}
