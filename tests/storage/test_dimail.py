"""API clients, their allows and the key of their tokens, in a real database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.api_client import Allow, ApiClient, Perm
from gateway.errors import Conflict, NotFound
from storage import dimail, secrets
from storage.dimail import SETTINGS, MongoApiClients
from storage.mongo import Mongo
from storage.rotation import Rotation
from storage.secrets import Vault


@pytest.fixture
async def vault(mongo: Mongo, tmp_path: Path) -> Vault:
    """What seals the key."""
    await mongo.ensure_indexes(dimail.INDEXES | secrets.INDEXES)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    return vault


@pytest.fixture
def clients(mongo: Mongo, vault: Vault) -> MongoApiClients:
    """The store, empty."""
    return MongoApiClients(mongo, vault)


def client(name: str, *, is_admin: bool = False, perms: frozenset[Perm] = frozenset()) -> ApiClient:
    """Return an account."""
    return ApiClient(name, str(uuid4()), is_admin, perms, "a hash")


async def test_accounts(clients: MongoApiClients) -> None:
    """An account is read as it was stored; a name is there once."""
    somebody = client("somebody", perms=frozenset(Perm))
    await clients.add(somebody)
    assert await clients.find("somebody") == somebody
    assert await clients.list() == [somebody]
    with pytest.raises(Conflict):
        await clients.add(client("somebody"))
    assert await clients.find("nobody") is None


async def test_the_first(clients: MongoApiClients) -> None:
    """Of many first ones at once one is stored; when there is one, nobody is first any more."""
    assert await clients.is_empty()
    firsts = await asyncio.gather(*(clients.add_first(client(f"c{number}")) for number in range(20)))
    assert firsts.count(True) == 1
    assert not await clients.is_empty()
    assert len(await clients.list()) == 1
    assert not await clients.add_first(client("another"))


async def test_the_first_by_one_name(clients: MongoApiClients) -> None:
    """Also where they all want the same name."""
    firsts = await asyncio.gather(*(clients.add_first(client("admin")) for _ in range(20)))
    assert firsts.count(True) == 1


async def test_changes(clients: MongoApiClients) -> None:
    """An account is changed and deleted as it was read, or not at all."""
    before, other = client("somebody"), client("other")
    await clients.add(before)
    await clients.add(other)
    after = replace(before, perms=frozenset({Perm.NEW_DOMAIN}), password_hash=None)
    assert await clients.change(before, after)
    assert not await clients.change(before, replace(before, is_admin=True))
    assert not await clients.delete(before)
    assert await clients.find("somebody") == after
    assert await clients.delete(after)
    assert not await clients.delete(after)


async def test_the_last(clients: MongoApiClients) -> None:
    """The last administrator stays one; and somebody stays, at all events."""
    admin, somebody = client("admin", is_admin=True), client("somebody")
    await clients.add(somebody)
    with pytest.raises(Conflict):
        await clients.delete(somebody)
    await clients.add(admin)
    with pytest.raises(Conflict):
        await clients.delete(admin)
    with pytest.raises(Conflict):
        await clients.change(admin, replace(admin, is_admin=False))
    assert await clients.change(admin, replace(admin, password_hash="another"))
    assert await clients.delete(somebody)


async def test_two_take_each_other_away(clients: MongoApiClients) -> None:
    """Of administrators who are taken away at once one stays."""
    admins = [client(f"admin-{number}", is_admin=True) for number in range(5)]
    for admin in admins:
        await clients.add(admin)
    taken = [clients.delete(admin) for admin in admins[:3]]
    lowered = [clients.change(admin, replace(admin, is_admin=False)) for admin in admins[3:]]
    outcomes = await asyncio.gather(*taken, *lowered, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 1
    assert [each.is_admin for each in await clients.list()].count(True) == 1


async def test_allows(clients: MongoApiClients) -> None:
    """An allow is of an account that is there, is there once, and goes with its account."""
    allow, other = Allow("somebody", "a.example"), Allow("other", "a.example")
    with pytest.raises(NotFound):
        await clients.allow(allow)
    somebody = client("somebody")
    for each in (somebody, client("other")):
        await clients.add(each)
    assert not await clients.is_allowed(allow)
    outcomes = await asyncio.gather(*(clients.allow(allow) for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 4
    await clients.allow(other)
    assert await clients.is_allowed(allow)
    assert await clients.allows(None, None) == await clients.allows(None, "a.example") == [other, allow]
    assert await clients.allows("somebody", None) == [allow]
    assert await clients.allows("somebody", "b.example") == []
    assert await clients.delete(somebody)
    assert await clients.allows(None, None) == [other]
    await clients.disallow(other)
    with pytest.raises(NotFound):
        await clients.disallow(other)


async def test_no_allow_of_a_deleted_account(clients: MongoApiClients) -> None:
    """Who is deleted while an allow is given has none afterwards."""
    somebody = client("somebody")
    for each in (somebody, client("other")):
        await clients.add(each)
    await asyncio.gather(
        clients.delete(somebody), clients.allow(Allow("somebody", "a.example")), return_exceptions=True
    )
    assert await clients.allows(None, None) == []


async def test_the_key(clients: MongoApiClients, mongo: Mongo, vault: Vault) -> None:
    """All processes have the same key, also those that ask for it first at the same time; it is stored sealed."""
    stores = [clients, *(MongoApiClients(mongo, vault) for _ in range(9))]
    keys = set(await asyncio.gather(*(store.signing_key() for store in stores)))
    assert len(keys) == 1
    stored = await mongo.collection(SETTINGS).find().to_list(None)
    assert len(stored) == 1
    assert keys.pop().encode() not in stored[0]["credentials"]["key"]


async def test_the_key_when_keys_are_rotated(clients: MongoApiClients, mongo: Mongo, vault: Vault) -> None:
    """A rotation of the master and data keys leaves tokens good."""
    before = await clients.signing_key()
    sealed = await mongo.collection(SETTINGS).find_one({})
    _ = [step async for step in Rotation(mongo, vault, grace_s=0).run()]
    assert await mongo.collection(SETTINGS).find_one({}) != sealed
    assert await clients.signing_key() == before
