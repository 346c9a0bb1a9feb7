"""The history of checks: a time series."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from gateway.errors import Unreachable
from gateway.health import Finding, PastCheck
from gateway.identity import IdentityStatus, IdentityType, UserIdentity
from gateway.ports import Page
from storage.checks import CHECKS, OWNER, MongoHistory
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo

NOW = datetime(2026, 7, 20, tzinfo=UTC)
IDENTITY = UserIdentity(
    "i", "u", IdentityType.REMOTE, "imap", "me@example.org", "Me", IdentityStatus.ACTIVE, {}, None
)


@pytest.fixture
async def history(mongo: Mongo) -> MongoHistory:
    """The store under test."""
    history = MongoHistory(mongo)
    await history.prepare()
    return history


def finding(minutes: int, **failures: str) -> Finding:
    """Return how a check ended, so many minutes after NOW."""
    errors = {server: Unreachable(text) for server, text in failures.items()}
    return Finding(NOW + timedelta(minutes=minutes), 12, {}, errors)


async def test_newest_first(history: MongoHistory) -> None:
    """Checks come back newest first, by pages, with what failed."""
    await history.add(IDENTITY, finding(0))
    await history.add(IDENTITY, finding(1, outserver="no answer", inserver="busy"))
    await history.add(IDENTITY, finding(2))
    total, checks = await history.list("u", "i", None, Page(2, 0))
    assert (total, checks) == (
        3,
        [
            PastCheck(NOW + timedelta(minutes=2), ok=True, ms=12, server=None, error=None),
            PastCheck(
                NOW + timedelta(minutes=1),
                ok=False,
                ms=12,
                server="inserver",
                error="inserver: busy outserver: no answer",
            ),
        ],
    )
    assert (await history.list("u", "i", None, Page(2, 2)))[1][0].at == NOW


async def test_since(history: MongoHistory) -> None:
    """Only checks since a time are counted, that time included."""
    for minutes in range(3):
        await history.add(IDENTITY, finding(minutes))
    assert (await history.list("u", "i", NOW + timedelta(minutes=1), Page()))[0] == 2


async def test_of_others(history: MongoHistory) -> None:
    """An identity has its own history, which can be removed apart."""
    other = replace(IDENTITY, identity_id="other")
    await history.add(IDENTITY, finding(0))
    await history.add(other, finding(0))
    assert (await history.list("u", "i", None, Page()))[0] == 1
    assert (await history.list("somebody else", "i", None, Page()))[0] == 0
    await history.forget(IDENTITY)
    assert (await history.list("u", "i", None, Page()))[0] == 0
    assert (await history.list("u", "other", None, Page()))[0] == 1


async def test_many_first_starts(mongo: Mongo) -> None:
    """Gateways that start at once on a new database all find the collection made."""
    await asyncio.gather(*(MongoHistory(mongo).prepare() for _ in range(6)))


async def test_kept_for_30_days(history: MongoHistory, mongo: Mongo) -> None:
    """The database removes what is older than 30 days; preparing again changes nothing."""
    await history.prepare()
    (found,) = await (await mongo.database.list_collections(filter={"name": CHECKS})).to_list(None)
    assert found["options"]["expireAfterSeconds"] == 30 * 24 * 3600
    assert found["type"] == "timeseries"


async def test_found_by_user(mongod: EmbeddedMongod) -> None:
    """An index finds the checks of a user, and those of an identity, also where a version before had another."""
    mongo = Mongo(mongod.uri, f"test_{uuid4().hex}")
    history, checks = MongoHistory(mongo), mongo.collection(CHECKS)
    await history.prepare()
    await checks.drop_indexes()
    await checks.create_index([("of.identity_id", 1), ("at", -1)])
    await history.prepare()
    assert len(await checks.index_information()) == 1
    for number in range(5):
        await history.add(replace(IDENTITY, user_id=f"u {number}"), finding(number))
    await mongo.database.command("profile", 2)
    await history.forget(replace(IDENTITY, user_id="u 1"))
    await checks.delete_many({OWNER: "u 2"})
    await mongo.database.command("profile", 0)
    removals = await mongo.collection("system.profile").find({"op": "remove"}).to_list(None)
    assert [(each["planSummary"][:6], each["docsExamined"]) for each in removals] == [("IXSCAN", 1)] * 2
    await mongo.client.drop_database(mongo.database.name)
    mongo.close()
