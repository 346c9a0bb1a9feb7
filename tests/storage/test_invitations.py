"""The store of invitations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway.domain import MOST_ACCESSES, DkimKey, Domain, DomainStatus, Feature
from gateway.errors import Conflict, NotFound
from gateway.invitation import Invitation
from gateway.notice import Notice, NoticeKind
from gateway.ports import Page
from gateway.roles import Role
from storage import domains, invitations, notices, secrets
from storage.domains import MongoDomains
from storage.invitations import MongoInvitations
from storage.mongo import Mongo
from storage.notices import MongoNotices
from storage.secrets import Vault
from tests.users import exist

NOW = datetime(2026, 7, 20, tzinfo=UTC)
WEEK = timedelta(days=7)
DOMAIN = Domain(
    name="example.org",
    context="example.org",
    features=[Feature.MAILBOX],
    status=DomainStatus.PENDING,
    dkim=DkimKey("dkim", "key"),
    roles={"owner": Role.OWNER},
    date_insert=NOW,
    checks={},
)


@pytest.fixture
async def of_domains(mongo: Mongo, tmp_path: Path) -> MongoDomains:
    """A store with one domain."""
    for module in (domains, invitations, notices, secrets):
        await mongo.ensure_indexes(module.INDEXES)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    store = MongoDomains(mongo, vault)
    await exist(mongo, "owner")
    await store.add(DOMAIN, "private")
    return store


@pytest.fixture
def of_notices(mongo: Mongo) -> MongoNotices:
    """The store of notices."""
    return MongoNotices(mongo)


@pytest.fixture
def store(mongo: Mongo, of_domains: MongoDomains, of_notices: MongoNotices) -> MongoInvitations:
    """The store under test."""
    return MongoInvitations(mongo, of_domains, of_notices)


def invited(email: str = "friend@elsewhere.example", role: Role = Role.VIEWER, **changes: Any) -> Invitation:
    """Return an invitation to the domain."""
    return replace(Invitation(str(uuid4()), "example.org", email, role, "owner", NOW, NOW + WEEK), **changes)


def notice_of(invitation: Invitation) -> Notice:
    """Return the notice of an invitation."""
    return Notice(str(uuid4()), NoticeKind.INVITATION, invitation.domain, invitation.invitation_id)


async def test_add(store: MongoInvitations, of_notices: MongoNotices) -> None:
    """An invitation comes with its notice, due at once; where it is refused neither is there."""
    invitation = invited()
    notice = notice_of(invitation)
    await store.add(invitation, notice)
    with pytest.raises(Conflict):
        await store.add(again := invited(role=Role.OWNER), notice_of(again))
    assert await store.get("example.org", invitation.invitation_id, NOW) == invitation
    with pytest.raises(NotFound):
        await store.get("other.example", invitation.invitation_id, NOW)
    assert await of_notices.claim("o", NOW, WEEK, 5) == [replace(notice, attempts=1)]


async def test_expired(store: MongoInvitations) -> None:
    """What has expired is nowhere, and stands in nobody's way."""
    invitation = invited()
    await store.add(invitation, None)
    await store.set_token(invitation.invitation_id, "token")
    later = NOW + WEEK

    async def gone(answer: Awaitable[object]) -> None:
        with pytest.raises(NotFound):
            await answer

    await gone(store.get("example.org", invitation.invitation_id, later))
    await gone(store.of_token("token", later))
    assert await store.list("example.org", later, Page()) == (0, [])
    assert await store.of_addresses([invitation.email], later) == []
    again = invited(date_insert=later, expires_at=later + WEEK)
    await store.add(again, None)
    assert await store.list("example.org", later, Page()) == (1, [again])


async def test_list(store: MongoInvitations) -> None:
    """A list has the invitations to one domain, oldest first, page by page."""
    several = [invited(f"n{n}@elsewhere.example", date_insert=NOW + timedelta(seconds=n)) for n in range(3)]
    for each in reversed(several):
        await store.add(each, None)
    await store.add(invited(domain="other.example"), None)
    assert await store.list("example.org", NOW, Page()) == (3, several)
    assert await store.list("example.org", NOW, Page(limit=1, offset=1)) == (3, several[1:2])


