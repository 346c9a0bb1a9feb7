"""The guard: which hosts and ports may be reached, and what a failure to connect means."""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import parse_host_port
from gateway.config import NetworkSection
from gateway.errors import HostRefused, StartError, Unreachable, Untrusted
from gateway.identity import Endpoint, TLSMode
from protocols.network import Network, explain
from tests.protocols.conftest import Reach, at
from tests.protocols.name_server import NameServer
from tests.protocols.scripted import Scripted, hang

HOST = "mail.elsewhere.example"
STRICT = Network(NetworkSection(ports=(25, 587), connect_timeout_s=5))

PRIVATE = {
    "loopback": "127.0.0.1",
    "all of loopback": "127.8.9.10",
    "this host": "0.0.0.0",  # noqa: S104 - to be refused, not bound
    "this network": "0.1.2.3",
    "10/8": "10.0.0.1",
    "172.16/12": "172.31.255.254",
    "192.168/16": "192.168.1.1",
    "carriers' NAT": "100.64.0.1",
    "link-local": "169.254.1.1",
    "cloud metadata": "169.254.169.254",
    "Alibaba's metadata": "100.100.100.200",
    "protocol assignments": "192.0.0.192",
    "documentation": "203.0.113.9",
    "benchmarks": "198.18.0.1",
    "multicast": "224.0.0.1",
    "administrative multicast": "239.255.255.250",
    "6to4 relays": "192.88.99.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "IPv6 link-local": "fe80::1",
    "IPv6 link-local with a zone": "fe80::1%lo",
    "IPv6 site-local": "fec0::1",
    "IPv6 unique local": "fd00:ec2::254",
    "IPv6 multicast": "ff02::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv6 discard": "100::1",
    "IPv6 segment routing": "5f00::1",
    "IPv4-mapped loopback": "::ffff:127.0.0.1",
    "IPv4-mapped private": "::ffff:10.0.0.1",
    "IPv4-compatible": "::127.0.0.1",
    "IPv4-translated": "::ffff:0:127.0.0.1",
    "IPv4-mapped metadata": "::ffff:169.254.169.254",
    "IPv4-mapped with a zone": "::ffff:127.0.0.1%1",
    "6to4 of metadata": "2002:a9fe:a9fe::",
    "ISATAP": "fe80::5efe:127.0.0.1",
    "6to4 of loopback": "2002:7f00:1::1",
    "6to4 of a private host": "2002:c0a8:101::1",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "NAT64 of metadata": "64:ff9b::a9fe:a9fe",
    "local NAT64": "64:ff9b:1::808:808",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
}
PUBLIC = {
    "IPv4": "8.8.8.8",
    "IPv6": "2001:4860:4860::8888",
    "IPv4-mapped": "::ffff:8.8.8.8",
    "NAT64 of a public host": "64:ff9b::808:808",
    "6to4 of a public host": "2002:808:808::1",
}


@pytest.mark.parametrize("host", PRIVATE.values(), ids=PRIVATE)
async def test_hosts_without_a_public_address_are_refused(host: str) -> None:
    """No connection goes to an address that is not public, whichever way it is written as an address."""
    with pytest.raises(HostRefused, match="no public address"):
        async with STRICT.connect(at(25, TLSMode.STARTTLS, host=host)):
            pass


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001", "2130706433", "0"],
)
async def test_other_spellings_of_loopback_are_refused(host: str) -> None:
    """What the resolver takes for loopback is refused as loopback: names, short, octal, hexadecimal and decimal."""
    with pytest.raises(HostRefused):
        async with STRICT.connect(at(25, TLSMode.STARTTLS, host=host)):
            pass


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1.", "127.1.", "0x7f.1.", "0.0.0.0.", "localhost.", "LocalHost", "127.0.0.01", "00000000", "0x0",
        "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.\u2460",
        "127.0.0.1%lo", "::1%lo", "[::1]", "[127.0.0.1]", "127.0.0.1:25", "127.0.0.1/", " 127.0.0.1", "127.0.0.1\n",
        "127.0.0.1#@8.8.8.8", "me@127.0.0.1", "8.8.8.8@127.0.0.1", "127.0.0.1\0.example.org", "%31%32%37.0.0.1",
    ],
)  # fmt: skip
async def test_spellings_that_confuse(host: str, names: NameServer) -> None:
    """No spelling leads to loopback: with a final dot, in other digits and dots, with what an address has not."""
    strict = Network(NetworkSection(ports=(25,), nameservers=(names.address,)))
    with pytest.raises((HostRefused, Unreachable)) as caught:
        async with strict.connect(at(25, TLSMode.STARTTLS, host=host)):
            pass
    assert not isinstance(caught.value.__cause__, ConnectionError)  # none was tried


