"""A DNS server on loopback, by UDP and TCP, whose answers a test writes.

::

    async with NameServer() as names:
        names.has("mail.elsewhere.example", "A", "127.0.0.1")
        ...  # ask names.address
    assert names.asked == ["mail.elsewhere.example A"]

A name of which nothing was said does not exist.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from dns.exception import TooBig
from dns.rdatatype import to_text

_UDP_BYTES = 512  # RFC 1035 §2.3.4


class NameServer(asyncio.DatagramProtocol):
    """Answers what it was told to, and notes what it was asked."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.asked: list[str] = []
        """Questions, as "name type", oldest first."""
        self._rounds: dict[tuple[str, str], list[tuple[str, ...]]] = {}
        self._ttl: dict[str, int] = {}
        self._faults: dict[str, dns.rcode.Rcode | None] = {}

    def has(self, name: str, kind: str, *values: str, ttl: int = 0) -> None:
        """Answer so; said several times of a name and type: so one after the other, at last always the same."""
        self._rounds.setdefault((name, kind), []).append(values)
        self._ttl[name] = ttl

    def fails(self, question: str, code: dns.rcode.Rcode | None = dns.rcode.SERVFAIL) -> None:
        """Answer a question ("name type") with an error, or not at all where ``code`` is None."""
        self._faults[question] = code

    @property
    def address(self) -> str:
        """As network.nameservers names it."""
        return f"{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._tcp = await asyncio.start_server(self._converse, self.host, 0)
        self.port: int = self._tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.host, self.port))
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer by UDP, truncated where the answer is too long for it."""
        answer = self._answer(data)
        if answer is None:
            return
        try:
            wire = answer.to_wire(max_size=_UDP_BYTES)
        except TooBig:
            short = dns.message.make_response(dns.message.from_wire(data))
            short.flags |= dns.flags.TC
            wire = short.to_wire()
        self._udp.sendto(wire, addr)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = self._answer(await reader.readexactly(size))
            if answer is not None:
                wire = answer.to_wire(max_size=65535)
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
        writer.close()

    def _answer(self, data: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        name, kind = str(query.question[0].name).rstrip(".").lower(), to_text(query.question[0].rdtype)
        self.asked.append(f"{name} {kind}")
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        code = self._faults.get(f"{name} {kind}", dns.rcode.NOERROR)
        if code is None:
            return None
        answer.set_rcode(code)
        if code == dns.rcode.NOERROR:
            self._fill(answer, name, kind)
        return answer

    def _fill(self, answer: dns.message.Message, name: str, kind: str) -> None:
        """Add the records of a name, and of what it is an alias of."""
        if alias := self._next(name, "CNAME"):
            answer.answer.append(dns.rrset.from_text(f"{name}.", self._ttl[name], "IN", "CNAME", *alias))
            self._fill(answer, alias[0].rstrip("."), kind)
        elif values := self._next(name, kind):
            answer.answer.append(dns.rrset.from_text(f"{name}.", self._ttl[name], "IN", kind, *values))
        elif name not in self._ttl:
            answer.set_rcode(dns.rcode.NXDOMAIN)

    def _next(self, name: str, kind: str) -> tuple[str, ...]:
        rounds = self._rounds.get((name, kind), [()])
        return rounds.pop(0) if len(rounds) > 1 else rounds[0]
