"""Aliases: that what is stored is at the backend, and that what the backend has by itself is let alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import Conflict, Deferred, RemoteError, SignInRefused, Unreachable
from gateway.forward import Forward
from gateway.mailbox import Alias
from gateway.ports import Page
from gateway.work import LEASE
from storage import aliases
from storage.aliases import MongoAliases
from storage.mongo import Mongo
from tests.hosting import NAME, Died, Hosting, a_hosting

ALIAS = Alias(NAME, "info", "me@elsewhere.example")
PAIR = (ALIAS.domain, ALIAS.local_part, ALIAS.destination)


@pytest.fixture
async def hosting(mongo: Mongo, tmp_path: Path) -> Hosting:
    """A domain."""
    hosting = await a_hosting(mongo, tmp_path)
    await mongo.ensure_indexes(aliases.INDEXES)
    await hosting.host()
    return hosting


@pytest.fixture
def forward(hosting: Hosting) -> Forward:
    """What is under test."""
    return Forward(hosting.domains, MongoAliases(hosting.mongo), hosting.backend, hosting.clock)


async def stored(forward: Forward) -> int:
    """Return how many aliases are shown."""
    return (await forward.list(NAME, Page()))[0]


@pytest.mark.parametrize("fault", [SignInRefused("Who?"), Unreachable("Away.", nothing_done=True)], ids=repr)
@pytest.mark.parametrize("others", [True, False])
async def test_what_came_to_nothing(
    hosting: Hosting, forward: Forward, fault: RemoteError, *, others: bool
) -> None:
    """Where the backend certainly did nothing, nothing is stored, and what it has then is somebody else's."""
    if others:
        await hosting.backend.add_alias(ALIAS)
    hosting.backend.before.append(fault)
    with pytest.raises(type(fault)):
        await forward.add(*PAIR)
    assert await stored(forward) == 0
    if others:
        for _ in range(2):
            with pytest.raises(Conflict, match="does not come from here"):
                await forward.add(*PAIR)
    else:
        assert await forward.add(*PAIR) == ALIAS
    assert await stored(forward) == (not others)


@pytest.mark.parametrize("got_through", [True, False])
async def test_lost_answer(hosting: Hosting, forward: Forward, *, got_through: bool) -> None:
    """Where nobody knows whether the backend did it, the alias is shown, and asking again mends it."""
    hosting.backend.before.append(Deferred("Not now."))
    with pytest.raises(Deferred):
        await forward.add(*PAIR)
    assert await stored(forward) == 1
    if got_through:
        await hosting.backend.add_alias(ALIAS)
    assert await forward.add(*PAIR, most=1) == ALIAS
    with pytest.raises(Conflict, match="already"):
        await forward.add(*PAIR, most=1)
    assert not await hosting.backend.add_alias(ALIAS)


async def test_death(hosting: Hosting, forward: Forward) -> None:
    """Who dies while adding one leaves it to whoever asks again, when it is certain that he has died."""
    hosting.backend.before.append(Died())
    with pytest.raises(Died):
        await forward.add(*PAIR)
    with pytest.raises(Conflict):
        await forward.add(*PAIR)
    hosting.later(LEASE)
    assert await forward.add(*PAIR) == ALIAS
    assert await stored(forward) == 1
