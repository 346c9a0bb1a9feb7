"""Autoconfig: what a domain says of its servers, in the XML that Thunderbird and others read.

1. Fetch it by HTTPS from both of its usual places, ``autoconfig.<domain>`` and the domain's own ``/.well-known``;
2. parse it safely; 3. take the first IMAP and the first SMTP server, in the domain's order, that may be used here.

The place may be asked for one mailbox by its address in the query. We do not tell it: who has an account here is
nobody's business before its user decides so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from gateway.address import ascii_host, domain_of
from gateway.errors import RemoteError
from gateway.identity import OAUTH2, Endpoint, TLSMode
from gateway.proposal import Password, Proposal, Source, named_server
from protocols.https import Https
from protocols.network import Network

_PATH = "/mail/config-v1.1.xml"
_TLS_MODES = {"SSL": TLSMode.IMPLICIT, "STARTTLS": TLSMode.STARTTLS, "plain": TLSMode.NONE}
_MAX_USERNAME = 320


@dataclass(frozen=True, slots=True)
class _Server:
    endpoint: Endpoint
    username: str
    oauth2: bool


class Autoconfig:
    """Asks domains for their autoconfig document."""

    def __init__(self, network: Network, https: Https) -> None:
        self._network = network
        self._https = https

    async def find(self, address: str) -> Sequence[Proposal]:
        """Return what the domain says, or nothing where it says nothing that can be used."""
        domain = ascii_host(domain_of(address))
        documents = await asyncio.gather(
            self._get(f"autoconfig.{domain}", _PATH), self._get(domain, f"/.well-known/autoconfig{_PATH}")
        )
        proposals = (self.read(document, address) for document in documents)
        return [each for each in proposals if each][:1]

    async def _get(self, host: str, path: str) -> bytes:
        try:
            return await self._https.get(host, path)
        except RemoteError:
            return b""

    def read(self, document: bytes, address: str) -> Proposal | None:
        """Return the servers that a document names for an address, or None where none of them can be used."""
        root = _parsed(document)
        outgoing = self._first(root, "outgoingServer[@type='smtp']", address)
        incoming = self._first(root, "incomingServer[@type='imap']", address)
        if outgoing is None:
            return None
        oauth2 = (incoming or outgoing).oauth2
        return Proposal(
            source=Source.AUTOCONFIG,
            incoming=incoming.endpoint if incoming else None,
            outgoing=outgoing.endpoint,
            inusername=incoming.username if incoming else None,
            outusername=outgoing.username,
            authtype=OAUTH2 if oauth2 else None,
            password=None if oauth2 else Password.NORMAL,
        )

    def _first(self, root: Element, path: str, address: str) -> _Server | None:
        servers = (_server(each, address) for each in root.iterfind(f"emailProvider/{path}"))
        return next((each for each in servers if each and self._network.permits(each.endpoint)), None)


def _parsed(document: bytes) -> Element:
    """Return the root element; an empty one of what is no XML, or XML that defines entities of its own."""
    try:
        root: Element = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # the last two: of strange encodings
        return Element("nothing")
    return root


def _server(element: Element, address: str) -> _Server | None:
    tls = _TLS_MODES.get(_text(element, "socketType"))
    if tls is None:
        return None
    server = named_server(_filled(_text(element, "hostname"), address), _text(element, "port"), tls)
    username = _filled(_text(element, "username"), address) or address
    if server is None or not username.isprintable() or len(username) > _MAX_USERNAME:
        return None
    # Of several ways to sign in the first is the one that the domain prefers.
    return _Server(server, username, oauth2=_text(element, "authentication") == "OAuth2")


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _filled(text: str, address: str) -> str:
    local_part, _, domain = address.rpartition("@")
    placeholders = {"%EMAILADDRESS%": address, "%EMAILLOCALPART%": local_part, "%EMAILDOMAIN%": domain}
    for placeholder, value in placeholders.items():
        text = text.replace(placeholder, value)
    return text
