"""The store of mailboxes: versions, claims, the domain that they wait for, the identity that goes with them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from gateway.domain import Domain, DomainStatus
from gateway.errors import Conflict, Forbidden, NotFound
from gateway.identity import Credentials, IdentityStatus
from gateway.mailbox import Mailbox, MailboxStatus, begun, created, not_created, settled
from gateway.ports import Page
from gateway.work import LEASE
from storage.domains import MAILBOXES
from storage.mongo import Mongo
from tests.hosting import NAME, NOW, Hosting, a_hosting, local_identity


@pytest.fixture
async def hosting(mongo: Mongo, tmp_path: Path) -> Hosting:
    """The store under test, with what it needs."""
    return await a_hosting(mongo, tmp_path)


def a_mailbox(local_part: str = "me", user_id: str | None = None) -> Mailbox:
    """Return a mailbox that waits for its domain."""
    return Mailbox(
        mailbox_id="0189e0f4-2a3b-4c5d-8e9f-0a1b2c3d4e5f" if local_part == "me" else local_part,
        domain=NAME,
        local_part=local_part,
        first_name="Ada",
        last_name="Grüße",
        display_name="Ada Grüße",
        secondary_email=None,
        user_id=user_id,
        status=MailboxStatus.PENDING,
        date_insert=NOW,
    )


async def add(hosting: Hosting, mailbox: Mailbox | None = None) -> Mailbox:
    """Store a mailbox."""
    wanted = mailbox or a_mailbox()
    return await hosting.mailboxes.add(NAME, lambda _: wanted)


async def saved(hosting: Hosting, before: Mailbox, after: Mailbox) -> Mailbox:
    """Store a change that nobody is in the way of."""
    stored = await hosting.mailboxes.save(before, after)
    assert stored
    assert stored == await hosting.mailboxes.get(NAME, before.local_part)
    return stored


async def test_round_trip(hosting: Hosting) -> None:
    """What is stored comes back equal, also while it is held."""
    await hosting.host()
    mailbox = await add(hosting)
    assert await hosting.mailboxes.get(NAME, "me") == mailbox
    held = begun(replace(mailbox, secondary_email="me@elsewhere.example", user_id="u", error="e"), NOW)
    assert await saved(hosting, mailbox, held) == replace(held, version=1)
    for domain, local_part in ((NAME, "you"), ("other.example", "me")):
        with pytest.raises(NotFound):
            await hosting.mailboxes.get(domain, local_part)


async def test_add(hosting: Hosting) -> None:
    """What is stored is what the domain admits, once; without the domain it is nothing."""
    with pytest.raises(NotFound):
        await add(hosting)
    await hosting.host()

    def refuse(domain: Domain) -> Mailbox:
        assert domain.name == NAME
        raise Forbidden("No.")

    with pytest.raises(Forbidden):
        await hosting.mailboxes.add(NAME, refuse)
    assert (await hosting.mailboxes.list(NAME, Page()))[0] == 0
    await add(hosting)
    with pytest.raises(Conflict):
        await add(hosting, replace(a_mailbox("you"), local_part="me"))


async def test_many_at_once(hosting: Hosting) -> None:
    """Many that are added at once to one domain are all there."""
    await hosting.host()
    names = [f"m{number:02}" for number in range(20)]
    await asyncio.gather(*(add(hosting, a_mailbox(name)) for name in names))
    total, found = await hosting.mailboxes.list(NAME, Page(limit=5, offset=10))
    assert (total, [each.local_part for each in found]) == (20, names[10:15])


async def test_none_is_forgotten(hosting: Hosting) -> None:
    """What is added while the domain becomes enabled is due, whichever comes first."""
    await hosting.host(DomainStatus.PENDING)

    def admit(local_part: str, domain: Domain) -> Mailbox:
        waits = a_mailbox(local_part)
        return replace(waits, due_at=NOW) if domain.status is DomainStatus.ENABLED else waits

    await asyncio.gather(
        *(hosting.mailboxes.add(NAME, partial(admit, str(n))) for n in range(10)),
        hosting.set_status(DomainStatus.ENABLED),
        *(hosting.mailboxes.add(NAME, partial(admit, str(n))) for n in range(10, 20)),
    )
    assert len(await hosting.mailboxes.claim("o", NOW, LEASE, 100)) == 20


async def test_claim(hosting: Hosting) -> None:
    """What is due is claimed once, counted, and held until its lease ends; then another has it."""
    await hosting.host(DomainStatus.PENDING)
    waits = await add(hosting)
    assert not await hosting.mailboxes.claim("o", NOW, LEASE, 10)
    await hosting.set_status(DomainStatus.ENABLED)
    (first,) = await hosting.mailboxes.claim("one", NOW, LEASE, 10)
    assert first == replace(waits, held=True, attempts=1, due_at=NOW + LEASE, version=1)
    assert not await hosting.mailboxes.claim("two", NOW, LEASE, 10)
    await hosting.mailboxes.renew([("one", first), ("two", first)], NOW + 2 * LEASE)
    assert not await hosting.mailboxes.claim("two", NOW + LEASE, LEASE, 10)
    (second,) = await hosting.mailboxes.claim("two", NOW + 2 * LEASE, LEASE, 10)
    assert second.attempts == 2
    assert await hosting.mailboxes.save(first, created(first)) is None
    stored = await saved(hosting, second, created(second))
    assert (stored.status, stored.held, stored.due_at) == (MailboxStatus.ENABLED, False, None)


async def test_release(hosting: Hosting) -> None:
    """What is handed back is due at once; by who does not hold it, nothing is."""
    await hosting.host()
    await add(hosting, replace(a_mailbox(), due_at=NOW))
    (first,) = await hosting.mailboxes.claim("one", NOW, LEASE, 10)
    await hosting.mailboxes.release([("two", first)], NOW)
    assert not await hosting.mailboxes.claim("two", NOW, LEASE, 10)
    await hosting.mailboxes.release([("one", first)], NOW)
    assert len(await hosting.mailboxes.claim("two", NOW, LEASE, 10)) == 1


async def test_save(hosting: Hosting) -> None:
    """Of several changes of one version one is stored, and leaves alone what it does not change."""
    await hosting.host(DomainStatus.PENDING)
    before = await add(hosting)
    after = replace(before, first_name="Eve")
    await hosting.set_status(DomainStatus.ENABLED)  # makes it due
    outcomes = await asyncio.gather(*(hosting.mailboxes.save(before, after) for _ in range(5)))
    assert sum(outcome is not None for outcome in outcomes) == 1
    stored = await hosting.mailboxes.get(NAME, "me")
    assert (stored.first_name, stored.due_at) == ("Eve", NOW)


@pytest.mark.parametrize("status", list(DomainStatus))
async def test_coming_to_wait(hosting: Hosting, status: DomainStatus) -> None:
    """A mailbox that comes to wait for its domain is due at once if the domain is enabled by then."""
    await hosting.host(status)
    disabled = await add(hosting, settled(a_mailbox(), MailboxStatus.DISABLED))
    failed = await add(hosting, settled(a_mailbox("failed"), MailboxStatus.FAILED, error="Never."))
    await add(hosting, begun(a_mailbox("claimed"), NOW - LEASE))
    (claimed,) = await hosting.mailboxes.claim("o", NOW - LEASE, LEASE, 10)
    for before, after in (
        (disabled, settled(disabled, MailboxStatus.PENDING)),
        (failed, settled(failed, MailboxStatus.PENDING)),
        (claimed, not_created(claimed, MailboxStatus.PENDING)),
    ):
        stored = await saved(hosting, before, after)
        assert stored.due_at == (NOW if status is DomainStatus.ENABLED else None)


async def test_delete(hosting: Hosting) -> None:
    """A mailbox is removed once, if it is as it was read."""
    await hosting.host()
    mailbox = await add(hosting)
    stored = await saved(hosting, mailbox, replace(mailbox, first_name="Eve"))
    assert not await hosting.mailboxes.delete(mailbox)
    assert await hosting.mailboxes.delete(stored)
    assert not await hosting.mailboxes.delete(stored)
    with pytest.raises(NotFound):
        await hosting.mailboxes.get(NAME, "me")


async def test_identity(hosting: Hosting) -> None:
    """The identity comes, changes, goes and comes back with the mailbox, and is checked where it is active."""
    await hosting.host()
    user, other = await hosting.user("one"), await hosting.user("two")
    mailbox = await add(hosting, a_mailbox(user_id=user))
    assert not await hosting.identities_of(user)

    async def shown(user_id: str) -> list[tuple[str, str, str, bool]]:
        return [
            (each.identifier, each.display_name, each.status.value, each.check_at == NOW)
            for each in await hosting.identities_of(user_id)
        ]

    mailbox = await saved(hosting, mailbox, created(mailbox))
    assert await shown(user) == [(f"me@{NAME}", "Ada Grüße", "active", True)]
    mailbox = await saved(hosting, mailbox, replace(mailbox, display_name="Eve"))
    assert await shown(user) == [(f"me@{NAME}", "Eve", "active", True)]
    mailbox = await saved(hosting, mailbox, settled(mailbox, MailboxStatus.DISABLED))
    assert await shown(user) == [(f"me@{NAME}", "Eve", "inactive", False)]
    mailbox = await saved(hosting, mailbox, replace(mailbox, user_id=other))
    assert (await shown(user), len(await shown(other))) == ([], 1)
    mailbox = await saved(hosting, mailbox, replace(settled(mailbox, MailboxStatus.ENABLED), user_id=user))
    assert await shown(user) == [(f"me@{NAME}", "Eve", "active", True)]
    assert await shown(other) == []
    assert await hosting.mailboxes.delete(mailbox)
    assert await shown(user) == []


async def test_no_change_of_the_identity(hosting: Hosting) -> None:
    """What workers know of an identity stays where a change of the mailbox is none of the identity."""
    await hosting.host()
    user = await hosting.user()
    mailbox = await saved(hosting, added := await add(hosting, a_mailbox(user_id=user)), created(added))
    (identity,) = await hosting.identities_of(user)
    checked = replace(identity, status=IdentityStatus.INACTIVE, check_at=None, infos={"inactivereason": "x"})
    assert await hosting.identities.record_check(identity, checked)
    await saved(hosting, mailbox, replace(mailbox, secondary_email="me@elsewhere.example"))
    (kept,) = await hosting.identities_of(user)
    assert (kept.status, kept.infos) == (checked.status, checked.infos)


async def test_identity_of_the_user_already(hosting: Hosting) -> None:
    """An identity of that address that the user has by himself stays as it is, whatever becomes of the mailbox."""
    await hosting.host()
    user = await hosting.user()
    own = local_identity(user, f"me@{NAME}")
    await hosting.identities.add(own, Credentials({}))
    mailbox = await saved(hosting, added := await add(hosting, a_mailbox(user_id=user)), created(added))
    mailbox = await saved(hosting, mailbox, settled(mailbox, MailboxStatus.DISABLED))
    assert await hosting.identities_of(user) == [own]
    await hosting.mailboxes.delete(mailbox)
    assert await hosting.identities_of(user) == [own]


async def test_identity_after_the_users_own(hosting: Hosting) -> None:
    """When the identity that the user had by himself is gone, a mailbox that is enabled again brings one."""
    await hosting.host()
    user = await hosting.user()
    own = local_identity(user, f"me@{NAME}")
    await hosting.identities.add(own, Credentials({}))
    mailbox = await saved(hosting, added := await add(hosting, a_mailbox(user_id=user)), created(added))
    await hosting.identities.delete(own, exactly=False)
    mailbox = await saved(hosting, mailbox, settled(mailbox, MailboxStatus.DISABLED))
    await saved(hosting, mailbox, settled(mailbox, MailboxStatus.ENABLED))
    (identity,) = await hosting.identities_of(user)
    assert (identity.identity_id != own.identity_id, identity.status, identity.check_at) == (
        True,
        IdentityStatus.ACTIVE,
        NOW,
    )


async def test_newer_documents(hosting: Hosting, mongo: Mongo) -> None:
    """What a newer version wrote besides what we know is ignored."""
    await hosting.host()
    mailbox = await add(hosting)
    await mongo.collection(MAILBOXES).update_one({}, {"$set": {"new": 1}})
    assert await hosting.mailboxes.get(NAME, "me") == mailbox


async def test_indexes_serve_the_queries(hosting: Hosting, mongo: Mongo) -> None:
    """Claiming, listing and releasing read an index, never the whole collection."""
    await hosting.host()
    await add(hosting)
    for where, sort in (
        ({"due_at": {"$lte": NOW}}, {"due_at": 1}),
        ({"domain": NAME}, {"local_part": 1}),
        ({"user_id": "u"}, {}),
    ):
        command = {"find": MAILBOXES, "filter": where, "sort": sort}
        plan = await mongo.database.command("explain", command, verbosity="queryPlanner")
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
        assert "'SORT'" not in str(plan["queryPlanner"]["winningPlan"])
