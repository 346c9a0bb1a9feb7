"""Where the fake mail backend keeps its state."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain import Feature
from gateway.mailbox import Alias, MailboxStatus
from storage.fake_mail import MongoFakeMail
from storage.mongo import Mongo
from tests.protocols.backends.mail_backend import a_domain, a_mailbox

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


async def test_whose_mailbox(store: MongoFakeMail) -> None:
    """It is known which mailbox has an address, and that one alone can be withdrawn."""
    await store.add_mailbox(MAILBOX)
    await store.change_mailbox(MAILBOX)
    other = a_mailbox(DOMAIN)
    await store.withdraw_mailbox(other)
    assert (await store.has_mailbox(other), await store.has_mailbox(MAILBOX)) == (False, True)
    await store.withdraw_mailbox(MAILBOX)
    assert await store.is_active(MAILBOX.email) is None


async def test_handed_over(store: MongoFakeMail) -> None:
    """A mailbox that is changed for another one is that one from then on."""
    await store.add_mailbox(a_mailbox(DOMAIN))
    assert await store.change_mailbox(MAILBOX)
    assert await store.has_mailbox(MAILBOX)


async def test_mailbox_of_an_older_version(store: MongoFakeMail, mongo: Mongo) -> None:
    """Of what an older version has kept it is not known which mailbox it is: it is the one that asks for it."""
    for remove in (store.withdraw_mailbox, lambda mailbox: store.delete_mailbox(mailbox.email)):
        await store.add_mailbox(MAILBOX)
        await mongo.collection("fake_mailboxes").update_one({}, {"$unset": {"mailbox_id": ""}})
        assert await store.has_mailbox(MAILBOX)
        await remove(MAILBOX)
        assert await store.is_active(MAILBOX.email) is None


async def test_alias(store: MongoFakeMail, mongo: Mongo) -> None:
    """An alias is kept once, and removed alone."""
    other = Alias(DOMAIN.name, "info", "you@elsewhere.example")
    outcomes = await asyncio.gather(*(store.add_alias(each) for each in (ALIAS, ALIAS, ALIAS, other)))
    assert outcomes.count(True) == 2
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
