"""DNS questions about names that come from outside.

The system's resolver blocks a thread per question, and the event loop has four of them: one user whose domain has
slow name servers would delay all. dnspython's resolver waits in the loop, for a time that is bounded for each query
and in all, and what it keeps is bounded too.

What a zone says of itself now is asked of its own servers: resolvers keep answers for hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any

import dns.asyncresolver
from dns import rcode
from dns.asyncquery import udp_with_fallback
from dns.exception import DNSException
from dns.flags import AA
from dns.message import Message, make_query
from dns.name import Name, root
from dns.nameserver import Do53Nameserver
from dns.rdataclass import IN
from dns.rdatatype import CNAME, NS, SOA, RdataType
from dns.resolver import NXDOMAIN, Answer, CacheKey, LifetimeTimeout, LRUCache, NoNameservers

from gateway.address import parse_host_port
from gateway.errors import Unreachable

_QUERY_TIMEOUT_S = 2.0  # for one server to answer
_LIFETIME_S = 5.0
_CACHED_ANSWERS = 1000
_CACHED_RECORDS = 64  # of one answer; a larger one, up to 64 KB and some thousand records, is not kept
_MAX_RECORDS = 16  # that are looked at, of one name and type
_PORT = 53
_UDP_BYTES = 1232  # that pass every path unfragmented, as resolvers have agreed on the DNS flag day 2020
_MAX_ALIASES = 8
_ROUNDS = 2  # in which all servers of a zone are asked: datagrams get lost

Lookup = Callable[[Name, str], Awaitable[Sequence[Any]]]
"""Returns all records of a name and type, none where there is no such name. Raises Unreachable."""


@dataclass(frozen=True, slots=True)
class Service:
    """A target of an SRV record (RFC 2782). The host is as DNS has it, without the final dot."""

    host: str
    port: int


class Resolver:
    """Asks these name servers (``address`` or ``address:port``), or those of resolv.conf where none are given.

    ``lifetime``: seconds for all servers and retries of a question.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        resolv_conf: str = "/etc/resolv.conf",
        lifetime: float = _LIFETIME_S,
    ) -> None:
        self._nameservers = nameservers
        self._resolv_conf = resolv_conf
        self._lifetime = lifetime

    async def addresses(self, host: str) -> Sequence[str]:
        """Return the addresses of a host, IPv6 and IPv4 in turn. Raises Unreachable, also where it has none."""
        answers = await asyncio.gather(
            self._ask(host, "AAAA"), self._ask(host, "A"), return_exceptions=True
        )  # some servers fail at AAAA: one answer is enough
        found = [[each.address for each in answer] for answer in answers if not isinstance(answer, BaseException)]
        if mixed := [each for each in chain.from_iterable(zip_longest(*found)) if each]:
            return mixed
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        raise _no_such_name(host)

    async def exchangers(self, domain: str) -> Sequence[str]:
        """Return the hosts that take mail for a domain (RFC 5321 §5.1), best first. Raises Unreachable.

        The host "." is left out: it says that there is none (RFC 7505).
        """
        return [host for each in await self._ask(domain, "MX") if (host := _host(each.exchange))]

    async def services(self, name: str) -> Sequence[Service]:
        """Return the targets of SRV records in the order in which RFC 2782 tries them. Raises Unreachable.

        The target "." is left out: it says that there is no such service.
        """
        records = await self._ask(name, "SRV")
        return [Service(host, each.port) for each in records if (host := _host(each.target))]

    async def records(self, name: Name, kind: str) -> Sequence[Any]:
        """Return all records of a name and type, aliases followed, in any order; nothing kept is used.

        Raises Unreachable.
        """
        answer = await _answer(self._fresh, name, kind)
        return list(answer) if answer else []

    async def zone_of(self, name: Name) -> tuple[Name, Sequence[str]] | None:
        """Return the zone that a name lies in, as far as it is known, and the hosts that serve it.

        Raises Unreachable.
        """
        while name != root:
            answer = await _answer(self._fresh, name, "NS")
            if answer and answer.canonical_name == name:  # an alias lies in the zone above it
                return name, [_host(each.target) for each in answer]
            name = name.parent()
        return None

    async def _ask(self, name: str, kind: str) -> Sequence[Any]:
        answer = await _answer(self._stub, name, kind)
        return answer.rrset.processing_order()[:_MAX_RECORDS] if answer and answer.rrset else []

    @cached_property
    def _fresh(self) -> dns.asyncresolver.Resolver:
        """Keeps nothing: a record that was just mended counts at once."""
        stub = copy(self._stub)
        stub.cache = None
        return stub

    @cached_property
    def _stub(self) -> dns.asyncresolver.Resolver:
        """Made when the first question comes: a machine may do without DNS."""
        try:
            stub = dns.asyncresolver.Resolver(self._resolv_conf, configure=not self._nameservers)
        except (DNSException, ValueError) as error:  # ValueError: of a name server that is no address
            raise Unreachable(
                f"This machine has no usable name servers in {self._resolv_conf}. Set network.nameservers."
            ) from error
        if self._nameservers:
            servers = map(parse_host_port, self._nameservers)
            stub.nameservers = [Do53Nameserver(address, port or _PORT) for address, port in servers]
        stub.timeout, stub.lifetime = _QUERY_TIMEOUT_S, self._lifetime
        stub.cache = _Cache(_CACHED_ANSWERS)
        return stub


