"""The store of tokens, and how long a revoked one may serve."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from gateway.user import Tokens
from storage import tokens
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo, Session
from storage.tokens import MongoTokens

NOW = datetime(2026, 7, 20, tzinfo=UTC)
PAIR = Tokens("access", "refresh", NOW + timedelta(minutes=1), NOW + timedelta(hours=1))


class Monotonic:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Finds(CommandListener):
    """Counts the questions to the database."""

    def __init__(self) -> None:
        self.count = 0

    def started(self, event: CommandStartedEvent) -> None:
        """Count it."""
        self.count += event.command_name == "find"

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing to count."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing to count."""


@pytest.fixture
async def clock(mongo: Mongo) -> Monotonic:
    """The clock of both stores."""
    await mongo.ensure_indexes(tokens.INDEXES)
    return Monotonic()


async def stored(mongo: Mongo, clock: Monotonic, pair: Tokens = PAIR) -> MongoTokens:
    """Return a store, with a pair of tokens in the database."""
    store = MongoTokens(mongo, clock)

    async def insert(session: Session) -> None:
        await store.insert("someone", pair, session)

    await mongo.in_transaction(insert)
    return store


async def test_only_hashes(mongo: Mongo, clock: Monotonic) -> None:
    """The database has no token that could be used."""
    store = await stored(mongo, clock)
    assert await store.user_of("access", NOW) == "someone"
    assert await store.user_of("refresh", NOW) is None
    (document,) = await mongo.collection("tokens").find().to_list(None)
    assert {"access", "refresh"}.isdisjoint(document.values())


async def test_expired(mongo: Mongo, clock: Monotonic) -> None:
    """An access token expires, also one that is warm, and by itself its pair goes from the database."""
    store = await stored(mongo, clock)
    assert await store.user_of("access", NOW) == "someone"
    assert await store.user_of("access", PAIR.expires_at) is None
    indexes = await mongo.collection("tokens").index_information()
    assert indexes["refresh_expires_at_1"]["expireAfterSeconds"] == 0


async def test_warm(mongod: EmbeddedMongod, mongo: Mongo, clock: Monotonic) -> None:
    """A token in use is asked for once, and then all in use by one question a round, however many requests come."""
    await stored(mongo, clock)
    await stored(mongo, clock, Tokens("access-2", "refresh-2", PAIR.expires_at, PAIR.refresh_expires_at))
    finds = Finds()
    counted = Mongo(mongod.uri, mongo.database.name, listeners=[finds])
    store = MongoTokens(counted, clock)
    for _ in range(50):
        assert await store.user_of("access", NOW) == "someone"
        assert await store.user_of("access-2", NOW) == "someone"
        clock.now += 0.01
    assert finds.count == 2
    for _ in range(10):
        await store.confirm()
        clock.now += 0.4
        assert await store.user_of("access", NOW) == "someone"
        assert await store.user_of("access-2", NOW) == "someone"
    assert finds.count == 12
    counted.close()


async def test_idle(mongod: EmbeddedMongod, mongo: Mongo, clock: Monotonic) -> None:
    """What nobody uses any more is no longer asked for."""
    await stored(mongo, clock)
    finds = Finds()
    counted = Mongo(mongod.uri, mongo.database.name, listeners=[finds])
    store = MongoTokens(counted, clock)
    await store.user_of("access", NOW)
    clock.now += 61
    await store.confirm()
    assert finds.count == 1
    counted.close()


async def test_revoked_here(mongo: Mongo, clock: Monotonic) -> None:
    """Where a token is revoked it is refused from then on, and its refresh token is gone."""
    store = await stored(mongo, clock)
    await store.user_of("access", NOW)
    await store.revoke("access")
    assert await store.user_of("access", NOW) is None
    assert await mongo.collection("tokens").count_documents({}) == 0


async def test_revoked_elsewhere(mongo: Mongo, clock: Monotonic) -> None:
    """Less than a second after another process revoked it a token is refused, confirmed or not."""
    store = await stored(mongo, clock)
    other = MongoTokens(mongo, clock)
    await store.user_of("access", NOW)
    await other.user_of("access", NOW)
    await store.revoke("access")
    assert await other.user_of("access", NOW) == "someone"
    clock.now += 0.9
    assert await other.user_of("access", NOW) is None


async def test_confirmation_tells(mongo: Mongo, clock: Monotonic) -> None:
    """The next confirmation finds what another process revoked."""
    store = await stored(mongo, clock)
    other = MongoTokens(mongo, clock)
    await other.user_of("access", NOW)
    await store.revoke("access")
    await other.confirm()
    assert await other.user_of("access", NOW) is None


async def test_forget(mongo: Mongo, clock: Monotonic) -> None:
    """After forgetting a user the database is asked again."""
    store = await stored(mongo, clock)
    await store.user_of("access", NOW)
    await mongo.collection("tokens").delete_many({})
    store.forget("somebody else")
    assert await store.user_of("access", NOW) == "someone"
    store.forget("someone")
    assert await store.user_of("access", NOW) is None
