"""Who asks, and where a request comes from: what is made of headers."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.auth import basic_credentials, is_from_here, source_of
from gateway.errors import NotAuthenticated

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
        ("127.0.0.1", ["::FFFF:203.0.113.5"], "203.0.113.5"),
        ("127.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("127.0.0.1", ["fe80::1%\udcff"], "fe80::1"),
        ("", ["203.0.113.5"], ""),
    ],
)
def test_source(peer: str, forwarded_for: list[str], source: str) -> None:
    """From the right, the first address that is no proxy of ours is the source; nothing left of it is believed."""
    assert source_of(peer, forwarded_for, PROXIES) == source


@pytest.mark.parametrize(
    ("peer", "is_here"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(("192.0.2.1", False), ("2001:db8::1", False), ("", False), ("localhost", False)),
    ],
)
def test_from_here(peer: str, is_here: bool) -> None:
    """Only a loopback address is of this machine."""
    assert is_from_here(peer, {}) == is_here


# As aiohttp reads them: what is not UTF-8 becomes surrogates (PEP 383).
HEADERS = st.binary().map(lambda octets: octets.decode("utf-8", "surrogateescape"))
HOPS = HEADERS | st.ip_addresses().map(str) | st.sampled_from(["10.1.2.3", "::1%", "", " ", ",", "fe80::1%\udcff"])


@given(st.lists(HOPS), st.sampled_from(["127.0.0.1", "203.0.113.5", "::1", ""]))
def test_any_hops(hops: list[str], peer: str) -> None:
    """Whatever proxies are said to have passed on, the source is the peer's address or one that can be stored."""
    source = source_of(peer, [", ".join(hops)], PROXIES)
    if peer == "127.0.0.1":
        assert source == str(IPv6Address(int(ip_address(source))) if ":" in source else ip_address(source))
    else:
        assert source == peer


@given(st.lists(st.ip_addresses().map(str)), st.integers(0, 9))
def test_what_anybody_may_have_written(left: list[str], proxies: int) -> None:
    """What stands left of the first address that is no proxy's is not believed."""
    hops = [*left, "203.0.113.5", *(f"10.1.0.{number}" for number in range(proxies))]
    assert source_of("127.0.0.1", [", ".join(hops)], PROXIES) == "203.0.113.5"


@given(st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"])), st.text(st.characters()))
def test_basic_reads_back(name: str, password: str) -> None:
    """A name without a colon and any password are read as they were written (RFC 7617 §2)."""
    written = b64encode(f"{name}:{password}".encode("utf-8", "ignore")).decode()
    assert basic_credentials(written) == (name, password.encode("utf-8", "ignore").decode())


@given(HEADERS | st.binary().map(lambda octets: b64encode(octets).decode()))
def test_any_basic(value: str) -> None:
    """What is no name and password is refused as a missing one is; what is one can be stored."""
    with suppress(NotAuthenticated):
        name, password = basic_credentials(value)
        assert b64encode(f"{name}:{password}".encode()).decode() == value
