"""A DNS server on loopback, by UDP and TCP, whose answers a test writes.

::

    async with NameServer() as names:
        names.has("mail.elsewhere.example", "A", "127.0.0.1")
        ...  # ask names.address
    assert names.asked == ["mail.elsewhere.example A"]

A name of which nothing was said does not exist. Without a zone it answers as a resolver does, for all names; with
one as that zone's own server, for no others.
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
_MAX_ALIASES = 10
_NONSENSE = bytes(range(40))


class NameServer(asyncio.DatagramProtocol):
    """Answers what it was told to, and notes what it was asked."""

    def __init__(self, zone: str = "", host: str = "127.0.0.1", port: int = 0) -> None:
        """``host`` is any address of loopback; port 0 is a free one."""
        self.host = host
        self.port = port
        self.asked: list[str] = []
        """Questions, as "name type", oldest first."""
        self._zone = zone
        self._broken: set[str] = set()
        self._dripping: set[str] = set()
        self._lost: set[str] = set()
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

    def loses(self, question: str) -> None:
        """Do not answer a question the next time it is asked."""
        self._lost.add(question)

    def breaks(self, question: str) -> None:
        """Answer a question truncated by UDP, and nonsense by TCP."""
        self._broken.add(question)

    def drips(self, question: str) -> None:
        """Answer a question truncated by UDP, and by TCP a byte now and then, until the client leaves."""
        self._broken.add(question)
        self._dripping.add(question)

    @property
    def address(self) -> str:
        """As network.nameservers names it."""
        return f"{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._tcp = await asyncio.start_server(self._converse, self.host, self.port)
        self.port = self._tcp.sockets[0].getsockname()[1]
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
        wire = b""
        with suppress(TooBig):
            wire = b"" if self._is_broken(answer) else answer.to_wire(max_size=_UDP_BYTES)
        self._udp.sendto(wire or _truncated(data), addr)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = self._answer(await reader.readexactly(size))
            if answer is not None and " ".join(_question(answer)) in self._dripping:
                await _drip(reader, writer)
            elif answer is not None:
                wire = _NONSENSE if self._is_broken(answer) else answer.to_wire(max_size=65535)
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
        writer.close()

    def _answer(self, data: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        name, kind = _question(query)
        self.asked.append(f"{name} {kind}")
        if self.asked[-1] in self._lost:
            self._lost.remove(self.asked[-1])
            return None
        answer = dns.message.make_response(query)
        if not self._is_in_charge(name):
            answer.set_rcode(dns.rcode.REFUSED)
            return answer
        answer.flags |= dns.flags.AA if self._zone else dns.flags.RA
        code = self._faults.get(f"{name} {kind}", dns.rcode.NOERROR)
        if code is None:
            return None
        answer.set_rcode(code)
        if code == dns.rcode.NOERROR:
            self._fill(answer, name, kind)
        return answer

    def _fill(self, answer: dns.message.Message, name: str, kind: str) -> None:
        """Add the records of a name, and of what it is an alias of; or say which zone further down has it."""
        if self._zone and (cut := self._cut(name)):
            answer.flags &= ~dns.flags.AA
            answer.authority.append(dns.rrset.from_text(f"{cut}.", 0, "IN", "NS", *self._next(cut, "NS")))
        elif alias := self._next(name, "CNAME"):
            answer.answer.append(dns.rrset.from_text(f"{name}.", self._ttl[name], "IN", "CNAME", *alias))
            target = alias[0].rstrip(".")
            if kind != "CNAME" and self._is_in_charge(target) and len(answer.answer) < _MAX_ALIASES:
                self._fill(answer, target, kind)
        elif values := self._next(name, kind):
            answer.answer.append(dns.rrset.from_text(f"{name}.", self._ttl[name], "IN", kind, *values))
        elif name not in self._ttl:
            answer.set_rcode(dns.rcode.NXDOMAIN)

    def _next(self, name: str, kind: str) -> tuple[str, ...]:
        rounds = self._rounds.get((name, kind), [()])
        return rounds.pop(0) if len(rounds) > 1 else rounds[0]

    def _is_in_charge(self, name: str) -> bool:
        return not self._zone or f".{name}".endswith(f".{self._zone}")

    def _cut(self, name: str) -> str | None:
        """Return the delegated zone that the name lies in."""
        while name != self._zone:
            if (name, "NS") in self._rounds:
                return name
            name = name.partition(".")[2]
        return None

    def _is_broken(self, answer: dns.message.Message) -> bool:
        return " ".join(_question(answer)) in self._broken


def _question(message: dns.message.Message) -> tuple[str, str]:
    (question,) = message.question
    return str(question.name).rstrip(".").lower(), to_text(question.rdtype)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin the longest of messages."""
    writer.write(b"\xff\xff")
    while not reader.at_eof():
        writer.write(b"x")
        with suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.01)


def _truncated(query: bytes) -> bytes:
    answer = dns.message.make_response(dns.message.from_wire(query))
    answer.flags |= dns.flags.TC
    return answer.to_wire()
