"""What checks make of an identity, over hours and days that pass at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import Deferred, GatewayError, SignInRefused, Unreachable
from gateway.health import Finding, after
from gateway.identity import IdentityStatus, IdentityType, UserIdentity

NOW = datetime(2026, 7, 20, tzinfo=UTC)
MIDDLE = 0.5
IDENTITY = UserIdentity(
    identity_id="i",
    user_id="u",
    type=IdentityType.REMOTE,
    protocol="imap",
    identifier="me@example.org",
    display_name="Me",
    status=IdentityStatus.ACTIVE,
    infos={"pollinterval": "30", "colour": "red"},
    last_check=None,
)
REFUSED, UNREACHABLE, BUSY = SignInRefused("wrong"), Unreachable("no answer"), Deferred("busy")


def checked(
    identity: UserIdentity, *failures: GatewayError, at: datetime = NOW, chance: float = MIDDLE
) -> UserIdentity:
    """Return the identity after a check in which these servers failed."""
    servers = dict(zip(("inserver", "outserver"), failures, strict=False))
    return after(identity, Finding(at, 5, {} if failures else {"unseen": "7"}, servers), chance)


def interval(identity: UserIdentity) -> timedelta:
    """Return how long after its last check the identity is checked again."""
    assert identity.check_at
    assert identity.last_check
    return identity.check_at - identity.last_check


def test_success() -> None:
    """A success removes what speaks of failures, keeps what servers told, and comes again after the interval."""
    unwell = checked(checked(IDENTITY, UNREACHABLE), REFUSED)
    well = checked(unwell)
    assert well.infos == {
        "pollinterval": "30",
        "colour": "red",
        "unseen": "7",
        "lastsync": "2026-07-20T00:00:00.000Z",
    }
    assert (well.last_check, well.refusals, well.status) == (NOW, 0, IdentityStatus.ACTIVE)
    assert interval(well) == timedelta(minutes=30)


def test_failure() -> None:
    """A failure tells which server failed how, since when, when last and how often."""
    later = NOW + timedelta(hours=1)
    unwell = checked(checked(IDENTITY, UNREACHABLE, BUSY), UNREACHABLE, at=later)
    assert unwell.infos["lastFetchError"] == "inserver: no answer"
    assert checked(IDENTITY, UNREACHABLE, BUSY).infos["lastFetchError"] == "inserver: no answer outserver: busy"
    assert unwell.infos["firstErrorDate"] == "2026-07-20T00:00:00.000Z"
    assert unwell.infos["lastErrorDate"] == "2026-07-20T01:00:00.000Z"
    assert unwell.infos["errorsCount"] == "2"
    assert interval(unwell) == timedelta(minutes=30)


def test_refused_three_times() -> None:
    """A refused sign-in is tried at growing intervals, and the third in a row makes the identity inactive."""
    first = checked(IDENTITY, REFUSED)
    second = checked(first, UNREACHABLE, REFUSED)
    third = checked(second, REFUSED, REFUSED)
    assert [interval(first), interval(second)] == [timedelta(hours=1), timedelta(hours=2)]
    assert (third.status, third.infos["inactivereason"], third.check_at) == (
        IdentityStatus.INACTIVE, "credentials", None,
    )  # fmt: skip


@pytest.mark.parametrize("error", [BUSY, UNREACHABLE])
def test_trouble_is_no_refusal(error: GatewayError) -> None:
    """A server in trouble neither counts as a refusal nor ends a row of them."""
    identity = IDENTITY
    for _ in range(10):
        identity = checked(identity, error)
    assert (identity.status, identity.refusals) == (IdentityStatus.ACTIVE, 0)
    for failure in (REFUSED, error, REFUSED, error):
        identity = checked(identity, failure)
    assert identity.status is IdentityStatus.ACTIVE
    assert checked(identity, REFUSED).infos["inactivereason"] == "credentials"


def test_success_ends_the_row() -> None:
    """After a success three refusals are needed again."""
    identity = checked(checked(checked(IDENTITY, REFUSED), REFUSED))
    for _ in range(2):
        identity = checked(identity, REFUSED)
    assert identity.status is IdentityStatus.ACTIVE


def test_unreachable_for_72_hours() -> None:
    """A server that cannot be reached is tried for 72 hours, then the identity becomes inactive."""
    identity, at = IDENTITY, NOW
    while identity.check_at is not None or at == NOW:
        identity = checked(identity, UNREACHABLE, at=at)
        at = identity.check_at or at
    assert at - NOW == timedelta(hours=72)
    assert (identity.status, identity.infos["inactivereason"]) == (IdentityStatus.INACTIVE, "unreachable")
    assert identity.infos["errorsCount"] == "145"


def test_revived() -> None:
    """A success makes an identity active again that the checks made inactive, and no other."""
    given_up = replace(IDENTITY, status=IdentityStatus.INACTIVE, infos={"inactivereason": "unreachable"})
    revived = checked(given_up)
    assert (revived.status, "inactivereason" in revived.infos) == (IdentityStatus.ACTIVE, False)
    assert revived.check_at is not None
    by_hand = replace(IDENTITY, status=IdentityStatus.INACTIVE)
    assert (checked(by_hand).status, checked(by_hand).check_at) == (IdentityStatus.INACTIVE, None)


def test_failing_while_inactive() -> None:
    """A failure of an inactive identity changes neither status nor reason."""
    by_hand = checked(replace(IDENTITY, status=IdentityStatus.INACTIVE, refusals=5), REFUSED)
    assert (by_hand.status, by_hand.check_at) == (IdentityStatus.INACTIVE, None)
    assert "inactivereason" not in by_hand.infos


def test_spread() -> None:
    """Times differ by up to a tenth to either side; without an interval it is 15 minutes."""
    assert interval(checked(IDENTITY, chance=0.0)) == timedelta(minutes=27)
    assert interval(checked(IDENTITY, chance=0.999999)) < timedelta(minutes=33)
    assert interval(checked(replace(IDENTITY, infos={}))) == timedelta(minutes=15)


def test_local_is_never_given_up() -> None:
    """However long the relay is away or refuses, a local identity stays active and is checked again."""
    identity = replace(IDENTITY, type=IdentityType.LOCAL, infos={})
    for days in range(30):
        identity = checked(identity, REFUSED, at=NOW + timedelta(days=days))
    assert (identity.status, interval(identity)) == (IdentityStatus.ACTIVE, timedelta(minutes=15))
