"""How often the database is asked: what a request and a message cost that no noise of a machine can hide."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from api import stores
from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.asked import Asked
from tests.client import Client

OF_REQUESTS = {"identities", "messages", "raws", "usage", "users", "attempts"}
"""Collections that nobody asks but requests and what they order; other work polls at times of its own."""
_SENDERS = 40

pytestmark = pytest.mark.configured(delivery={"poll_s": 60})


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the gateway under test asks."""
    counter = Asked(*OF_REQUESTS)
    monkeypatch.setattr(stores, "Mongo", partial(Mongo, listeners=[counter]))
    return counter


async def test_reading(user: Client, provider: Provider, asked: Asked) -> None:
    """To read one thing, or a list, is one question."""
    identity_id = await user.add_remote(provider)
    message_id = await user.draft(identity_id)
    for path, question in {
        "/api/v2/identities/remotes": "aggregate identities",
        f"/api/v2/identities/remotes/{identity_id}": "find identities",
        f"/api/v1/messages/{message_id}": "find messages",
        "/api/v2/messages": "aggregate messages",
    }.items():
        asked.count.clear()
        assert (await user.get(path)).status == 200
        assert asked.count == {question: 1}, path


async def test_drafts(user: Client, provider: Provider, asked: Asked) -> None:
    """To write a draft is to look at the identity, to count and to store; to change one is to look at it before."""
    identity_id = await user.add_remote(provider)
    await user.draft(identity_id)  # the first one makes the counters of its user
    asked.count.clear()
    message_id = await user.draft(identity_id)
    assert asked.count == {"find identities": 1, "update usage": 1, "insert messages": 1}
    asked.count.clear()
    assert (await user.call("PATCH", f"/api/v1/messages/{message_id}", {"subject": "Another"})).status == 204
    questions = {"find messages": 1, "find identities": 1, "update usage": 1, "update messages": 1}
    assert asked.count == questions


async def test_accounts(user: Client, provider: Provider, asked: Asked) -> None:
    """To change an account is to look at it, and to store it; what has it checked costs one question more."""
    path = f"/api/v2/identities/remotes/{await user.add_remote(provider)}"
    for patch, counted in (
        ({"display_name": "Me"}, {}),
        ({"infos": {"pollinterval": "30"}}, {"findAndModify attempts": 1}),
        ({"credentials": {"inpassword": "x"}}, {"update attempts": 1}),
    ):
        asked.count.clear()
        assert (await user.call("PATCH", path, patch)).status == 204
        assert asked.count == {"find identities": 1, "update identities": 1, **counted}, patch


async def test_sending(user: Client, provider: Provider, asked: Asked) -> None:
    """A message alone: five questions order it, three claim it, three send and record it."""
    message_id = await user.draft(await user.add_remote(provider, protocol="smtp"))
    asked.count.clear()
    assert (await user.send(message_id)).status == 200
    ordered = Counter({"find messages": 1, "find identities": 1, "insert raws": 1, "update messages": 1})
    ordered["update usage"] = 1
    claimed = Counter({"find messages": 2, "update messages": 1})
    sent = Counter({"find identities": 1, "find raws": 1, "update messages": 1})
    and_looked_again = Counter({"find messages": 1})
    assert asked.count <= ordered + claimed + sent + and_looked_again


async def test_an_order_that_stands(user: Client, provider: Provider, asked: Asked) -> None:
    """Where an order stands it is answered when that is safe, which is one question more."""
    message_id = await user.draft(await user.add_remote(provider))
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert (await user.send(message_id, send_at=later)).status == 202
    asked.count.clear()
    assert (await user.send(message_id)).status == 202
    by_worker = Counter({"find messages": 1})  # the first order woke it
    assert asked.count - by_worker <= Counter({"find messages": 1, "findAndModify messages": 1})
    assert asked.count["findAndModify messages"] == 1


async def test_many(user: Client, provider: Provider, asked: Asked) -> None:
    """What happens at once goes together: fewer questions for each message than half of what one alone costs."""
    identity_id = await user.add_remote(provider, protocol="smtp")
    message_ids = [await user.draft(identity_id) for _ in range(_SENDERS)]
    asked.count.clear()
    replies = await asyncio.gather(*map(user.send, message_ids))
    assert [reply.status for reply in replies] == [200] * _SENDERS
    assert asked.count.total() < 5 * _SENDERS