@pytest.mark.parametrize(
    ("lookalike", "name"), [("l\u043ecalhost", "xn--lcalhost-nbh"), ("gm\u0430il.com", "xn--gmil-63d.com")]
)
def test_lookalikes(lookalike: str, name: str) -> None:
    """A name in letters that look like others is another name, and is kept and shown as it goes to the DNS."""
    assert parse_host_port(lookalike)[0] == name


@pytest.mark.parametrize("address", PUBLIC.values(), ids=PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """Public addresses are allowed, and so are IPv6 addresses that stand for a public IPv4 host."""
    assert STRICT.is_allowed(address)


@given(st.ip_addresses())
def test_every_address_is_judged(address: object) -> None:
    """The guard has an answer for every address, and never allows one that the standard library calls private."""
    allowed = STRICT.is_allowed(str(address))
    known = ip_address(str(address))
    assert not (allowed and (known.is_loopback or known.is_link_local or known.is_multicast))


@pytest.mark.parametrize("text", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_allowed_networks(text: str, reach: Reach) -> None:
    """A network that the operator allows is allowed, also where IPv6 stands for its addresses; others are not."""
    assert reach().is_allowed(text)
    assert not reach(allow=("10.0.0.0/8",)).is_allowed(text)


async def test_some_addresses_of_a_host_allowed(reach: Reach) -> None:
    """Of a host with several addresses those that are allowed are used: localhost is ::1 as well."""
    async with (
        Scripted([hang]) as server,
        reach(server.port).connect(at(server.port, host="localhost")) as sock,
    ):
        assert sock.getpeername() == (server.host, server.port)
        assert not sock.getblocking()


async def test_names_are_asked_of_dns_once(names: NameServer, reach: Reach) -> None:
    """One resolution decides: an answer that changes after it was checked (rebinding) is never asked for."""
    names.has(HOST, "A", "127.0.0.1")
    names.has(HOST, "A", "127.0.0.2")  # nobody listens there
    async with Scripted([hang]) as server:
        network = reach(server.port, nameservers=(names.address,))
        async with network.connect(at(server.port, host=HOST)) as sock:
            assert sock.getpeername() == (server.host, server.port)
    assert names.asked.count(f"{HOST} A") == 1


async def test_rebinding(names: NameServer) -> None:
    """A name whose answer turns from a public to a private address leads nowhere once it has turned."""
    names.has(HOST, "A", "8.8.8.8")
    names.has(HOST, "A", "127.0.0.1")
    strict = Network(NetworkSection(ports=(25,), nameservers=(names.address,)))
    assert [info[4] for info in await strict.resolve(HOST, 25)] == [("8.8.8.8", 25)]
    with pytest.raises(HostRefused):
        async with strict.connect(at(25, TLSMode.STARTTLS, host=HOST)):
            pass
    assert names.asked.count(f"{HOST} A") == 2


async def test_public_and_private_addresses(names: NameServer) -> None:
    """Of an answer that mixes public and private addresses the public ones only are left."""
    names.has(HOST, "A", "10.0.0.1", "8.8.8.8", "127.0.0.1")
    names.has(HOST, "AAAA", "::1", "::ffff:127.0.0.1", "2001:4860:4860::8888", "64:ff9b::a00:1", "2002:7f00:1::")
    strict = Network(NetworkSection(nameservers=(names.address,)))
    assert {info[4][0] for info in await strict.resolve(HOST, 25)} == {"8.8.8.8", "2001:4860:4860::8888"}


@pytest.mark.parametrize(
    "records",
    [
        {"A": ["127.0.0.1"]},
        {"A": ["169.254.169.254"]},
        {"AAAA": ["::1"]},
        {"AAAA": ["::ffff:7f00:1"]},
        {"AAAA": ["64:ff9b::7f00:1"]},
        {"AAAA": ["2002:7f00:1::1"]},
        {"CNAME": ["inside.elsewhere.example."]},
        {"CNAME": ["localhost."]},
        {"CNAME": ["first.elsewhere.example."]},
    ],
    ids=str,
)
@pytest.mark.parametrize("host", ["mail.elsewhere.example", "mail.elsewhere.example."])
async def test_names_of_private_hosts(host: str, records: dict[str, list[str]], names: NameServer) -> None:
    """A name whose addresses are private is refused, also when it is an alias, of an alias, or has a final dot."""
    names.has("inside.elsewhere.example", "A", "10.0.0.1")
    names.has("localhost", "A", "127.0.0.1")
    names.has("first.elsewhere.example", "CNAME", "second.other.example.")
    names.has("second.other.example", "CNAME", "inside.elsewhere.example.")
    for kind, values in records.items():
        names.has(HOST, kind, *values)
    strict = Network(NetworkSection(ports=(25,), nameservers=(names.address,)))
    with pytest.raises(HostRefused, match="no public address"):
        async with strict.connect(at(25, TLSMode.STARTTLS, host=host)):
            pass


async def test_many_addresses(names: NameServer) -> None:
    """Of a name with very many addresses a few are tried."""
    names.has(HOST, "A", *(f"8.8.4.{n}" for n in range(100)))
    strict = Network(NetworkSection(nameservers=(names.address,)))
    assert len(await strict.resolve(HOST, 25)) == 8


async def test_names_for_the_system(names: NameServer, reach: Reach) -> None:
    """DNS is not asked for names without a dot, nor for the operator's own servers."""
    async with Scripted([hang]) as server:
        network = reach(server.port, nameservers=(names.address,))
        operators = Endpoint(server.host, server.port, TLSMode.NONE, operators=True)
        for endpoint in (at(server.port, host="localhost"), operators):
            async with network.connect(endpoint):
                pass
    assert not names.asked


async def test_silent_name_servers(names: NameServer, reach: Reach) -> None:
    """A name whose servers are silent is Unreachable when the connect time-out has passed."""
    for kind in ("A", "AAAA"):
        names.fails(f"{HOST} {kind}", None)
    with pytest.raises(Unreachable):
        async with reach(25, nameservers=(names.address,), connect_timeout_s=0.1).connect(at(25, host=HOST)):
            pass


async def test_ports_of_other_services_are_refused(reach: Reach) -> None:
    """A port that is not configured is refused, before the host is looked up."""
    with pytest.raises(HostRefused, match=r"Port 6379 of nowhere\.invalid"):
        async with reach(25).connect(at(6379, host="nowhere.invalid")):
            pass


async def test_plaintext_is_refused_where_not_allowed(reach: Reach) -> None:
    """An account stored with TLS mode none is not used any more when the configuration stops to allow that."""
    async with Scripted([hang]) as server:
        with pytest.raises(HostRefused, match="without TLS"):
            async with reach(server.port, allow_plaintext=False).connect(at(server.port)):
                pass
    assert server.connections == 0


async def test_the_operators_own_servers_are_never_refused() -> None:
    """The relay may be on loopback, on any port, without TLS."""
    async with Scripted([hang]) as server:
        relay = Endpoint(server.host, server.port, TLSMode.NONE, operators=True)
        async with STRICT.connect(relay):
            pass


async def test_closed_port(reach: Reach) -> None:
    """A port where nobody listens is Unreachable, with that reason."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable, match="refuses connections") as caught:
            async with reach(port).connect(at(port)):
                pass
    assert caught.value.temporary


async def test_full_backlog(reach: Reach) -> None:
    """A host that does not answer is Unreachable when the connect time-out has passed."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        port = busy.getsockname()[1]
        with socket.create_connection(busy.getsockname()), pytest.raises(Unreachable, match="in time"):
            async with reach(port, connect_timeout_s=0.1).connect(at(port)):
                pass


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".example", "a..b", "\udcff.example"])
async def test_unknown_host(host: str, names: NameServer, reach: Reach) -> None:
    """A name that cannot be resolved is Unreachable, also one that no DNS question can hold."""
    with pytest.raises(Unreachable, match="cannot be resolved"):
        async with reach(25, nameservers=(names.address,)).connect(at(25, host=host)):
            pass


