"""DNS questions about names that come from outside.

The system's resolver blocks a thread per question, and the event loop has four of them: one user whose domain has
slow name servers would delay all. dnspython's resolver waits in the loop, for a time that is bounded for each query
and in all, and what it keeps is bounded too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any

import dns.asyncresolver
from dns.exception import DNSException
from dns.nameserver import Do53Nameserver
from dns.resolver import NXDOMAIN, Answer, CacheKey, LifetimeTimeout, LRUCache, NoNameservers

from gateway.address import parse_host_port
from gateway.errors import Unreachable

_QUERY_TIMEOUT_S = 2.0  # for one server to answer
_LIFETIME_S = 5.0
_CACHED_ANSWERS = 1000
_CACHED_RECORDS = 64  # of one answer; a larger one, up to 64 KB and some thousand records, is not kept
_MAX_RECORDS = 16  # that are looked at, of one name and type
_PORT = 53


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

    async def _ask(self, name: str, kind: str) -> Sequence[Any]:
        try:
            answer = await self._stub.resolve(name, kind, search=False, raise_on_no_answer=False)
        except NXDOMAIN:
            return []
        except (LifetimeTimeout, NoNameservers) as error:
            raise Unreachable(f"The name servers of {name} do not answer as they should.") from error
        except DNSException as error:  # a name that no question can hold
            raise _no_such_name(name) from error
        return answer.rrset.processing_order()[:_MAX_RECORDS] if answer.rrset else []

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


def _host(name: Any) -> str:
    return str(name).removesuffix(".").lower()


def _no_such_name(name: str) -> Unreachable:
    return Unreachable(f"The host name {name} cannot be resolved. Is it spelled right?")
