"""Probing: which servers at usual names count."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
import trustme
from aiohttp.test_utils import unused_port

from gateway.identity import Endpoint, TLSMode
from gateway.proposal import Proposal, Source
from protocols.imap import ImapAdapter
from protocols.probe import Ports, Probe
from protocols.smtp import SmtpAdapter
from tests.protocols.conftest import Reach
from tests.protocols.name_server import NameServer
from tests.protocols.scripted import Scripted, Step, hear, say, start_tls

DOMAIN = "elsewhere.example"
ADDRESS = f"me@{DOMAIN}"

IMAP: list[Step] = [say("* OK ready"), hear("CAPABILITY$"), say("* CAPABILITY IMAP4rev1", "{tag} OK done")]
IMAP_STARTTLS: list[Step] = [
    say("* OK ready"),
    hear("CAPABILITY$"),
    say("* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED", "{tag} OK done"),
    hear("STARTTLS$"),
    say("{tag} OK go ahead"),
    start_tls,
    *IMAP[1:],
]
SMTP: list[Step] = [say("220 ready"), hear("EHLO"), say("250 AUTH PLAIN")]
SMTP_STARTTLS: list[Step] = [
    say("220 ready"),
    hear("EHLO"),
    say("250-here", "250 STARTTLS"),
    hear("STARTTLS$"),
    say("220 go ahead"),
    start_tls,
    *SMTP[1:],
]
Context = Callable[..., ssl.SSLContext]
Made = Callable[[Ports, Ports], Probe]


@pytest.fixture
def tls(authority: trustme.CA) -> Context:
    """Return the context of a server that proves to be these hosts."""

    def context(*hosts: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*(f"{host}.{DOMAIN}" if host else DOMAIN for host in hosts)).configure_cert(made)
        return made

    return context


@pytest.fixture
def probe(names: NameServer, reach: Reach) -> Made:
    """Return a probe of these ports, with all usual names on loopback."""
    for host in ("imap.", "smtp.", "mail.", ""):
        names.has(f"{host}{DOMAIN}", "A", Scripted.host)

    def made(imap: Ports, smtp: Ports) -> Probe:
        network = reach(*imap, *smtp, nameservers=(names.address,))
        return Probe(ImapAdapter(network), SmtpAdapter(network, "gateway.example"), imap, smtp)

    return made


@pytest.mark.usefixtures("nothing_left")
async def test_tls_from_the_first_byte(tls: Context, probe: Made) -> None:
    """Servers that prove their names and speak their protocols are proposed, the most telling name first."""
    bye = [hear("LOGOUT$"), say("* BYE bye", "{tag} OK done")]
    async with (
        Scripted([*IMAP, *bye], tls("imap", "mail"), implicit=True) as imap,
        Scripted([*SMTP, hear("QUIT$"), say("221 bye")], tls("mail", ""), implicit=True) as smtp,
    ):
        found = await probe(Ports(imap.port, unused_port()), Ports(smtp.port, unused_port())).find(ADDRESS)
    assert found == [
        Proposal(
            source=Source.PROBE,
            incoming=Endpoint(f"imap.{DOMAIN}", imap.port, TLSMode.IMPLICIT),
            outgoing=Endpoint(f"mail.{DOMAIN}", smtp.port, TLSMode.IMPLICIT),
            inusername=ADDRESS,
            outusername=ADDRESS,
        )
    ]
    assert not [line for line in imap.heard + smtp.heard if "LOGIN" in line or "AUTH" in line]


async def test_starttls(tls: Context, probe: Made) -> None:
    """Where nobody offers TLS from the first byte, STARTTLS is tried."""
    async with (
        Scripted(IMAP_STARTTLS, tls("")) as imap,
        Scripted(SMTP_STARTTLS, tls("smtp")) as smtp,
    ):
        (found,) = await probe(Ports(unused_port(), imap.port), Ports(unused_port(), smtp.port)).find(ADDRESS)
    assert found.incoming == Endpoint(DOMAIN, imap.port, TLSMode.STARTTLS)
    assert found.outgoing == Endpoint(f"smtp.{DOMAIN}", smtp.port, TLSMode.STARTTLS)


async def test_smtp_alone(tls: Context, probe: Made) -> None:
    """A domain without IMAP is one to send from."""
    async with Scripted(SMTP, tls("smtp"), implicit=True) as smtp:
        (found,) = await probe(Ports(unused_port(), unused_port()), Ports(smtp.port, unused_port())).find(ADDRESS)
    assert (found.protocol, found.inusername) == ("smtp", None)


@pytest.mark.parametrize(
    ("steps", "hosts"),
    [
        (SMTP, ["other"]),
        (IMAP, ["smtp", "mail", ""]),
        ([say("220 ready"), hear("EHLO"), say("502 no")], ["smtp", "mail", ""]),
        ([say("554 no")], ["smtp", "mail", ""]),
        ([say("HTTP/1.1 400 Bad Request")], ["smtp", "mail", ""]),
    ],
    ids=["certificate", "protocol", "greeting", "refusal", "web"],
)
async def test_servers_that_do_not_count(steps: list[Step], hosts: list[str], tls: Context, probe: Made) -> None:
    """A server with another's certificate, or that speaks something else, does not count."""
    async with Scripted(steps, tls(*hosts), implicit=True) as smtp:
        ports = Ports(unused_port(), unused_port())
        assert await probe(ports, Ports(smtp.port, unused_port())).find(ADDRESS) == []


async def test_without_starttls(tls: Context, probe: Made) -> None:
    """A server that offers no TLS is not proposed, although plaintext may be allowed."""
    async with Scripted([say("220 ready"), hear("EHLO"), say("250 here")]) as smtp:
        ports = Ports(unused_port(), unused_port())
        assert await probe(ports, Ports(unused_port(), smtp.port)).find(ADDRESS) == []


async def test_nobody(probe: Made) -> None:
    """A domain that does not exist has no servers."""
    ports = Ports(unused_port(), unused_port())
    assert await probe(ports, ports).find("me@nowhere.example") == []
