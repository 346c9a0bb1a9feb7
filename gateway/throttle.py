"""How fast passwords can be guessed, by anybody, through whichever process.

An attempt is counted before its password is looked at, and taken back when that is right; where its bucket is full
it is refused, without a look. There are three kinds of buckets:

1. of a source, an IPv4 address or an IPv6 /64: ``_SOURCE`` failures at once, then one in ``_SOURCE_DRIP``;
2. of a name, whether or not somebody has it, from all sources: ``_NAME`` at once, then one in ``_NAME_DRIP``;
3. of a name and a source from which that name has signed in before: the same, in place of 2. So whoever fills
   bucket 2 from elsewhere does not lock the person out at home, and from anywhere else only until the next drip.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

from gateway.errors import TooOften
from gateway.ports import Attempts, Bucket, Clock

_SOURCE, _SOURCE_DRIP = 100, timedelta(seconds=1)
_NAME, _NAME_DRIP = 10, timedelta(seconds=30)
_KNOWN_FOR = timedelta(days=30)
_IPV6_PREFIX = 64  # RFC 4291 §2.5.1: what one subscriber has at the least


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that was counted."""

    name: str
    source: str
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True)
class Throttle:
    """Counts attempts to prove a password."""

    attempts: Attempts
    clock: Clock

    async def begin(self, username: str, source: str) -> Attempt:
        """Count an attempt with this name from this address. Raises TooOften."""
        name, source = username.lower(), _network(source)
        of_source = Bucket("", source, _SOURCE, _SOURCE_DRIP)
        await self._charge(of_source)
        known = await self.attempts.knows(name, source, self.clock())
        of_name = Bucket(name, source if known else "", _NAME, _NAME_DRIP)
        await self._charge(of_name)
        return Attempt(name, source, (of_source, of_name))

    async def _charge(self, bucket: Bucket) -> None:
        wait = await self.attempts.charge(bucket, self.clock())
        if wait:
            seconds = ceil(wait.total_seconds())
            raise TooOften(f"Too many wrong passwords. Try again in {seconds} seconds.", seconds)

    async def succeeded(self, attempt: Attempt) -> None:
        """Take the attempt back, and know its source from now on."""
        for bucket in attempt.buckets:
            await self.attempts.refund(bucket)
        await self.attempts.remember(attempt.name, attempt.source, self.clock() + _KNOWN_FOR)


def _network(source: str) -> str:
    """Return what one subscriber has of addresses; the text itself where it is no address, as of a UNIX socket."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), _IPV6_PREFIX), strict=False))
    return str(address)
