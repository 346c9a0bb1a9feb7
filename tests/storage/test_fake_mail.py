"""Where the fake mail backend keeps its state."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from gateway.domain import Feature
from gateway.mailbox import Alias, MailboxStatus
from gateway.ports import SignInCode
from storage.fake_mail import MongoFakeMail
from storage.mongo import Mongo
from tests.protocols.backends.mail_backend import HOUR, NOW, a_domain, a_mailbox

DOMAIN = a_domain()
MAILBOX = a_mailbox(DOMAIN)
ALIAS = Alias(DOMAIN.name, "info", "me@elsewhere.example")


@pytest.fixture
def store(mongo: Mongo) -> MongoFakeMail:
    """The store under test."""
    return MongoFakeMail(mongo)


async def test_domain(store: MongoFakeMail) -> None:
    """A domain is kept with its last features, in its first context."""
    assert await store.features(DOMAIN.name) is None
    assert await store.put_domain(a_domain(DOMAIN.name, features=()))
    assert await store.put_domain(DOMAIN)
    assert not await store.put_domain(a_domain(DOMAIN.name, context="other", features=()))
    assert await store.features(DOMAIN.name) == [Feature.MAILBOX, Feature.WEBMAIL, Feature.ALIAS]


async def test_domain_at_once(store: MongoFakeMail) -> None:
    """A domain that many put at once is there, for all of them."""
    assert all(await asyncio.gather(*(store.put_domain(DOMAIN) for _ in range(10))))


async def test_mailbox(store: MongoFakeMail) -> None:
    """A mailbox is kept once, with whether it is in use, until it is removed."""
    assert await store.is_active(MAILBOX.email) is None
    assert not await store.change_mailbox(MAILBOX)
    assert sum(await asyncio.gather(*(store.add_mailbox(MAILBOX) for _ in range(10)))) == 1
    assert await store.is_active(MAILBOX.email) is True
    assert await store.change_mailbox(a_mailbox(DOMAIN, status=MailboxStatus.DISABLED))
    assert await store.is_active(MAILBOX.email) is False
    await store.delete_mailbox(MAILBOX.email)
    assert await store.is_active(MAILBOX.email) is None


async def test_code(store: MongoFakeMail, mongo: Mongo) -> None:
    """A code is used as often as it may be, however many try at once, and the database does not tell it."""
    code = SignInCode("a secret code", NOW + HOUR, 3)
    assert not await store.add_code(MAILBOX.email, code)
    await store.add_mailbox(MAILBOX)
    assert await store.add_code(MAILBOX.email, code)
    assert "a secret code" not in repr(await mongo.collection("fake_mailboxes").find().to_list(None))
    uses = await asyncio.gather(*(store.use_code(MAILBOX.email, code.code, NOW) for _ in range(10)))
    assert sum(uses) == 3


async def test_one_code_of_many(store: MongoFakeMail) -> None:
    """Each code has uses of its own, and expires at its own time."""
    await store.add_mailbox(MAILBOX)
    for number in range(3):
        await store.add_code(MAILBOX.email, SignInCode(f"code {number}", NOW + number * HOUR, 1))
    at = NOW + timedelta(minutes=59)
    assert [await store.use_code(MAILBOX.email, f"code {number}", at) for number in range(3)] == [False, True, True]
    assert not await store.use_code(MAILBOX.email, "code 1", at)


async def test_many_codes(store: MongoFakeMail) -> None:
    """Of a mailbox's codes the last ten are kept."""
    await store.add_mailbox(MAILBOX)
    for number in range(12):
        await store.add_code(MAILBOX.email, SignInCode(f"code {number}", NOW + HOUR, 1))
    usable = [number for number in range(12) if await store.use_code(MAILBOX.email, f"code {number}", NOW)]
    assert usable == list(range(2, 12))


async def test_alias(store: MongoFakeMail, mongo: Mongo) -> None:
    """An alias is kept once, and removed alone."""
    other = Alias(DOMAIN.name, "info", "you@elsewhere.example")
    await asyncio.gather(*(store.add_alias(each) for each in (ALIAS, ALIAS, ALIAS, other)))
    aliases = mongo.collection("fake_aliases")
    assert await aliases.count_documents({}) == 2
    await store.delete_alias(ALIAS)
    await store.delete_alias(ALIAS)
    assert await aliases.count_documents({}) == 1


async def test_clear(store: MongoFakeMail, mongo: Mongo) -> None:
    """Emptied, it knows nothing any more."""
    await store.put_domain(DOMAIN)
    await store.add_mailbox(MAILBOX)
    await store.add_alias(ALIAS)
    await store.clear()
    kept = await mongo.database.list_collection_names(filter={"name": {"$regex": "^fake_"}})
    assert len(kept) == 3
    assert [await mongo.collection(name).count_documents({}) for name in kept] == [0, 0, 0]