class _Cache(LRUCache):
    """Keeps answers for their time to live, up to a number of records in all."""

    def put(self, key: CacheKey, value: Answer) -> None:
        records = sum(len(rrset) for section in value.response.sections for rrset in section)
        if records <= _CACHED_RECORDS:
            super().put(key, value)


class Zone:
    """A zone as its own servers have it now. They are asked directly, one after the other, and nothing is kept."""

    def __init__(
        self, name: Name, servers: Sequence[str], resolver: Resolver, *, port: int, timeout: float
    ) -> None:
        """``servers`` are addresses; ``resolver`` is asked for other zones; ``timeout``: seconds per query."""
        self._name = name
        self._servers = list(servers)
        self._resolver = resolver
        self._port = port
        self._timeout = timeout

    async def exists(self, name: Name) -> bool:
        """True when something has this name or is beneath it (RFC 8020). Raises Unreachable."""
        reply = await self._ask(name, SOA)
        if self._refers(reply, name):
            return bool(await self._resolver.records(name, "SOA"))
        return reply.rcode() != rcode.NXDOMAIN or bool(reply.answer)  # an alias exists whatever it leads to

    async def records(self, name: Name, kind: str) -> Sequence[Any]:
        """Return all records of a name and type, aliases followed, out of the zone too. Raises Unreachable.

        What else a server says of an alias is left aside: it need not be in charge of that.
        """
        wanted = RdataType.make(kind)
        for _ in range(_MAX_ALIASES):
            if not name.is_subdomain(self._name):
                return await self._resolver.records(name, kind)
            reply = await self._ask(name, wanted)
            if self._refers(reply, name):
                return await self._resolver.records(name, kind)
            if found := reply.get_rrset(reply.answer, name, IN, wanted):
                return list(found)
            alias = reply.get_rrset(reply.answer, name, IN, CNAME)
            if not alias:
                return []
            name = alias[0].target
        raise Unreachable(f"{_host(name)} is an alias of an alias, and so on without end.")

    async def _ask(self, name: Name, kind: RdataType) -> Message:
        query = make_query(name, kind, use_edns=0, payload=_UDP_BYTES, flags=0)  # no RD: nobody else is to be asked
        for server in self._servers * _ROUNDS:
            reply = await self._exchange(query, server)
            if reply and self._is_answer(reply, name):
                self._servers.sort(key=lambda each: each != server)  # the one that answers is the next to be asked
                return reply
        raise Unreachable(
            f"No name server of {_host(self._name)} answers for it. Set the zone up there, or correct the NS"
            " records at your registrar."
        )

    async def _exchange(self, query: Message, server: str) -> Message | None:
        try:
            reply, _ = await udp_with_fallback(
                query, server, self._timeout, self._port, ignore_unexpected=True, ignore_errors=True
            )
        except (DNSException, OSError, EOFError):
            return None
        return reply

    def _is_answer(self, reply: Message, name: Name) -> bool:
        """True unless the server has failed, or is not in charge and answers from hearsay (a lame delegation)."""
        if reply.rcode() not in (rcode.NOERROR, rcode.NXDOMAIN):
            return False
        return bool(reply.flags & AA) or self._refers(reply, name)

    def _refers(self, reply: Message, name: Name) -> bool:
        """True when the reply only says that a zone further down is asked for the name (RFC 1034 §4.3.2, 3b)."""
        return not reply.answer and any(
            each.rdtype == NS
            and each.name != self._name
            and each.name.is_subdomain(self._name)
            and name.is_subdomain(each.name)
            for each in reply.authority
        )


async def _answer(stub: dns.asyncresolver.Resolver, name: Name | str, kind: str) -> Answer | None:
    try:
        return await stub.resolve(name, kind, search=False, raise_on_no_answer=False)
    except NXDOMAIN:
        return None
    except (LifetimeTimeout, NoNameservers) as error:
        raise Unreachable(f"The name servers of {_host(name)} do not answer as they should.") from error
    except DNSException as error:  # a name that no question can hold
        raise _no_such_name(_host(name)) from error


def _host(name: Any) -> str:
    return str(name).removesuffix(".").lower()


def _no_such_name(name: str) -> Unreachable:
    return Unreachable(f"The host name {name} cannot be resolved. Is it spelled right?")
