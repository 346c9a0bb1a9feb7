"""Autoconfig: what domains say of their servers, and what is made of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import parse_host_port
from gateway.config import NetworkSection
from gateway.identity import Endpoint, TLSMode
from gateway.proposal import Password, Proposal, Source
from protocols.autoconfig import Autoconfig
from protocols.https import Https
from protocols.network import Network
from tests.protocols.conftest import Reach
from tests.protocols.name_server import NameServer
from tests.protocols.website import Website, page

DOMAIN = "elsewhere.example"
ADDRESS = f"me@{DOMAIN}"
OWN_PLACE = "/.well-known/autoconfig/mail/config-v1.1.xml"
PLACE = "/mail/config-v1.1.xml"
NETWORK = Network(NetworkSection())
IMAP = Endpoint("imap.elsewhere.example", 993, TLSMode.IMPLICIT)
SMTP = Endpoint("smtp.elsewhere.example", 465, TLSMode.IMPLICIT)


def server(kind: str, **changes: str) -> str:
    """Return the element of a server, good but for the changes; an empty one is left out."""
    port = {"imap": "993", "smtp": "465"}.get(kind, "995")
    children = {
        "hostname": f"{kind}.elsewhere.example",
        "port": port,
        "socketType": "SSL",
        "username": "%EMAILADDRESS%",
        "authentication": "password-cleartext",
    }
    tag = "outgoingServer" if kind == "smtp" else "incomingServer"
    content = "".join(f"<{name}>{text}</{name}>" for name, text in (children | changes).items() if text)
    return f'<{tag} type="{kind}">{content}</{tag}>'


def document(*servers: str) -> bytes:
    """Return a whole document."""
    provider = f'<emailProvider id="x"><domain>{DOMAIN}</domain>{"".join(servers)}</emailProvider>'
    return f'<?xml version="1.0"?><clientConfig version="1.1">{provider}</clientConfig>'.encode()


GOOD = document(server("imap"), server("smtp"))


def read(content: bytes, address: str = ADDRESS, network: Network = NETWORK) -> Proposal | None:
    return Autoconfig(network, Https(network)).read(content, address)


def test_servers() -> None:
    """The IMAP and the SMTP server are proposed, with their user names and the password they take."""
    assert read(GOOD) == Proposal(
        source=Source.AUTOCONFIG,
        incoming=IMAP,
        outgoing=SMTP,
        inusername=ADDRESS,
        outusername=ADDRESS,
        password=Password.NORMAL,
    )


def test_without_imap() -> None:
    """A domain with POP3 alone, or with no incoming server, is one to send from."""
    for servers in ([server("pop3"), server("smtp")], [server("smtp")]):
        found = read(document(*servers))
        assert found
        assert (found.protocol, found.incoming, found.inusername) == ("smtp", None, None)


def test_without_smtp() -> None:
    """A domain that names no server to send through has nothing to propose."""
    assert read(document(server("imap"))) is None


def test_order() -> None:
    """Of several servers the first that can be used is proposed: the order is the domain's."""
    found = read(
        document(
            server("pop3"),
            server("imap", socketType="plain", port="143"),
            server("imap", port="143", socketType="STARTTLS"),
            server("imap"),
            server("smtp", port="26"),
            server("smtp", hostname=""),
            server("smtp"),
        )
    )
    assert found
    assert found.incoming == Endpoint(IMAP.host, 143, TLSMode.STARTTLS)
    assert found.outgoing == SMTP


def test_plaintext() -> None:
    """A server without TLS is proposed only where the configuration allows it."""
    content = document(server("smtp", socketType="plain", port="25"))
    assert read(content) is None
    found = read(content, network=Network(NetworkSection(allow_plaintext=True)))
    assert found
    assert found.infos["outtls"] == "none"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("%EMAILADDRESS%", "first.last@elsewhere.example"),
        ("%EMAILLOCALPART%", "first.last"),
        ("%EMAILLOCALPART%+x@%EMAILDOMAIN%", "first.last+x@elsewhere.example"),
        ("fixed", "fixed"),
        (" ", "first.last@elsewhere.example"),
        ("", "first.last@elsewhere.example"),
        ("%REALNAME%", "%REALNAME%"),
    ],
)
def test_user_names(written: str, meant: str) -> None:
    """Placeholders stand for the address and its parts; without a user name it is the address."""
    found = read(document(server("imap"), server("smtp", username=written)), "first.last@elsewhere.example")
    assert found
    assert found.outusername == meant


def test_placeholders_in_host_names() -> None:
    """A host name may have the domain in it, which then is in ASCII."""
    found = read(document(server("smtp", hostname="mail.%EMAILDOMAIN%")), "me@bücher.example")
    assert found
    assert found.outgoing.host == "mail.xn--bcher-kva.example"


def test_oauth2() -> None:
    """Where the domain prefers OAuth 2.0, no password is told of; where it comes second, a password is."""
    preferred = read(document(server("imap", authentication="OAuth2"), server("smtp")))
    assert preferred
    assert (preferred.authtype, preferred.password) == ("oauth2", None)
    second = server("imap").replace("</incomingServer>", "<authentication>OAuth2</authentication></incomingServer>")
    found = read(document(second, server("smtp")))
    assert found
    assert (found.authtype, found.password) == (None, Password.NORMAL)