async def test_of_addresses(store: MongoInvitations) -> None:
    """Invitations are found by the addresses, on all domains."""
    one, other = invited(), invited(domain="other.example")
    for each in (one, other, invited("somebody@elsewhere.example")):
        await store.add(each, None)
    found = await store.of_addresses([one.email, "nobody@elsewhere.example"], NOW)
    assert {each.invitation_id for each in found} == {one.invitation_id, other.invitation_id}


async def test_delete(store: MongoInvitations) -> None:
    """Who takes an invitation back names its domain too."""
    invitation = invited()
    await store.add(invitation, None)
    with pytest.raises(NotFound):
        await store.delete("other.example", invitation.invitation_id)
    await store.delete("example.org", invitation.invitation_id)
    with pytest.raises(NotFound):
        await store.delete("example.org", invitation.invitation_id)
    assert not await store.set_token(invitation.invitation_id, "token")


async def test_token(store: MongoInvitations, mongo: Mongo) -> None:
    """The last token that was set finds the invitation; the database does not have it."""
    invitation = invited()
    await store.add(invitation, None)
    for token in ("first", "second"):
        assert await store.set_token(invitation.invitation_id, token)
    assert await store.of_token("second", NOW) == invitation
    for wrong in ("first", "", "\ud800"):
        with pytest.raises(NotFound):
            await store.of_token(wrong, NOW)
    assert "second" not in str(await mongo.collection("invitations").find_one())


async def test_accept(store: MongoInvitations, of_domains: MongoDomains) -> None:
    """Of many who accept an invitation at once one gets the role, and it is gone."""
    invitation = invited()
    await store.add(invitation, None)
    accepting = (store.accept(invitation, f"user {n}") for n in range(5))
    outcomes = await asyncio.gather(*accepting, return_exceptions=True)
    assert outcomes.count(Role.VIEWER) == 1
    assert [type(each) for each in outcomes if each is not Role.VIEWER] == [NotFound] * 4
    roles = (await of_domains.get("example.org")).roles
    assert sorted(roles.values()) == [Role.OWNER, Role.VIEWER]
    assert await store.list("example.org", NOW, Page()) == (0, [])


@pytest.mark.parametrize("present", [None, *Role])
@pytest.mark.parametrize("role", list(Role))
async def test_higher_role(
    store: MongoInvitations, of_domains: MongoDomains, present: Role | None, role: Role
) -> None:
    """Accepting raises a role and lowers none."""
    if present:
        await of_domains.save(DOMAIN, replace(DOMAIN, roles={**DOMAIN.roles, "user": present}))
    await store.add(invitation := invited(role=role), None)
    higher = max([role, present or role], key=lambda each: each.rank)
    assert await store.accept(invitation, "user") is higher
    assert (await of_domains.get("example.org")).roles == {"owner": Role.OWNER, "user": higher}


async def test_void(store: MongoInvitations, of_domains: MongoDomains) -> None:
    """What somebody has invited to who could not any more gets no token, and stands in nobody's way."""
    lowered = replace(DOMAIN, roles={**DOMAIN.roles, "helper": Role.VIEWER})
    await of_domains.save(DOMAIN, lowered)
    await store.add(void := invited(invited_by="helper"), None)
    assert not await store.set_token(void.invitation_id, "token")
    await store.add(good := invited(), None)
    assert await store.list("example.org", NOW, Page()) == (1, [good])
    assert await store.set_token(good.invitation_id, "token")


async def test_two_at_once(store: MongoInvitations, of_domains: MongoDomains) -> None:
    """Many who accept invitations to one domain at once all get their roles."""
    several = [invited(f"n{n}@elsewhere.example") for n in range(5)]
    for each in several:
        await store.add(each, None)
    await asyncio.gather(*(store.accept(each, each.email) for each in several))
    roles = (await of_domains.get("example.org")).roles
    assert roles == {"owner": Role.OWNER} | dict.fromkeys((each.email for each in several), Role.VIEWER)


async def test_full(store: MongoInvitations, of_domains: MongoDomains) -> None:
    """A domain with as many managers as it may have takes no more; there a role can still be raised."""
    others = {f"user {n}": Role.VIEWER for n in range(MOST_ACCESSES - 1)}
    await of_domains.save(DOMAIN, replace(DOMAIN, roles={**DOMAIN.roles, **others}))
    await store.add(invitation := invited(role=Role.OWNER), None)
    with pytest.raises(Conflict):
        await store.accept(invitation, "one more")
    assert await store.get("example.org", invitation.invitation_id, NOW) == invitation
    assert await store.accept(invitation, "user 7") is Role.OWNER
