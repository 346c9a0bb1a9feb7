"""The store of users: both documents or neither."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.errors import Conflict, NotFound
from gateway.identity import Credentials, IdentityStatus, IdentityType, UserIdentity
from gateway.ports import Page, system_clock
from gateway.user import User
from storage import identities, secrets, users
from storage.identities import MongoIdentities
from storage.mongo import Mongo
from storage.secrets import Vault
from storage.users import MongoUsers

NOW = datetime(2026, 7, 20, tzinfo=UTC)


@pytest.fixture
async def stores(mongo: Mongo, tmp_path: Path) -> tuple[MongoUsers, MongoIdentities]:
    """The stores under test."""
    await mongo.ensure_indexes(users.INDEXES | identities.INDEXES | secrets.INDEXES)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    stored = MongoIdentities(mongo, vault, system_clock)
    return MongoUsers(mongo, stored), stored


def someone(username: str = "Someone") -> tuple[User, UserIdentity]:
    """Return a user with a first identity."""
    user = User(str(uuid4()), username, "Some One", "me@example.org", NOW)
    identity = UserIdentity(
        str(uuid4()),
        user.user_id,
        IdentityType.LOCAL,
        "smtp",
        f"{username.lower()}@home.example",
        "Some One",
        IdentityStatus.ACTIVE,
        {},
        None,
    )
    return user, identity


async def test_round_trip(stores: tuple[MongoUsers, MongoIdentities]) -> None:
    """A user is found by id and by name in any case, and its identity by its user."""
    users_store, identities_store = stores
    user, identity = someone()
    await users_store.add(user, "hash", identity)
    assert await users_store.get(user.user_id) == user
    assert await users_store.find("sOMEONE") == (user, "hash")
    assert await users_store.find("nobody") is None
    assert await identities_store.list(user.user_id, {}, Page()) == (1, [identity])
    assert await identities_store.credentials(user.user_id, identity.identity_id) == Credentials({})
    with pytest.raises(NotFound):
        await users_store.get(str(uuid4()))


async def test_neither(stores: tuple[MongoUsers, MongoIdentities], mongo: Mongo) -> None:
    """Where the name is taken, or the identity cannot be stored, neither document is there."""
    users_store, _ = stores
    user, identity = someone()
    await users_store.add(user, "hash", identity)
    with pytest.raises(Conflict):
        await users_store.add(*_with_hash(someone("someone")))
    other, _ = someone("other")
    with pytest.raises(Conflict):  # the identity's id is taken
        await users_store.add(other, "hash", identity)
    assert await mongo.collection("users").count_documents({}) == 1
    assert await mongo.collection("identities").count_documents({}) == 1


def _with_hash(pair: tuple[User, UserIdentity]) -> tuple[User, str, UserIdentity]:
    return pair[0], "hash", pair[1]
