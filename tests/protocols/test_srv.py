"""SRV records: what domains say of their servers in DNS."""

from __future__ import annotations

import pytest

from gateway.identity import Endpoint, TLSMode
from gateway.proposal import Proposal, Source
from protocols.srv import ServiceRecords
from tests.protocols.conftest import Reach
from tests.protocols.name_server import NameServer

DOMAIN = "elsewhere.example"
ADDRESS = f"me@{DOMAIN}"


@pytest.fixture
def records(names: NameServer, reach: Reach) -> ServiceRecords:
    return ServiceRecords(reach(143, 465, 587, 993, nameservers=(names.address,)))


def offers(names: NameServer, **services: str) -> None:
    """Let the domain offer services, each at ``priority weight port target``."""
    for service, data in services.items():
        names.has(f"_{service}._tcp.{DOMAIN}", "SRV", *data.split(", "))


async def test_servers(names: NameServer, records: ServiceRecords) -> None:
    """The servers are proposed, with the whole address as user name (RFC 6186 §4)."""
    offers(names, imaps="0 1 993 imap.elsewhere.example.", submission="0 1 587 smtp.elsewhere.example.")
    assert await records.find(ADDRESS) == [
        Proposal(
            source=Source.SRV,
            incoming=Endpoint("imap.elsewhere.example", 993, TLSMode.IMPLICIT),
            outgoing=Endpoint("smtp.elsewhere.example", 587, TLSMode.STARTTLS),
            inusername=ADDRESS,
            outusername=ADDRESS,
        )
    ]


async def test_tls_from_the_first_byte(names: NameServer, records: ServiceRecords) -> None:
    """Where both are offered, TLS from the first byte goes before STARTTLS (RFC 8314 §3)."""
    offers(
        names,
        imap="0 1 143 a.elsewhere.example.",
        imaps="9 1 993 b.elsewhere.example.",
        submission="0 1 587 c.elsewhere.example.",
        submissions="9 1 465 d.elsewhere.example.",
    )
    (found,) = await records.find(ADDRESS)
    assert found.incoming
    assert (found.incoming.host, found.outgoing.host) == ("b.elsewhere.example", "d.elsewhere.example")


async def test_priority(names: NameServer, records: ServiceRecords) -> None:
    """The target of the lowest priority is taken, if its port may be used here."""
    offers(
        names,
        submissions="20 9 465 b.elsewhere.example., 10 1 465 a.elsewhere.example., 5 1 22 c.elsewhere.example.",
    )
    (found,) = await records.find(ADDRESS)
    assert found.outgoing.host == "a.elsewhere.example"


async def test_not_offered(names: NameServer, records: ServiceRecords) -> None:
    """The target "." says that there is no such service (RFC 6186 §3.4); without submission nothing is proposed."""
    offers(names, imaps="0 0 0 .", imap="0 0 0 .", submissions="0 1 465 smtp.elsewhere.example.")
    (found,) = await records.find(ADDRESS)
    assert (found.protocol, found.incoming, found.inusername) == ("smtp", None, None)
    assert await records.find("me@silent.example") == []
    names.has("_imaps._tcp.silent.example", "SRV", "0 1 993 imap.silent.example.")
    names.has("_submissions._tcp.silent.example", "SRV", "0 0 0 .")
    assert await records.find("me@silent.example") == []


@pytest.mark.parametrize(
    ("target", "confirm"),
    [
        ("elsewhere.example", False),
        ("a.b.elsewhere.example", False),
        ("mail.provider.example", True),
        ("notelsewhere.example", True),
        ("elsewhere.example.evil.example", True),
    ],
)
async def test_servers_of_another_domain(
    target: str, confirm: bool, names: NameServer, records: ServiceRecords
) -> None:
    """A server of another domain is for the user to confirm: DNS alone says that it is right (RFC 6186 §6)."""
    offers(names, imaps="0 1 993 imap.elsewhere.example.", submissions=f"0 1 465 {target}.")
    (found,) = await records.find(ADDRESS)
    assert found.confirm is confirm


@pytest.mark.parametrize(
    "target", ["localhost.", "127.0.0.1.", "2130706433.", "0x7f.1.", r"a\032b.example.", "*.example."]
)
async def test_targets_that_are_none(target: str, names: NameServer, records: ServiceRecords) -> None:
    """A target that is no full host name is passed over."""
    offers(names, submissions=f"0 1 465 {target}")
    assert await records.find(ADDRESS) == []


async def test_failing_question(names: NameServer, records: ServiceRecords) -> None:
    """A question that the name servers fail to answer does not hide what the others tell."""
    offers(names, submissions="0 1 465 smtp.elsewhere.example.")
    names.fails(f"_imaps._tcp.{DOMAIN} SRV")
    names.fails(f"_submission._tcp.{DOMAIN} SRV")
    assert len(await records.find(ADDRESS)) == 1


async def test_unicode_domain(names: NameServer, records: ServiceRecords) -> None:
    """A domain in Unicode is asked for in ASCII (RFC 5890)."""
    names.has("_submissions._tcp.xn--bcher-kva.example", "SRV", "0 1 465 smtp.xn--bcher-kva.example.")
    (found,) = await records.find("me@bücher.example")
    assert (found.outusername, found.confirm) == ("me@bücher.example", False)
