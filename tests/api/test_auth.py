"""Where a request comes from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from api.auth import source_of

PROXIES = [ip_network("127.0.0.0/8"), ip_network("10.1.0.0/16"), ip_network("2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "source"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["192.0.2.1"], "203.0.113.5"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", ["192.0.2.1, 203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", ["192.0.2.1", "203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", ["192.0.2.1, 203.0.113.5 , 10.1.2.3,127.0.0.1"], "203.0.113.5"),
        ("127.0.0.1", ["nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.5, nonsense, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", ["", ","], "127.0.0.1"),
        ("2001:db8:1::7", ["2001:db8:2::1"], "2001:db8:2::1"),
        ("::ffff:127.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("", ["203.0.113.5"], ""),
    ],
)
def test_source(peer: str, forwarded_for: list[str], source: str) -> None:
    """From the right, the first address that is no proxy of ours is the source; nothing left of it is believed."""
    assert source_of(peer, forwarded_for, PROXIES) == source
