"""The store of users: what changes together, changes together."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.errors import Conflict, NotFound
from gateway.identity import Credentials, IdentityStatus, IdentityType, UserIdentity
from gateway.ports import Page, Portions, system_clock
from gateway.roles import Role
from gateway.user import Tokens, User
from storage import domains, erasures, identities, secrets, tokens, users
from storage.domains import MongoDomains
from storage.embedded import EmbeddedMongod
from storage.erasures import MongoErasures
from storage.identities import MongoIdentities
from storage.mongo import Mongo
from storage.secrets import Vault
from storage.tokens import MongoTokens
from storage.users import MongoUsers
from tests.storage.test_domains import domain

NOW = datetime(2026, 7, 20, tzinfo=UTC)


@dataclass
class Stores:
    """The stores that change together."""

    users: MongoUsers
    identities: MongoIdentities
    tokens: MongoTokens
    erasures: MongoErasures
    domains: MongoDomains


@pytest.fixture
async def stores(mongo: Mongo, tmp_path: Path) -> Stores:
    """The stores under test."""
    for module in (users, identities, secrets, tokens, erasures, domains):
        await mongo.ensure_indexes(module.INDEXES)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    others = (
        MongoIdentities(mongo, vault, system_clock),
        MongoTokens(mongo),
        MongoErasures(mongo, {}),
        MongoDomains(mongo, vault),
    )
    return Stores(MongoUsers(mongo, *others), *others)


def pair(name: str = "one") -> Tokens:
    """Return a pair of tokens that live for a minute and an hour."""
    return Tokens(f"access-{name}", f"refresh-{name}", NOW + timedelta(minutes=1), NOW + timedelta(hours=1))


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


async def test_round_trip(stores: Stores) -> None:
    """A user is found by id and by name in any case, and its identity by its user."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    assert await stores.users.get(user.user_id) == user
    assert await stores.users.find("sOMEONE") == (user, "hash")
    assert await stores.users.find("nobody") is None
    assert await stores.identities.list(user.user_id, {}, Page()) == (1, Portions([identity]))
    found = await stores.identities.with_credentials(user.user_id, identity.identity_id)
    assert found == (identity, Credentials({}))
    with pytest.raises(NotFound):
        await stores.users.get(str(uuid4()))


async def test_names(stores: Stores) -> None:
    """The names of those who are there are found by one question."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    assert await stores.users.names([user.user_id, str(uuid4())]) == {user.user_id: "Someone"}


async def test_reserve(stores: Stores) -> None:
    """A reserved name is nobody's; one that somebody has cannot be reserved, and stays theirs."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    assert await asyncio.gather(*(stores.users.reserve("Postmaster") for _ in range(5))) == [True] * 5
    assert not await stores.users.reserve("sOMEONE")
    assert await stores.users.find("someone") == (user, "hash")
    with pytest.raises(Conflict):
        await stores.users.add(*_with_hash(someone("postmaster")))


async def test_neither(stores: Stores, mongo: Mongo) -> None:
    """Where the name is taken, or the identity cannot be stored, neither document is there."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    with pytest.raises(Conflict):
        await stores.users.add(*_with_hash(someone("someone")))
    other, _ = someone("other")
    with pytest.raises(Conflict):  # the identity's id is taken
        await stores.users.add(other, "hash", identity)
    assert await mongo.collection("users").count_documents({}) == 1
    assert await mongo.collection("identities").count_documents({}) == 1


def _with_hash(pair: tuple[User, UserIdentity]) -> tuple[User, str, UserIdentity]:
    return pair[0], "hash", pair[1]


DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.ports import system_clock
from storage.domains import MongoDomains
from storage.erasures import MongoErasures
from storage.identities import MongoIdentities
from storage.mongo import Mongo
from storage.secrets import Vault
from storage.tokens import MongoTokens
from storage.users import MongoUsers
from tests.storage.test_users import someone

class Dying(MongoIdentities):
    async def insert(self, *args):
        os.kill(os.getpid(), signal.SIGKILL)

async def main(uri, database):
    mongo = Mongo(uri, database)
    vault = Vault(mongo, Path("unused"))
    identities = Dying(mongo, vault, system_clock)
    users = MongoUsers(mongo, identities, MongoTokens(mongo), MongoErasures(mongo, {}), MongoDomains(mongo, vault))
    user, identity = someone()
    await users.add(user, "hash", identity)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_between_the_two(stores: Stores, mongo: Mongo, mongod: EmbeddedMongod) -> None:
    """A process that is killed between the user and its identity leaves neither."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING, mongod.uri, mongo.database.name, cwd=Path(__file__).parents[2]
    )
    assert await child.wait() == -signal.SIGKILL
    await mongo.client.admin.command("killAllSessions", [])  # else its locks stay for a minute
    assert await mongo.collection("users").count_documents({}) == 0
    assert await mongo.collection("identities").count_documents({}) == 0


