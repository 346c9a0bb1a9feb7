"""The store of identities: whose check is due, and what a check may change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.config import NetworkSection
from gateway.identity import (
    Credentials,
    Endpoint,
    IdentityStatus,
    IdentityType,
    SignIn,
    TLSMode,
    UserIdentity,
)
from gateway.ports import ROOM, Adapter, Outside, Page, Portions, Room
from gateway.route import Routing
from protocols.network import Network
from protocols.smtp import SmtpAdapter
from storage import identities, secrets
from storage.identities import MongoIdentities
from storage.mongo import Mongo
from storage.secrets import Vault
from tests.users import exist

NOW = datetime(2026, 7, 20, tzinfo=UTC)
LEASE = timedelta(seconds=60)
NONE = Credentials({})


@pytest.fixture
async def store(mongo: Mongo, tmp_path: Path) -> MongoIdentities:
    """The store under test."""
    await mongo.ensure_indexes(identities.INDEXES | secrets.INDEXES)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    await exist(mongo, "u", "v")
    return MongoIdentities(mongo, vault, lambda: NOW)


def identity(name: str = "me", host: str = "mail.example", check_at: datetime | None = NOW) -> UserIdentity:
    """Return an identity whose servers are at that host."""
    return UserIdentity(
        identity_id=str(uuid4()),
        user_id="u",
        type=IdentityType.REMOTE,
        protocol="smtp",
        identifier=f"{name}@example.org",
        display_name=name,
        status=IdentityStatus.ACTIVE,
        infos={"outserver": host},
        last_check=None,
        check_at=check_at,
    )


async def add(store: MongoIdentities, *several: UserIdentity) -> None:
    """Store identities."""
    for each in several:
        await store.add(each, NONE)


async def test_servers_and_credentials_together(store: MongoIdentities) -> None:
    """A password goes to the servers that it is stored with, not to those that were read before it came."""
    before = identity(host="smtp.elsewhere.example")
    await store.add(before, Credentials({"inusername": "me", "inpassword": "no matter"}))
    changed = replace(before, infos={"outserver": "smtp.example.org"})
    assert await store.change(
        before, changed, Credentials({"inusername": "me", "inpassword": "mine"}), exactly=True
    )
    smtp = SmtpAdapter(Network(NetworkSection()), "gateway.example")
    routing = Routing(store, Outside({"smtp": Adapter(smtp)}, Endpoint("relay", 25, TLSMode.NONE)))
    outgoing = (await routing.of(before)).outgoing
    assert (outgoing.host, outgoing.sign_in) == ("smtp.example.org", SignIn("me", "mine"))


async def test_claim(store: MongoIdentities) -> None:
    """What is due is claimed, longest due first, and belongs to its owner until the lease ends."""
    early, due = identity("early", check_at=NOW - LEASE), identity("due")
    await add(store, identity("later", check_at=NOW + LEASE), due, early, identity("never", check_at=None))
    assert [each.identifier for each in await store.claim("o", NOW, LEASE, 1, ROOM)] == ["early@example.org"]
    assert [each.identifier for each in await store.claim("p", NOW, LEASE, 9, ROOM)] == ["due@example.org"]
    assert await store.claim("q", NOW, LEASE, 9, ROOM) == []
    assert len(await store.claim("q", NOW + LEASE, LEASE, 9, ROOM)) == 3


async def test_claims_share_the_work(store: MongoIdentities) -> None:
    """Of many claims at once each identity goes to one."""
    await add(store, *(identity(f"n{n}") for n in range(20)))
    claims = await asyncio.gather(*(store.claim(f"o{n}", NOW, LEASE, 20, ROOM) for n in range(5)))
    claimed = [each.identity_id for claim in claims for each in claim]
    assert len(claimed) == len(set(claimed)) == 20


async def test_room(store: MongoIdentities) -> None:
    """Of a host no more are claimed than it has room for, and those of others behind it are."""
    slow = [identity(f"s{n}", "slow.example", NOW - LEASE) for n in range(10)]
    await add(store, *slow, *(identity(f"q{n}", "quick.example") for n in range(3)))
    claimed = await store.claim("o", NOW, LEASE, 5, Room(per_host=5, busy={"slow.example": 3}))
    assert sorted(each.hosts for each in claimed) == [("quick.example",)] * 3 + [("slow.example",)] * 2


async def test_room_at_either_server(store: MongoIdentities) -> None:
    """An account takes room of both its hosts, and is passed over where one of them has none."""
    busy = {"slow.example": 5}
    accounts = [
        replace(identity(name), protocol="imap", infos={"inserver": incoming, "outserver": outgoing})
        for name, incoming, outgoing in (
            ("one", "fresh1.example", "slow.example"),
            ("two", "slow.example:143", "fresh2.example"),
            ("both", "imap.example", "smtp.example"),
            ("more", "other.example", "smtp.example"),
        )
    ]
    await add(store, *accounts)
    claimed = await store.claim("o", NOW, LEASE, 9, Room(5, busy))
    assert sorted(each.identifier for each in claimed) == ["both@example.org", "more@example.org"]
    await store.release([("o", each) for each in claimed], NOW)
    (one,) = await store.claim("p", NOW, LEASE, 9, Room(5, busy | {"smtp.example": 4}))
    assert "smtp.example" in one.hosts


async def test_stored_by_an_older_version(store: MongoIdentities, mongo: Mongo) -> None:
    """What tells one host only is claimed by that, also while there is no room for local identities."""
    await add(store, *(identity(f"n{n}") for n in range(9)))
    await mongo.collection("identities").update_many({}, {"$unset": {"other_host": ""}})
    assert len(await store.claim("o", NOW, LEASE, 2, Room(5, {"": 5, "mail.example": 4}))) == 1
    assert len(await store.claim("o", NOW, LEASE, 9, ROOM)) == 8


async def test_renew(store: MongoIdentities) -> None:
    """Who holds a lease can extend it, or end it; who does not cannot."""
    await add(store, identity())
    (held,) = await store.claim("o", NOW, LEASE, 1, ROOM)
    await store.renew([("other", held)], NOW)
    assert await store.claim("p", NOW, LEASE, 1, ROOM) == []
    await store.renew([("o", held)], NOW + 3 * LEASE)
    assert await store.claim("p", NOW + 2 * LEASE, LEASE, 1, ROOM) == []
    await store.renew([("o", held)], NOW)
    assert len(await store.claim("p", NOW, LEASE, 1, ROOM)) == 1


async def test_record_check(store: MongoIdentities) -> None:
    """A check is recorded on the identity that was checked, and ends the lease."""
    await add(store, identity())
    (held,) = await store.claim("o", NOW, LEASE, 1, ROOM)
    infos = {**held.infos, "unseen": "3"}
    checked = replace(held, infos=infos, last_check=NOW, check_at=NOW + 5 * LEASE, refusals=1)
    assert await store.record_check(held, checked)
    assert await store.get("u", held.identity_id) == checked
    await store.renew([("o", held)], NOW)
    assert await store.claim("p", NOW, LEASE, 1, ROOM) == []


async def test_client_wins(store: MongoIdentities) -> None:
    """What a client changes during a check makes its outcome void; the other way round nothing is lost."""
    await add(store, identity())
    (held,) = await store.claim("o", NOW, LEASE, 1, ROOM)
    assert await store.change(held, replace(held, display_name="New", check_at=NOW), None, exactly=False)
    given_up = replace(held, status=IdentityStatus.INACTIVE, last_check=NOW, check_at=None)
    assert not await store.record_check(held, given_up)
    after = await store.get("u", held.identity_id)
    assert (after.display_name, after.status, after.check_at) == ("New", IdentityStatus.ACTIVE, NOW)
    assert await store.record_check(after, replace(after, last_check=NOW, check_at=NOW + LEASE))
    assert await store.change(after, replace(after, display_name="Newer"), None, exactly=False)
    last = await store.get("u", held.identity_id)
    assert (last.display_name, last.last_check, last.check_at) == ("Newer", NOW, NOW + LEASE)


async def test_given_up_is_a_change(store: MongoIdentities) -> None:
    """A client that has not seen that the checks gave an identity up does not overrule that unknowingly."""
    await add(store, identity())
    seen = (await store.claim("o", NOW, LEASE, 1, ROOM))[0]
    assert await store.record_check(seen, replace(seen, status=IdentityStatus.INACTIVE, check_at=None))
    assert not await store.change(seen, replace(seen, display_name="New"), None, exactly=False)


async def test_check_now(store: MongoIdentities) -> None:
    """What is checked at some time can be put up for a check at once; what is not checked at all cannot."""
    later, never = identity("later", check_at=NOW + LEASE), identity("never", check_at=None)
    await add(store, later, never)
    for each in (later, never):
        await store.check_now(each, NOW)
    assert [each.identifier for each in await store.claim("o", NOW, LEASE, 9, ROOM)] == ["later@example.org"]


async def test_backlog(store: MongoIdentities) -> None:
    """What is due is counted, up to a bound, with what has waited longest."""
    assert await store.backlog(NOW, 10) == (0, None)
    await add(store, identity("a", check_at=NOW - LEASE), identity("b"), identity("c", check_at=NOW + LEASE))
    count, oldest = await store.backlog(NOW, 10)
    assert (count, oldest and oldest.identifier) == (2, "a@example.org")
    assert (await store.backlog(NOW, 1))[0] == 1


async def test_claims_use_the_index(store: MongoIdentities, mongo: Mongo) -> None:
    """Finding what is due reads the due ones and no others, however many identities there are."""
    await add(store, *(identity(f"n{n}", check_at=NOW + LEASE) for n in range(50)), identity("due"))
    await mongo.database.command("profile", 2)
    assert len(await store.claim("o", NOW, LEASE, 10, Room(5, {"slow.example": 5}))) == 1
    await mongo.database.command("profile", 0)
    finding = await mongo.collection("system.profile").find_one({"command.filter.check_at": {"$exists": True}})
    assert finding
    assert finding["keysExamined"] <= 3
    assert finding["docsExamined"] <= 1


async def test_a_lease_brings_nothing_back(store: MongoIdentities) -> None:
    """What a client deletes or makes inactive during its check is not put up for a check by the lease's renewal."""
    one, two = identity("one"), identity("two")
    await add(store, one, two)
    held = [("o", each) for each in await store.claim("o", NOW, LEASE, 9, ROOM)]
    await store.delete(one, exactly=False)
    before = await store.get("u", two.identity_id)
    after = replace(before, status=IdentityStatus.INACTIVE, check_at=None)
    assert await store.change(before, after, None, exactly=False)
    await store.renew(held, NOW)
    assert await store.claim("p", NOW + LEASE, LEASE, 9, ROOM) == []