@pytest.mark.parametrize(
    "changes",
    [
        {"hostname": ""},
        {"hostname": "127.0.0.1"},
        {"hostname": "2130706433"},
        {"hostname": "0x7f.1"},
        {"hostname": "::1"},
        {"hostname": "[::1]"},
        {"hostname": "localhost"},
        {"hostname": "a b.example"},
        {"hostname": "smtp.example/path"},
        {"hostname": "user@smtp.example"},
        {"hostname": "smtp.example:25"},
        {"hostname": "a..example"},
        {"hostname": "a" * 64 + ".example"},
        {"port": ""},
        {"port": "0"},
        {"port": "65536"},
        {"port": "22"},
        {"port": "-465"},
        {"port": "465x"},
        {"port": "\u0664\u0666\u0665"},
        {"socketType": ""},
        {"socketType": "TLS or so"},
        {"username": "a\u2028b"},
        {"username": "a&#10;b"},
        {"username": "a" * 400},
    ],
    ids=str,
)
def test_servers_that_are_none(changes: dict[str, str]) -> None:
    """A server whose name, port, TLS mode or user name is missing or strange is passed over."""
    assert read(document(server("smtp", **changes))) is None
    found = read(document(server("smtp", **changes), server("smtp")))
    assert found
    assert found.outgoing == SMTP


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<clientConfig><emailProvider>&b;</emailProvider></clientConfig>"
)
FILE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><clientConfig>&a;</clientConfig>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"<html><body>Not found</body></html>",
        b"<clientConfig>",
        GOOD[:-1],
        GOOD.decode().replace('version="1.0"', 'version="1.0" encoding="none-such"').encode(),
        GOOD.decode().replace('version="1.0"', 'version="1.0" encoding="utf-16"').encode(),
        b"<!DOCTYPE x>" + GOOD.partition(b"?>")[2],
        BOMB,
        FILE,
        b"<a>" * 20_000,
        b"<a>" * 20_000 + b"</a>" * 20_000,
        b"\xff\xfe\x00",
    ],
    ids=[
        "empty", "text", "html", "open", "cut", "encoding", "utf-16", "doctype", "bomb", "file", "deep", "deeper",
        "bytes",
    ],
)  # fmt: skip
def test_documents_that_are_none(content: bytes) -> None:
    """What is no such document, or defines entities of its own, has nothing to propose."""
    assert read(content) is None


TEXT = st.text(max_size=80)
CHILDREN = st.fixed_dictionaries(
    {},
    optional={
        "hostname": TEXT | st.sampled_from(["smtp.%EMAILDOMAIN%", "smtp.example"]),
        "port": TEXT | st.integers().map(str),
        "socketType": TEXT | st.sampled_from(["plain", "STARTTLS"]),
        "username": TEXT | st.sampled_from(["%EMAILADDRESS%"]),
        "authentication": TEXT | st.sampled_from(["OAuth2"]),
    },
)


@given(st.lists(st.tuples(st.sampled_from(["imap", "pop3", "smtp"]), CHILDREN)))
def test_all_documents_are_judged(servers: list[tuple[str, dict[str, str]]]) -> None:
    """Whatever stands in a document, what is proposed can be written down and used."""
    found = read(document(*(server(kind, **changes) for kind, changes in servers)))
    if found:
        for key in ("inserver", "outserver"):
            if key in found.infos:
                host, port = parse_host_port(found.infos[key])
                assert "." in host
                assert port in NetworkSection().ports
        assert found.outusername.isprintable()


@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda junk: GOOD[:150] + junk + GOOD[150:]))
def test_all_bytes_are_judged(content: bytes) -> None:
    """No bytes are too strange."""
    read(content)


# -- where it is asked for ---------------------------------------------------------------------------------------


@pytest.fixture
async def site(authority: trustme.CA, names: NameServer) -> AsyncIterator[Website]:
    """A web server for the domain and its host autoconfig."""
    for host in (DOMAIN, f"autoconfig.{DOMAIN}"):
        names.has(host, "A", Website.host)
    async with Website(authority, DOMAIN, f"autoconfig.{DOMAIN}") as server:
        yield server


@pytest.fixture
def autoconfig(site: Website, names: NameServer, reach: Reach) -> Autoconfig:
    network = reach(465, 993, nameservers=(names.address,))
    return Autoconfig(network, Https(network, site.port))


@pytest.mark.parametrize("place", [PLACE, OWN_PLACE])
async def test_places(place: str, site: Website, autoconfig: Autoconfig) -> None:
    """The document is found in both of its places, which are not told for whom it is."""
    site.pages[place] = page(GOOD)
    assert await autoconfig.find(ADDRESS) == [read(GOOD)]
    assert sorted(site.requests) == [f"autoconfig.{DOMAIN}{PLACE}", f"{DOMAIN}{OWN_PLACE}"]


async def test_better_place(site: Website, autoconfig: Autoconfig) -> None:
    """Of two documents that of the host autoconfig is taken, if it says something."""
    site.pages[PLACE] = page(document(server("smtp", hostname="first.example")))
    site.pages[OWN_PLACE] = page(document(server("smtp", hostname="second.example")))
    assert [each.outgoing.host for each in await autoconfig.find(ADDRESS)] == ["first.example"]
    site.pages[PLACE] = page(b"<clientConfig/>")
    assert [each.outgoing.host for each in await autoconfig.find(ADDRESS)] == ["second.example"]


async def test_no_document(site: Website, autoconfig: Autoconfig) -> None:
    """A domain without a document, and one without a web server, say nothing."""
    assert await autoconfig.find(ADDRESS) == []
    assert await autoconfig.find("me@unknown.example") == []
    assert len(site.requests) == 2