async def test_issue(stores: Stores) -> None:
    """Tokens are given to a user whose password is still the one that was proven."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    assert await stores.users.issue(user.user_id, "hash", pair())
    assert await stores.tokens.user_of("access-one", NOW) == user.user_id
    assert not await stores.users.issue(user.user_id, "old hash", pair("two"))
    assert await stores.tokens.user_of("access-two", NOW) is None


async def test_renew(stores: Stores) -> None:
    """A refresh token serves once, until it expires, and voids the access token that came with it."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    await stores.users.issue(user.user_id, "hash", pair())
    assert await stores.users.renew("refresh-one", pair("late"), NOW + timedelta(hours=1)) is None
    assert await stores.users.renew("refresh-one", pair("two"), NOW) == user
    assert await stores.users.renew("refresh-one", pair("three"), NOW) is None
    assert await stores.tokens.user_of("access-one", NOW) is None
    assert await stores.tokens.user_of("access-two", NOW) == user.user_id


async def test_one_renewal_of_many(stores: Stores) -> None:
    """Of many who use one refresh token at once, one gets tokens."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    await stores.users.issue(user.user_id, "hash", pair())
    renewed = await asyncio.gather(*(stores.users.renew("refresh-one", pair(f"n{n}"), NOW) for n in range(8)))
    assert sorted(each is not None for each in renewed) == [False] * 7 + [True]
    owners = [await stores.tokens.user_of(f"access-n{n}", NOW) for n in range(8)]
    assert owners.count(user.user_id) == 1


async def test_change(stores: Stores) -> None:
    """A change is stored if nobody changed the user since it was read."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    after = replace(user, display_name="S. One", recovery_email=None)
    assert await stores.users.change(user, after)
    assert await stores.users.get(user.user_id) == after
    assert not await stores.users.change(user, user)


async def test_change_password(stores: Stores) -> None:
    """A new password voids all tokens but the pair with which it was set, and no others' tokens."""
    user, identity = someone()
    other, others_identity = someone("other")
    await stores.users.add(user, "hash", identity)
    await stores.users.add(other, "hash", others_identity)
    for name in ("one", "two", "three"):
        await stores.users.issue(user.user_id, "hash", pair(name))
    await stores.users.issue(other.user_id, "hash", pair("other"))
    assert not await stores.users.change_password(user, user, ("wrong", "new"), "access-two")
    assert await stores.tokens.user_of("access-one", NOW) == user.user_id
    assert await stores.users.change_password(user, user, ("hash", "new"), "access-two")
    assert await stores.users.find(user.username) == (user, "new")
    valid = [
        name for name in ("one", "two", "three", "other") if await stores.tokens.user_of(f"access-{name}", NOW)
    ]
    assert valid == ["two", "other"]
    assert await stores.users.renew("refresh-two", pair("four"), NOW) == user


