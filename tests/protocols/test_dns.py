"""The resolver: what names mean, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from dns.name import from_text
from dns.rcode import REFUSED
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Unreachable
from protocols.dns import Resolver, Service, Zone
from tests.protocols.name_server import NameServer

HOST = "mail.elsewhere.example"


@pytest.fixture
def resolver(names: NameServer) -> Resolver:
    return Resolver([names.address])


async def test_addresses(names: NameServer, resolver: Resolver) -> None:
    """A host's addresses are IPv6 and IPv4 in turn, however many there are of each."""
    names.has(HOST, "A", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    names.has(HOST, "AAAA", "2001:db8::1")
    found = await resolver.addresses(HOST)
    assert found[0] == "2001:db8::1"
    assert sorted(found[1:]) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


async def test_alias(names: NameServer, resolver: Resolver) -> None:
    """A host that is an alias has the addresses of what it stands for."""
    names.has(HOST, "CNAME", "other.elsewhere.example.")
    names.has("other.elsewhere.example", "A", "192.0.2.1")
    assert await resolver.addresses(HOST) == ["192.0.2.1"]


@pytest.mark.parametrize("question", [f"{HOST} A", f"{HOST} AAAA"])
async def test_one_of_two_answers(question: str, names: NameServer, resolver: Resolver) -> None:
    """Where the name servers fail at one kind of address, the other is enough."""
    names.has(HOST, "A", "192.0.2.1")
    names.has(HOST, "AAAA", "2001:db8::1")
    names.fails(question, REFUSED)
    assert len(await resolver.addresses(HOST)) == 1


async def test_no_address(names: NameServer, resolver: Resolver) -> None:
    """A name that does not exist, and one without addresses, cannot be resolved."""
    names.has("text.elsewhere.example", "TXT", "hello")
    for host in (HOST, "text.elsewhere.example"):
        with pytest.raises(Unreachable, match="cannot be resolved"):
            await resolver.addresses(host)


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example", ".", "a." * 128, "\udcff.example"])
async def test_names_that_no_question_can_hold(host: str, names: NameServer, resolver: Resolver) -> None:
    """A malformed name cannot be resolved."""
    with pytest.raises(Unreachable):
        await resolver.addresses(host)


async def test_failing_servers(names: NameServer, resolver: Resolver) -> None:
    """Name servers that refuse to answer are told from a name that does not exist."""
    for kind in ("A", "AAAA"):
        names.fails(f"{HOST} {kind}", REFUSED)
    with pytest.raises(Unreachable, match="do not answer") as caught:
        await resolver.addresses(HOST)
    assert caught.value.temporary


async def test_silent_servers(names: NameServer) -> None:
    """A question that nobody answers ends with its time."""
    names.fails(f"{HOST} MX", None)
    with pytest.raises(Unreachable, match="do not answer"):
        await Resolver([names.address], lifetime=0.1).exchangers(HOST)


async def test_an_answer_that_does_not_end(names: NameServer, server: NameServer) -> None:
    """A name server that answers by TCP a byte now and then has the time that a silent one has."""
    resolver = Resolver([names.address], lifetime=0.1)
    names.drips(f"{HOST} MX")
    with pytest.raises(Unreachable, match="do not answer"):
        await resolver.exchangers(HOST)
    server.drips("city.example MX")
    with pytest.raises(Unreachable):
        await Zone(ZONE, [server.host], resolver, port=server.port, timeout=0.1).records(ZONE, "MX")


async def test_second_name_server(names: NameServer) -> None:
    """When the first name server fails the next is asked."""
    names.has(HOST, "A", "192.0.2.1")
    async with NameServer() as broken:
        for kind in ("A", "AAAA"):
            broken.fails(f"{HOST} {kind}", REFUSED)
        assert await Resolver([broken.address, names.address]).addresses(HOST) == ["192.0.2.1"]


async def test_exchangers(names: NameServer, resolver: Resolver) -> None:
    """The hosts that take mail come by preference; "." says that none does (RFC 7505)."""
    names.has("elsewhere.example", "MX", "20 b.elsewhere.example.", "10 A.elsewhere.example.")
    names.has("silent.example", "MX", "0 .")
    assert await resolver.exchangers("elsewhere.example") == ["a.elsewhere.example", "b.elsewhere.example"]
    assert await resolver.exchangers("silent.example") == []
    assert await resolver.exchangers("nothing.example") == []


async def test_services(names: NameServer, resolver: Resolver) -> None:
    """Services come by priority, within one mostly by weight; the target "." is none (RFC 2782)."""
    name = "_imaps._tcp.elsewhere.example"
    names.has(name, "SRV", "1 0 993 c.example.", "0 0 993 b.example.", "0 65535 994 a.example.")
    names.has("_imap._tcp.elsewhere.example", "SRV", "0 0 0 .")
    assert await resolver.services(name) == [
        Service("a.example", 994),
        Service("b.example", 993),
        Service("c.example", 993),
    ]
    assert await resolver.services("_imap._tcp.elsewhere.example") == []


async def test_long_answer(names: NameServer, resolver: Resolver) -> None:
    """An answer that is too long for UDP is fetched by TCP; of hundreds of records some are looked at."""
    names.has("elsewhere.example", "MX", *(f"{n} mx{n}.elsewhere.example." for n in range(300)), ttl=300)
    for _ in range(2):
        assert await resolver.exchangers("elsewhere.example") == [f"mx{n}.elsewhere.example" for n in range(16)]
    assert names.asked == ["elsewhere.example MX"] * 4  # by UDP and TCP; and it is too long to be kept


async def test_cache(names: NameServer, resolver: Resolver) -> None:
    """An answer is kept as long as it says, and not longer."""
    names.has("kept.example", "MX", "1 a.example.", ttl=300)
    names.has("fleeting.example", "MX", "1 a.example.", ttl=0)
    for domain in ("kept.example", "fleeting.example") * 2:
        await resolver.exchangers(domain)
    assert sorted(names.asked) == ["fleeting.example MX", "fleeting.example MX", "kept.example MX"]


async def test_no_name_servers(tmp_path: Path) -> None:
    """A machine without name servers is told so, and what to do; it is no reason not to start."""
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    empty.write_text("# none\n")
    broken.write_text("nameserver nonsense\n")
    for path in (empty, broken, tmp_path / "missing"):
        with pytest.raises(Unreachable, match=r"Set network\.nameservers"):
            await Resolver(resolv_conf=str(path)).addresses(HOST)


# -- what a zone says of itself ----------------------------------------------------------------------------------

ZONE = from_text("city.example")


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    """The zone's own name server."""
    async with NameServer("city.example", "127.0.0.2") as server:
        server.has("city.example", "MX", "10 a.example.", ttl=3600)
        yield server


def zone(server: NameServer, resolver: Resolver, *others: str) -> Zone:
    """Return the zone as this server and, asked first, others have it."""
    return Zone(ZONE, [*others, server.host], resolver, port=server.port, timeout=0.5)


async def test_fresh_records(names: NameServer, resolver: Resolver) -> None:
    """What a check asks is asked anew each time, and comes whole."""
    names.has("city.example", "MX", *(f"{n} mx{n}.city.example." for n in range(40)), ttl=300)
    for _ in range(2):
        assert len(await resolver.records(ZONE, "MX")) == 40
    assert await resolver.records(from_text("nothing.example"), "MX") == []
    assert names.asked.count("city.example MX") == 4  # by UDP and TCP


async def test_zone_of(names: NameServer, resolver: Resolver) -> None:
    """A name lies in the closest zone above it; one that is an alias has no zone of its own."""
    names.has("city.example", "NS", "NS.city.example.")
    names.has("alias.city.example", "CNAME", "other.example.")
    names.has("other.example", "NS", "ns.other.example.")
    for name in ("city.example", "a.b.city.example", "alias.city.example"):
        assert await resolver.zone_of(from_text(name)) == (ZONE, ["ns.city.example"])
    assert await resolver.zone_of(from_text("missing.test")) is None


async def test_own_servers(names: NameServer, resolver: Resolver, server: NameServer) -> None:
    """Names in the zone are asked of its servers, others of the resolver."""
    names.has("other.example", "MX", "10 b.example.")
    (own,) = await zone(server, resolver).records(ZONE, "MX")
    (other,) = await zone(server, resolver).records(from_text("other.example"), "MX")
    assert (str(own.exchange), str(other.exchange)) == ("a.example.", "b.example.")
    assert names.asked == ["other.example MX"]


async def test_existence(resolver: Resolver, server: NameServer) -> None:
    """A name exists that has anything, also when that is an alias of nothing."""
    server.has("alias.city.example", "CNAME", "missing.city.example.")
    asked = zone(server, resolver)
    assert await asked.exists(ZONE)
    assert await asked.exists(from_text("alias.city.example"))
    assert not await asked.exists(from_text("missing.city.example"))


async def test_next_server(resolver: Resolver, server: NameServer) -> None:
    """Servers that are silent, refuse, or tell hearsay are passed over, and not asked first again."""
    async with (
        NameServer("city.example", "127.0.0.3", server.port) as silent,
        NameServer("other.example", "127.0.0.4", server.port) as refusing,
        NameServer(host="127.0.0.5", port=server.port) as lame,
    ):
        silent.fails("city.example MX", None)
        lame.has("city.example", "MX", "10 elsewhere.example.")
        asked = zone(server, resolver, silent.host, refusing.host, lame.host)
        for _ in range(2):
            (record,) = await asked.records(ZONE, "MX")
            assert str(record.exchange) == "a.example."
        assert silent.asked == refusing.asked == lame.asked == ["city.example MX"]


async def test_lost_datagram(resolver: Resolver, server: NameServer) -> None:
    """A single server is asked once more when no answer comes."""
    server.loses("city.example MX")
    assert await zone(server, resolver).records(ZONE, "MX")
    server.fails("city.example MX", None)
    with pytest.raises(Unreachable, match=r"No name server of city\.example answers"):
        await zone(server, resolver).records(ZONE, "MX")


async def test_referrals(names: NameServer, resolver: Resolver, server: NameServer) -> None:
    """A zone further down is left to the resolver; a referral upwards says that the server knows nothing."""
    server.has("down.city.example", "NS", "ns.elsewhere.example.")
    names.has("down.city.example", "MX", "10 b.example.")
    asked = zone(server, resolver)
    (record,) = await asked.records(from_text("down.city.example"), "MX")
    assert str(record.exchange) == "b.example."
    assert not await asked.exists(from_text("down.city.example"))
    names.has("down.city.example", "SOA", "a.example. b.example. 1 2 3 4 5")
    assert await asked.exists(from_text("down.city.example"))
    deeper = Zone(from_text("x.down.city.example"), [server.host], resolver, port=server.port, timeout=0.5)
    with pytest.raises(Unreachable):
        await deeper.records(from_text("x.down.city.example"), "MX")


async def test_nonsense(resolver: Resolver, server: NameServer) -> None:
    """An answer that is truncated and then none at all is no answer."""
    server.breaks("city.example MX")
    with pytest.raises(Unreachable):
        await zone(server, resolver).records(ZONE, "MX")


async def test_circle_of_aliases(resolver: Resolver, server: NameServer) -> None:
    """Aliases that turn in a circle end."""
    server.has("a.city.example", "CNAME", "b.city.example.")
    server.has("b.city.example", "CNAME", "a.city.example.")
    with pytest.raises(Unreachable, match="without end"):
        await zone(server, resolver).records(from_text("a.city.example"), "MX")
    assert len(server.asked) == 8


# -- any answer --------------------------------------------------------------------------------------------------


class Garbling(NameServer):
    """Sends answers in which octets were changed, or are missing, or something else."""

    def __init__(self, changes: Sequence[tuple[int, int]], end: int | None, instead: bytes) -> None:
        """``changes`` are places and what stands there; the id is among them seldom enough."""
        super().__init__()
        self._changes = changes
        self._end = end
        self._instead = instead

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer by UDP."""
        answer = self._answer(data)
        assert answer
        wire = bytearray(answer.to_wire())
        for place, octet in self._changes:
            wire[place % len(wire)] = octet
        self._udp.sendto(data[:2] + self._instead if self._instead else wire[: self._end], addr)


@settings(max_examples=20, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    end=st.none() | st.integers(0, 100),
    instead=st.just(b"") | st.binary(max_size=60),
)
async def test_any_answer(changes: Sequence[tuple[int, int]], end: int | None, instead: bytes) -> None:
    """Whatever name servers answer, what is made of it are addresses, hosts, ports and zones, or Unreachable."""
    async with Garbling(changes, end, instead) as names:
        names.has(HOST, "A", "192.0.2.1")
        names.has(HOST, "AAAA", "2001:db8::1")
        names.has(HOST, "MX", "10 mx.elsewhere.example.")
        names.has(HOST, "SRV", "0 1 465 smtp.elsewhere.example.")
        names.has("elsewhere.example", "NS", "ns.elsewhere.example.")
        resolver = Resolver([names.address], lifetime=0.05)
        questions = [resolver.addresses(HOST), resolver.exchangers(HOST), resolver.services(HOST)]
        answers = await asyncio.gather(*map(or_nothing, [*questions, resolver.zone_of(from_text(HOST))]))
    addresses, exchangers, services, zone = answers
    assert all(ip_address(each) for each in addresses)
    hosts = [*exchangers, *(each.host for each in services), *(zone[1] if zone else ())]
    assert all(each and each.isascii() and each.isprintable() for each in hosts)
    assert all(0 <= each.port < 65536 for each in services)
    assert not zone or from_text(HOST).is_subdomain(zone[0])


async def or_nothing(answer: Awaitable[Any]) -> Any:
    """Return an answer; nothing where there was none that could be read."""
    try:
        return await answer
    except Unreachable:
        return ()
