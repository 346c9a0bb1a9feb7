"""The store of domains: who manages them, what a check may change, and whose check is due."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.api_client import Allow, ApiClient
from gateway.domain import DkimKey, Domain, DomainCheck, DomainStatus, Fault, Feature, Record
from gateway.errors import Conflict, NotFound
from gateway.ports import Page
from gateway.roles import Role
from storage import dimail, domains, secrets
from storage.dimail import MongoApiClients
from storage.domains import MongoDomains
from storage.mongo import Mongo, Session
from storage.secrets import Vault
from tests.users import exist

NOW = datetime(2026, 7, 20, tzinfo=UTC)
LEASE = timedelta(seconds=60)
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----"


@pytest.fixture
async def store(mongo: Mongo, tmp_path: Path) -> MongoDomains:
    """The store under test."""
    await mongo.ensure_indexes(domains.INDEXES | secrets.INDEXES)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    await exist(mongo, "me", "you", *(f"user {n}" for n in range(8)))
    return MongoDomains(mongo, vault)


def domain(name: str = "bücher.example", **changes: Any) -> Domain:
    """Return a new domain, owned by "me", that is to be checked now."""
    return Domain(
        **{
            "name": name,
            "context": name,
            "features": (Feature.MAILBOX, Feature.ALIAS),
            "status": DomainStatus.PENDING,
            "dkim": DkimKey("dkim", "AAAA"),
            "roles": {"me": Role.OWNER},
            "date_insert": NOW,
            "checks": {},
            "check_at": NOW,
            **changes,
        }
    )


def checked(before: Domain, status: DomainStatus = DomainStatus.ENABLED) -> Domain:
    """Return what a check makes of a domain."""
    fault = Fault("no_mx", "Publish an MX.")
    return replace(
        before,
        status=status,
        checks={
            "mx": DomainCheck(internal=False, faults=(fault,)),
            "cert": DomainCheck(internal=True),
        },
        records=(Record("", "mx", "mx.home.example."), Record("imap", "cname", "imap.home.example.")),
        last_check=NOW,
        check_at=NOW + timedelta(hours=1),
    )


async def add(store: MongoDomains, *several: Domain) -> None:
    """Store domains."""
    for each in several:
        await store.add(each, PRIVATE_KEY)


async def test_round_trip(store: MongoDomains) -> None:
    """A domain comes back as it was stored, new and checked."""
    new = domain()
    await add(store, new)
    assert await store.get(new.name) == new
    assert await store.record_check(new, checked(new))
    assert await store.get(new.name) == checked(new)
    with pytest.raises(NotFound):
        await store.get("other.example")


async def test_ours(store: MongoDomains, mongo: Mongo) -> None:
    """It is noted that a domain at the backend is ours; of older versions those are that have been hosted."""
    new = domain(ours=False)
    await add(store, new)
    assert await store.get(new.name) == new
    await store.make_ours(new.name)
    assert await store.get(new.name) == replace(new, ours=True)
    await mongo.collection("domains").update_one({}, {"$unset": {"ours": ""}})
    assert await store.get(new.name) == new
    assert await store.record_check(new, checked(new))
    assert (await store.get(new.name)).ours


async def test_other_context(store: MongoDomains) -> None:
    """A domain that is put into another context, as ours, leaves its own to whoever comes first."""
    new = domain(ours=False)
    await store.add(new, PRIVATE_KEY, founding=True)
    moved = replace(new, context="zoo", ours=True)
    assert await store.save(new, moved)
    assert await store.get(new.name) == replace(moved, version=1)
    assert await store.add(domain("other.example", context=new.context), PRIVATE_KEY, founding=True)


async def test_taken(store: MongoDomains, mongo: Mongo) -> None:
    """Of many who want a name at once one gets it."""
    each = [domain(roles={f"user {n}": Role.OWNER}) for n in range(8)]
    ended = await asyncio.gather(*(store.add(one, PRIVATE_KEY) for one in each), return_exceptions=True)
    assert [type(one) for one in ended if one is not True] == [Conflict] * 7
    assert await mongo.collection("domains").count_documents({}) == 1


async def test_founding(store: MongoDomains) -> None:
    """Of many that want to be the first of a context at once one is; the others may still come to it."""
    each = [domain(f"{n}.example", context="county") for n in range(8)]
    founded = await asyncio.gather(*(store.add(one, PRIVATE_KEY, founding=True) for one in each))
    assert sorted(founded) == [False] * 7 + [True]
    assert len(await store.of_context("county")) == 1
    late = each[founded.index(False)]
    assert await store.add(late, PRIVATE_KEY)
    assert len(await store.of_context("county")) == 2


async def test_with_an_allow(store: MongoDomains, mongo: Mongo, tmp_path: Path) -> None:
    """A domain and the allow of the client that makes it are stored both or neither."""
    await mongo.ensure_indexes(dimail.INDEXES)
    clients = MongoApiClients(mongo, Vault(mongo, tmp_path / "key"))
    with pytest.raises(NotFound):
        await store.add(domain(), PRIVATE_KEY, client="somebody")
    with pytest.raises(NotFound):
        await store.get(domain().name)
    for name in ("somebody", "other"):
        await clients.add(ApiClient(name, name, is_admin=False, perms=(), password_hash=None))
    assert await store.add(domain(), PRIVATE_KEY, founding=True, client="somebody")
    with pytest.raises(Conflict):
        await store.add(domain(), PRIVATE_KEY, client="other")
    late = domain("late.example", context=domain().context)
    assert not await store.add(late, PRIVATE_KEY, founding=True, client="other")
    assert await clients.allows(None, None) == [Allow("somebody", domain().name)]


async def test_private_key(store: MongoDomains, mongo: Mongo) -> None:
    """The DKIM key is kept, encrypted, and read by who asks for it alone."""
    await add(store, domain())
    assert await store.private_key("bücher.example") == PRIVATE_KEY
    assert "PRIVATE" not in repr(await mongo.collection("domains").find_one({}))
    assert "PRIVATE" not in repr(await store.get("bücher.example"))
    with pytest.raises(NotFound):
        await store.private_key("other.example")


async def test_list(store: MongoDomains) -> None:
    """Users see the domains on which they have a role, by name; operators see all."""
    viewed = domain("b.example", roles={"you": Role.OWNER, "me": Role.VIEWER})
    owned, others = domain("a.example"), domain("c.example", roles={"you": Role.OWNER})
    nobodys = domain("d.example", roles={})
    await add(store, viewed, owned, others, nobodys)
    assert await store.list("me", Page()) == (2, [owned, viewed])
    assert await store.list("me", Page(limit=1, offset=1)) == (2, [viewed])
    assert await store.list("nobody", Page()) == (0, [])
    assert await store.list(None, Page()) == (4, [owned, viewed, others, nobodys])


async def test_of_context(store: MongoDomains) -> None:
    """Domains are found by the space that they share."""
    first, second = domain("a.example"), domain("b.example", context="a.example")
    await add(store, first, second, domain("c.example"))
    assert sorted(each.name for each in await store.of_context("a.example")) == ["a.example", "b.example"]
    assert await store.of_context("b.example") == []


async def test_save(store: MongoDomains) -> None:
    """What people change is stored if nobody has changed the domain since it was read."""
    before = domain()
    await add(store, before)
    after = replace(
        before,
        status=DomainStatus.DISABLED,
        features=(Feature.WEBMAIL,),
        roles={"me": Role.OWNER, "you": Role.VIEWER},
        records=(Record("", "mx", "mx.home.example."),),
        check_at=NOW + LEASE,
    )
    assert await store.save(before, after)
    assert await store.get(before.name) == replace(after, version=1)
    assert not await store.save(before, before)
    assert await store.get(before.name) == replace(after, version=1)


async def test_one_of_two_changes(store: MongoDomains) -> None:
    """Of many changes of what was read at once one is stored."""
    before = domain()
    await add(store, before)
    after = replace(before, status=DomainStatus.DISABLED)
    assert sorted(await asyncio.gather(*(store.save(before, after) for _ in range(8)))) == [False] * 7 + [True]


async def test_checks_and_people(store: MongoDomains) -> None:
    """Saving leaves alone what a check has found meanwhile; a check of what people have changed is not stored."""
    before = domain()
    await add(store, before)
    assert await store.record_check(before, checked(before))
    assert await store.save(before, replace(before, features=(Feature.ALIAS,)))
    now = await store.get(before.name)
    assert now == replace(checked(before), features=(Feature.ALIAS,), version=1)
    assert not await store.record_check(before, checked(before, DomainStatus.FAILED))
    assert await store.get(before.name) == now


async def test_checks_at_once(store: MongoDomains) -> None:
    """Of several checks of what was read at once one is stored."""
    before = domain()
    await add(store, before)
    checks = (store.record_check(before, checked(before)) for _ in range(8))
    assert sorted(await asyncio.gather(*checks)) == [False] * 7 + [True]


async def test_waiting_mailboxes(store: MongoDomains, mongo: Mongo) -> None:
    """Mailboxes that wait for their domain are due when it is enabled, others are left as they are."""
    before = domain()
    await add(store, before)
    mailboxes: list[dict[str, Any]] = [
        {"_id": "waits", "local_part": "waits", "domain": before.name, "status": "pending", "due_at": None},
        {"_id": "begun", "local_part": "begun", "domain": before.name, "status": "pending", "due_at": NOW + LEASE},
        {"_id": "disabled", "local_part": "disabled", "domain": before.name, "status": "disabled", "due_at": None},
        {"_id": "other", "local_part": "other", "domain": "other.example", "status": "pending", "due_at": None},
    ]
    await mongo.collection("mailboxes").insert_many(mailboxes)
    assert await store.record_check(before, checked(before, DomainStatus.ACTION_REQUIRED))
    assert await mongo.collection("mailboxes").find().to_list(None) == mailboxes
    now = await store.get(before.name)
    stale = replace(now, version=7)
    assert not await store.record_check(stale, checked(stale))
    assert await mongo.collection("mailboxes").find().to_list(None) == mailboxes
    assert await store.record_check(now, checked(now))
    due = {each["_id"]: each["due_at"] async for each in mongo.collection("mailboxes").find()}
    assert due == {"waits": NOW, "begun": NOW + LEASE, "disabled": None, "other": None}


async def test_claim(store: MongoDomains) -> None:
    """Of many workers one gets a domain that is due, until its lease ends or it is checked."""
    await add(store, domain(), domain("later.example", check_at=NOW + 9 * LEASE))
    claims = await asyncio.gather(*(store.claim(f"owner {n}", NOW, LEASE, 5) for n in range(5)))
    assert sorted(len(claim) for claim in claims) == [0, 0, 0, 0, 1]
    (again,) = await store.claim("next", NOW + LEASE, LEASE, 5)
    await store.renew([("next", again), ("other", again)], NOW + 3 * LEASE)
    assert await store.claim("third", NOW + 2 * LEASE, LEASE, 5) == []
    await store.release([("next", again)], NOW)
    (again,) = await store.claim("third", NOW, LEASE, 5)
    assert await store.record_check(again, checked(again))
    await store.renew([("third", again)], NOW)  # late: it is the next hour's now
    assert await store.claim("fourth", NOW + 8 * LEASE, LEASE, 5) == []
    assert len(await store.claim("fourth", NOW + timedelta(hours=1), LEASE, 5)) == 2


# -- in transactions of others -------------------------------------------------------------------------------------


async def leave(store: MongoDomains, mongo: Mongo, user_id: str) -> None:
    """Take all roles of a user away."""

    async def work(session: Session) -> None:
        await store.leave(user_id, session)

    await mongo.in_transaction(work)


async def test_leave(store: MongoDomains, mongo: Mongo) -> None:
    """Who goes leaves all domains, and is known on none of them any more."""
    both = {"me": Role.OWNER, "you": Role.OWNER}
    viewed = {"me": Role.VIEWER, "you": Role.OWNER}
    await add(store, domain("a.example", roles=both), domain("b.example", roles=viewed))
    await store.check_leaving("me")
    await leave(store, mongo, "me")
    assert (await store.list("me", Page()))[0] == 0
    assert [each.roles for each in (await store.list(None, Page()))[1]] == [{"you": Role.OWNER}] * 2


async def test_last_owner(store: MongoDomains, mongo: Mongo) -> None:
    """Who is the only owner of a domain stays everywhere, and is told where."""
    both = {"me": Role.OWNER, "you": Role.OWNER}
    administered = {"me": Role.OWNER, "you": Role.ADMINISTRATOR}
    await add(store, domain("a.example", roles=both), domain("b.example", roles=administered))
    with pytest.raises(Conflict, match=r"only owner of b\.example\."):
        await store.check_leaving("me")
    with pytest.raises(Conflict, match=r"only owner of b\.example\."):
        await leave(store, mongo, "me")
    assert [each.roles for each in (await store.list("me", Page()))[1]] == [both, administered]


async def test_two_owners_leave_at_once(store: MongoDomains, mongo: Mongo) -> None:
    """Of all owners who leave at once one has to stay."""
    names = [f"user {n}" for n in range(4)]
    await add(store, domain(roles=dict.fromkeys(names, Role.OWNER)))
    ended = await asyncio.gather(*(leave(store, mongo, name) for name in names), return_exceptions=True)
    assert [type(each) for each in ended if each is not None] == [Conflict]
    assert list((await store.get("bücher.example")).roles.values()) == [Role.OWNER]


async def test_forget(store: MongoDomains, mongo: Mongo) -> None:
    """A user who has gone has no role, nor a mailbox any more; the mailbox stays, as another version."""
    await add(store, domain("a.example", roles={"you": Role.OWNER, "me": Role.VIEWER}))
    mailboxes: list[dict[str, Any]] = [
        {"_id": "mine", "local_part": "mine", "user_id": "me", "version": 3},
        {"_id": "yours", "local_part": "yours", "user_id": "you", "version": 3},
        {"_id": "nobody's", "local_part": "nobody's", "user_id": None, "version": 3},
    ]
    await mongo.collection("mailboxes").insert_many(mailboxes)
    await store.forget("me")
    assert (await store.get("a.example")).roles == {"you": Role.OWNER}
    mine, *others = await mongo.collection("mailboxes").find().to_list(None)
    assert mine == {"_id": "mine", "local_part": "mine", "user_id": None, "version": 4}
    assert others == mailboxes[1:]


async def test_hold(store: MongoDomains, mongo: Mongo) -> None:
    """Transactions that hold a domain come one after the other: no change of roles is lost."""
    await add(store, domain())

    async def give(user_id: str) -> None:
        async def work(session: Session) -> None:
            held = await store.hold("bücher.example", session)
            await store.set_roles(held, {**held.roles, user_id: Role.VIEWER}, session)

        await mongo.in_transaction(work)

    await asyncio.gather(*(give(f"user {n}") for n in range(6)))
    now = await store.get("bücher.example")
    assert (len(now.roles), now.version) == (7, 6)


async def test_hold_of_nothing(store: MongoDomains, mongo: Mongo) -> None:
    """What is not there cannot be held."""

    async def work(session: Session) -> None:
        await store.hold("other.example", session)

    with pytest.raises(NotFound):
        await mongo.in_transaction(work)
