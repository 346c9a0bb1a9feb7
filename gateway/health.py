"""What the checks of an identity make of it: when it is checked next, and when it is given up. Pure, no I/O.

====================================  =========================================================================
a check ends with                     then
====================================  =========================================================================
success                               next after ``pollinterval`` minutes; all that speaks of failures is removed
a sign-in refused                     next after 2, then 4 times the interval; at the third in a row the identity
                                      becomes inactive, for providers lock accounts out
anything else                         next after the interval; 72 hours after the first failure the identity
                                      becomes inactive
====================================  =========================================================================

A server that is in trouble itself (4yz, [UNAVAILABLE]) says nothing of the password: that is "anything else", and
neither counts as a refusal nor ends a row of them. Times are stretched or shortened by up to a tenth, so that what
was checked together is not checked together for ever. Whoever made an identity inactive by hand is not overruled:
``inactivereason`` tells that it was the checks. A local identity is never given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.errors import GatewayError, SignInRefused
from gateway.identity import DEFAULT_POLL_INTERVAL, ERROR_KEYS, IdentityStatus, IdentityType, UserIdentity
from gateway.timestamp import rfc3339

UNREACHABLE_FOR = timedelta(hours=72)
MOST_REFUSALS = 3
_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """How a check ended: what the servers told, and which of them (inserver, outserver) failed how."""

    at: datetime
    ms: int
    told: Mapping[str, str]
    failures: Mapping[str, GatewayError]

    @property
    def error(self) -> str | None:
        """All that failed, in one line."""
        return " ".join(f"{server}: {error}" for server, error in sorted(self.failures.items())) or None


@dataclass(frozen=True, slots=True)
class PastCheck:
    """How a check ended, as history keeps it. ``server`` is the one that failed, the first of two."""

    at: datetime
    ok: bool
    ms: int
    server: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """The checks that are due: how many, counted up to a bound, and how long the oldest has waited.

    ``late``: longer than twice its interval; the workers do not keep up.
    """

    due: int = 0
    oldest: timedelta = timedelta(0)
    late: bool = False


def interval(identity: UserIdentity) -> timedelta:
    """Return how long after a success the identity is checked again."""
    return timedelta(minutes=int(identity.infos.get("pollinterval", DEFAULT_POLL_INTERVAL)))


def after(identity: UserIdentity, finding: Finding, chance: float) -> UserIdentity:
    """Return the identity after a check; ``chance`` is random in [0, 1)."""
    checked = replace(identity, last_check=finding.at)
    if not finding.failures:
        return _scheduled(_well(checked, finding), finding.at, 1, chance)
    checked = _unwell(checked, finding)
    if checked.status is IdentityStatus.INACTIVE:
        return replace(checked, check_at=None)
    if checked.type is IdentityType.LOCAL:  # the relay is the operator's to mend, and nobody else could
        return _scheduled(checked, finding.at, 1, chance)
    if checked.refusals >= MOST_REFUSALS:
        return _given_up(checked, "credentials")
    if finding.at - datetime.fromisoformat(checked.infos["firstErrorDate"]) >= UNREACHABLE_FOR:
        return _given_up(checked, "unreachable")
    times = 2**checked.refusals if checked.refusals > identity.refusals else 1
    return _scheduled(checked, finding.at, times, chance)


def _well(identity: UserIdentity, finding: Finding) -> UserIdentity:
    revived = "inactivereason" in identity.infos
    infos = {key: value for key, value in identity.infos.items() if key not in {*ERROR_KEYS, "inactivereason"}}
    return replace(
        identity,
        infos={**infos, **finding.told, "lastsync": rfc3339(finding.at)},
        refusals=0,
        status=IdentityStatus.ACTIVE if revived else identity.status,
    )


def _unwell(identity: UserIdentity, finding: Finding) -> UserIdentity:
    refused = any(isinstance(error, SignInRefused) for error in finding.failures.values())
    errors = {
        "lastFetchError": finding.error or "",
        "firstErrorDate": identity.infos.get("firstErrorDate", rfc3339(finding.at)),
        "lastErrorDate": rfc3339(finding.at),
        "errorsCount": str(int(identity.infos.get("errorsCount", "0")) + 1),
    }
    return replace(identity, infos={**identity.infos, **errors}, refusals=identity.refusals + refused)


def _given_up(identity: UserIdentity, reason: str) -> UserIdentity:
    infos = {**identity.infos, "inactivereason": reason}
    return replace(identity, infos=infos, status=IdentityStatus.INACTIVE, check_at=None)


def _scheduled(identity: UserIdentity, now: datetime, times: int, chance: float) -> UserIdentity:
    if identity.status is not IdentityStatus.ACTIVE:
        return replace(identity, check_at=None)
    at = now + interval(identity) * times * (1 + _SPREAD * (2 * chance - 1))
    return replace(identity, check_at=at.replace(microsecond=at.microsecond // 1000 * 1000))
