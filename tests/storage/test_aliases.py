"""The store of aliases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import Conflict, NotFound
from gateway.mailbox import Alias
from gateway.ports import Page
from storage.aliases import ALIASES, INDEXES, MongoAliases
from storage.mongo import Mongo

NAME = "bücher.example"
ALIAS = Alias(NAME, "info", "me@elsewhere.example")
NOW = datetime(2026, 7, 20, tzinfo=UTC)
LATER, LATEST = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)


@pytest.fixture
async def store(mongo: Mongo) -> MongoAliases:
    """The store under test."""
    await mongo.ensure_indexes(INDEXES)
    return MongoAliases(mongo)


async def test_pairs(store: MongoAliases) -> None:
    """A pair is there once, until it is removed."""
    for _ in range(2):
        await store.add(ALIAS)
    assert await store.list(NAME, Page()) == (1, [ALIAS])
    assert await store.get(NAME, "info", ALIAS.destination) == ALIAS
    await store.delete(ALIAS)
    with pytest.raises(NotFound):
        await store.get(NAME, "info", ALIAS.destination)
    with pytest.raises(NotFound):
        await store.delete(ALIAS)


async def test_adding(store: MongoAliases) -> None:
    """Of many who begin to add a pair one may; when that one's time is over another, who learns of it."""
    outcomes = await asyncio.gather(*(store.begin(ALIAS, NOW, LATER) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4
    assert outcomes.count(False) == 1
    assert await store.begin(ALIAS, LATER, LATEST)
    await store.give_up(ALIAS, LATER, LATER, forget=True)
    with pytest.raises(Conflict):
        await store.begin(ALIAS, LATER, LATEST)
    await store.add(ALIAS)
    with pytest.raises(Conflict):
        await store.begin(ALIAS, LATEST, LATEST)
    assert await store.list(NAME, Page()) == (1, [ALIAS])


@pytest.mark.parametrize("forget", [True, False])
async def test_given_up(store: MongoAliases, *, forget: bool) -> None:
    """A pair that is not added after all is gone, or is there in doubt and can be added at once."""
    await store.begin(ALIAS, NOW, LATER)
    await store.give_up(ALIAS, LATER, NOW, forget=forget)
    assert await store.list(NAME, Page()) == ((0, []) if forget else (1, [ALIAS]))
    assert await store.begin(ALIAS, NOW, LATER) is not forget


async def test_lists(store: MongoAliases) -> None:
    """Lists are of one domain, or of one address there, in order, cut into pages with a true total."""
    wanted = [Alias(NAME, name, f"{to}@elsewhere.example") for name in ("info", "sales") for to in "abc"]
    for alias in [*reversed(wanted), Alias("other.example", "info", "a@elsewhere.example")]:
        await store.add(alias)
    assert await store.list(NAME, Page()) == (6, wanted)
    assert await store.list(NAME, Page(limit=2, offset=2)) == (6, wanted[2:4])
    assert await store.list(NAME, Page(), "sales") == (3, wanted[3:])
    assert await store.list(NAME, Page(), "sale") == (0, [])


async def test_indexes_serve_the_queries(store: MongoAliases, mongo: Mongo) -> None:
    """Listing reads an index, never the whole collection."""
    await store.add(ALIAS)
    order = {"domain": 1, "local_part": 1, "destination": 1}
    for where in ({"domain": NAME}, {"domain": NAME, "local_part": "info"}):
        command = {"find": ALIASES, "filter": where, "sort": order}
        plan = await mongo.database.command("explain", command, verbosity="queryPlanner")
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
        assert "'SORT'" not in str(plan["queryPlanner"]["winningPlan"])