@pytest.mark.usefixtures("nothing_left")
async def test_cancellation(reach: Reach) -> None:
    """Canceling a connection that is being opened leaves nothing behind."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        with socket.create_connection(busy.getsockname()):
            port = busy.getsockname()[1]
            task = asyncio.create_task(reach(port).connect(at(port)).__aenter__())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def test_unusable_ca_file(tmp_path: Path) -> None:
    """A file of authorities that is missing or no PEM stops the start and is named."""
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    for path in (broken, tmp_path / "missing.pem"):
        with pytest.raises(StartError, match=r"network\.ca_file"):
            Network(NetworkSection(ca_file=str(path)))


def test_certificates_are_always_verified(reach: Reach) -> None:
    """There is no way to connect without checking certificate and host name."""
    assert reach().tls.verify_mode is ssl.CERT_REQUIRED
    assert reach().tls.check_hostname
    assert reach().tls.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_innermost_cause_is_told() -> None:
    """An error that libraries have wrapped is told by its cause, and its own text is not."""
    try:
        try:
            raise ssl.SSLCertVerificationError("secret detail")
        except ssl.SSLError as error:
            raise ConnectionError("library detail") from error
    except ConnectionError as error:
        told = explain(error, at(465))
    assert isinstance(told, Untrusted)
    assert "detail" not in str(told)