async def test_no_token_outlives_its_password(stores: Stores) -> None:
    """However sign-ins and a change of the password meet, no token of the old password is left."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    await stores.users.issue(user.user_id, "hash", pair("mine"))
    await asyncio.gather(
        *(stores.users.issue(user.user_id, "hash", pair(f"n{n}")) for n in range(6)),
        stores.users.change_password(user, user, ("hash", "new"), "access-mine"),
        *(stores.users.issue(user.user_id, "hash", pair(f"m{n}")) for n in range(6)),
    )
    assert await stores.users.find(user.username) == (user, "new")
    assert await stores.tokens.user_of("access-mine", NOW) == user.user_id
    for name in [f"{letter}{n}" for letter in "nm" for n in range(6)]:
        assert await stores.tokens.user_of(f"access-{name}", NOW) is None


async def test_retire(stores: Stores, mongo: Mongo) -> None:
    """A deleted user is gone with its tokens, is due to be erased, and leaves a hash of the name alone."""
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    await stores.users.issue(user.user_id, "hash", pair())
    assert not await stores.users.retire(user, "wrong", NOW)
    assert await stores.users.retire(user, "hash", NOW)
    assert await stores.tokens.user_of("access-one", NOW) is None
    assert await stores.users.find(user.username) is None
    with pytest.raises(NotFound):
        await stores.users.get(user.user_id)
    left = await mongo.collection("users").find().to_list(None)
    assert [each.keys() for each in left] == [{"_id", "name_key"}]
    assert user.username.lower() not in repr(left)
    (erasure,) = await stores.erasures.claim("owner", NOW, timedelta(seconds=60), 10)
    assert erasure.user_id == user.user_id


async def owned(stores: Stores, name: str, *owners: User) -> None:
    """Store a domain with these owners."""
    roles = {owner.user_id: Role.OWNER for owner in owners}
    await stores.domains.add(domain(name, roles=roles), "a key")


async def test_retire_from_domains(stores: Stores) -> None:
    """With a user its roles go."""
    user, identity = someone()
    other, _ = someone("other")
    await stores.users.add(user, "hash", identity)
    await owned(stores, "a.example", user, other)
    await stores.users.check_leaving(user.user_id)
    assert not await stores.users.retire(user, "wrong", NOW)
    assert (await stores.domains.list(user.user_id, Page()))[0] == 1
    assert await stores.users.retire(user, "hash", NOW)
    assert (await stores.domains.get("a.example")).roles == {other.user_id: Role.OWNER}


async def test_last_owner_stays(stores: Stores) -> None:
    """Who is the only owner of a domain cannot go, and nothing of it happens."""
    user, identity = someone()
    other, _ = someone("other")
    await stores.users.add(user, "hash", identity)
    await stores.users.issue(user.user_id, "hash", pair())
    await owned(stores, "a.example", user)
    await owned(stores, "b.example", user, other)
    with pytest.raises(Conflict):
        await stores.users.check_leaving(user.user_id)
    with pytest.raises(Conflict):
        await stores.users.retire(user, "hash", NOW)
    assert await stores.users.get(user.user_id) == user
    assert await stores.tokens.user_of("access-one", NOW) == user.user_id
    assert (await stores.domains.list(user.user_id, Page()))[0] == 2
    assert await stores.erasures.claim("owner", NOW, timedelta(seconds=60), 10) == []


async def test_all_owners_go_at_once(stores: Stores) -> None:
    """Of owners who go at once one stays, with the account."""
    each = [someone(f"user{n}") for n in range(3)]
    for user, identity in each:
        await stores.users.add(user, "hash", identity)
    await owned(stores, "a.example", *(user for user, _ in each))
    ended = await asyncio.gather(
        *(stores.users.retire(user, "hash", NOW) for user, _ in each), return_exceptions=True
    )
    assert sorted(str(type(one)) for one in ended) == sorted(map(str, [bool, bool, Conflict]))
    (left,) = (await stores.domains.get("a.example")).roles
    await stores.users.get(left)


async def test_a_name_is_given_once(stores: Stores) -> None:
    """A name is taken by who has it and by who had it, in whatever case."""
    assert not await stores.users.is_taken("Someone")
    user, identity = someone()
    await stores.users.add(user, "hash", identity)
    assert await stores.users.is_taken("SOMEONE")
    await stores.users.retire(user, "hash", NOW)
    assert await stores.users.is_taken("someOne")
    with pytest.raises(Conflict):
        await stores.users.add(*_with_hash(someone("SOMEone")))