async def test_a_rename_keeps_the_count(store: MongoIdentities) -> None:
    """A client's change that has nothing to do with checks keeps what they count meanwhile."""
    await add(store, identity())
    (held,) = await store.claim("o", NOW, LEASE, 1, ROOM)
    assert await store.record_check(held, replace(held, refusals=2, last_check=NOW, check_at=NOW + LEASE))
    assert await store.change(held, replace(held, display_name="New"), None, exactly=False)
    assert (await store.get("u", held.identity_id)).refusals == 2


def local(name: str, user_id: str = "u", status: IdentityStatus = IdentityStatus.ACTIVE) -> UserIdentity:
    """Return a local identity."""
    return replace(identity(name), type=IdentityType.LOCAL, user_id=user_id, status=status, infos={})


async def test_owner(store: MongoIdentities) -> None:
    """An address belongs to the user who has it as an active local identity, and to no other."""
    await add(
        store,
        local("mine"),
        local("mine-too"),
        local("theirs", "v"),
        local("idle", status=IdentityStatus.INACTIVE),
        gone := local("gone"),
        identity("remote"),
    )
    await store.delete(gone, exactly=False)
    assert sorted(await store.addresses("u")) == ["mine-too@example.org", "mine@example.org"]
    assert await store.owner("theirs@example.org") == "v"
    for name in ("idle", "gone", "remote", "unknown"):
        assert await store.owner(f"{name}@example.org") is None


async def test_put(store: MongoIdentities) -> None:
    """What is put is there once, as it was put last, whoever puts it at the same time."""
    mine = local("first")
    await asyncio.gather(*(store.put(mine) for _ in range(5)))
    await store.put(replace(mine, identifier="second@example.org"))
    assert await store.list("u", {}, Page()) == (1, Portions([replace(mine, identifier="second@example.org")]))
