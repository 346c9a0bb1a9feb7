"""Probing: mail servers that answer at the names that they usually have.

A server counts when its certificate is one for that name and it speaks the protocol; nobody signs in. TLS from the
first byte is tried first (RFC 8314 §3), and only where no name offers that, STARTTLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from gateway.address import ascii_host, domain_of
from gateway.errors import RemoteError, SignInRefused
from gateway.identity import Endpoint, TLSMode
from gateway.ports import MessageStore, Submitter
from gateway.proposal import Proposal, Source

_WAVE_S = 4.0  # for all names to answer on one port
_MAX_AT_ONCE = 60  # in this process, whoever asks


class Ports(NamedTuple):
    """The ports of a protocol, for TLS from the first byte and for STARTTLS."""

    implicit: int
    starttls: int


IMAP_PORTS = Ports(993, 143)  # RFC 8314 §7.1
SMTP_PORTS = Ports(465, 587)  # RFC 8314 §7.3, RFC 6409 §3.1


class Probe:
    """Tries usual names."""

    def __init__(
        self,
        mailbox: MessageStore,
        submitter: Submitter,
        imap_ports: Ports = IMAP_PORTS,
        smtp_ports: Ports = SMTP_PORTS,
    ) -> None:
        self._mailbox = mailbox
        self._submitter = submitter
        self._imap_ports = imap_ports
        self._smtp_ports = smtp_ports
        self._at_once = asyncio.Semaphore(_MAX_AT_ONCE)

    async def find(self, address: str) -> Sequence[Proposal]:
        """Return the servers that answer, if there is one that takes mail."""
        domain = ascii_host(domain_of(address))
        incoming, outgoing = await asyncio.gather(
            self._first(self._mailbox, [f"imap.{domain}", f"mail.{domain}", domain], self._imap_ports),
            self._first(self._submitter, [f"smtp.{domain}", f"mail.{domain}", domain], self._smtp_ports),
        )
        if outgoing is None:
            return []
        inusername = address if incoming else None
        return [
            Proposal(
                source=Source.PROBE,
                incoming=incoming,
                outgoing=outgoing,
                inusername=inusername,
                outusername=address,
            )
        ]

    async def _first(
        self, adapter: MessageStore | Submitter, hosts: Sequence[str], ports: Ports
    ) -> Endpoint | None:
        for tls, port in ((TLSMode.IMPLICIT, ports.implicit), (TLSMode.STARTTLS, ports.starttls)):
            servers = [Endpoint(host, port, tls) for host in hosts]
            answers = await asyncio.gather(*(self._answers(adapter, each) for each in servers))
            if good := [each for each, answered in zip(servers, answers, strict=True) if answered]:
                return good[0]
        return None

    async def _answers(self, adapter: MessageStore | Submitter, server: Endpoint) -> bool:
        try:
            async with self._at_once, asyncio.timeout(_WAVE_S):
                await adapter.probe(server)
        except SignInRefused:  # what an IMAP server wants comes after the greeting and TLS
            return True
        except (RemoteError, TimeoutError):
            return False
        return True
