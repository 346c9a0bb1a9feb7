"""How fast passwords can be guessed, by anybody, through whichever process, and what else costs too much.

An attempt is counted before its password is looked at, and taken back when that is right; where its bucket is full
it is refused, without a look. There are three kinds of buckets:

1. of a source, an IPv4 address or an IPv6 /64: ``_SOURCE`` failures at once, then one in ``_SOURCE_DRIP``;
2. of a name, whether or not somebody has it, from all sources: ``_NAME`` at once, then one in ``_NAME_DRIP``;
3. of a name and a source from which that name has signed in before, or was registered: the same, in place of 2. So
   whoever keeps bucket 2 full from elsewhere does not lock the person out at home. On a way that is new to the
   gateway the person and the guesser take turns at the drips, whoever comes first.

Other things that cost, or that ask other people's servers, have buckets of their own (:data:`COSTS`).
"""

from __future__ import annotations

from collections.abc import Sequence
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


# What for: (how often at once, then one in).
COSTS = {
    "registration": (100, timedelta(seconds=5)),  # by source; it costs a slow hash
    "probe": (300, timedelta(seconds=5)),  # by user and host; a hundred accounts added, mended and checked
    "verification": (20, timedelta(seconds=30)),  # by user and host, if it fails; the server would count it as ours
    "credentials": (100, timedelta(minutes=1)),  # by user and host; a worker tries them there at once
    "discovery": (20, timedelta(seconds=3)),  # by user
    "domain": (300, timedelta(minutes=1)),  # by user; each is a slow key, and a name that nobody else can have
    "domain check": (120, timedelta(seconds=5)),  # by domain; it asks whichever name servers the domain has
    "invitation": (50, timedelta(minutes=2)),  # by user; each is a mail to whomever
    "sign-in link": (10, timedelta(minutes=5)),  # by mailbox; each is a mail to whomever
    "notice": (20, timedelta(minutes=5)),  # by recipient of mails about mailboxes, and of invitations
    "acceptance": (20, timedelta(seconds=30)),  # by user; of wrong tokens
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that was counted."""

    name: str
    source: str
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True)
class Throttle:
    """Counts attempts to prove a password, and what else costs too much."""

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

    async def _charge(self, *buckets: Bucket) -> None:
        wait = await self.attempts.charge(buckets, self.clock())
        if wait:
            seconds = ceil(wait.total_seconds())
            raise TooOften(f"Too many attempts. Try again in {seconds} seconds.", seconds)

    async def spend(self, what: str, whose: str) -> Attempt:
        """Count one of what costs (a key of COSTS), by whoever it is counted by. Raises TooOften."""
        (attempt,) = await self.spend_all([what], [whose])
        return attempt

    async def spend_all(self, whats: Sequence[str], whose: Sequence[str]) -> Sequence[Attempt]:
        """Count one of each of these costs for each of these, all or none; return an attempt for each cost.

        Raises TooOften.
        """
        attempts = [Attempt("", "", tuple(_bucket(what, each) for each in whose)) for what in whats]
        await self._charge(*(bucket for attempt in attempts for bucket in attempt.buckets))
        return attempts

    async def registered(self, username: str, source: str) -> None:
        """Know the source of a new name."""
        await self.attempts.remember(username.lower(), _network(source), self.clock() + _KNOWN_FOR)

    async def succeeded(self, attempt: Attempt) -> None:
        """Take the attempt back, and know its source from now on."""
        await self.take_back(attempt)
        await self.attempts.remember(attempt.name, attempt.source, self.clock() + _KNOWN_FOR)

    async def take_back(self, attempt: Attempt) -> None:
        """Let the attempt not count."""
        await self.attempts.refund(attempt.buckets)


def _bucket(what: str, whose: str) -> Bucket:
    size, drip = COSTS[what]
    return Bucket("", f"{what} {_network(whose)}", size, drip)  # of no name: somebody could be called so


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
