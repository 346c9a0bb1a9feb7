"""Telling a mail backend all that the gateway knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.domain import DomainStatus
from gateway.errors import Refused, Unreachable
from gateway.mailbox import Alias
from gateway.populate import Populate
from gateway.progress import Progress
from storage import aliases
from storage.aliases import MongoAliases
from storage.mongo import Mongo
from tests.hosting import NAME, Hosting, a_hosting


@pytest.fixture
async def hosting(mongo: Mongo, tmp_path: Path) -> Hosting:
    """Two domains, with three mailboxes, of which one is disabled and one waits, and an alias."""
    hosting = await a_hosting(mongo, tmp_path)
    await mongo.ensure_indexes(aliases.INDEXES)
    await hosting.host()
    await hosting.host(DomainStatus.DISABLED, "other.example")
    for name in ("me", "you"):
        await hosting.create(name)
    await hosting.provision.disable(NAME, "you")
    await hosting.set_status(DomainStatus.PENDING)
    await hosting.create("waiting")
    await MongoAliases(mongo).add(Alias(NAME, "info", f"me@{NAME}"))
    return hosting


def populate(hosting: Hosting) -> Populate:
    """Return the use case."""
    return Populate(hosting.domains, hosting.mailboxes, MongoAliases(hosting.mongo), hosting.backend)


async def lose_state(hosting: Hosting) -> None:
    """Let the backend forget everything."""
    for name in ("fake_domains", "fake_mailboxes", "fake_aliases"):
        await hosting.mongo.collection(name).delete_many({})


async def test_a_backend_that_has_nothing(hosting: Hosting) -> None:
    """It gets all domains, the mailboxes that it had with their state, the aliases; and progress is told."""
    await lose_state(hosting)
    steps: list[Progress] = []
    assert await populate(hosting).run(steps.append) == []
    assert await hosting.mongo.collection("fake_domains").distinct("_id") == ["bücher.example", "other.example"]
    assert await hosting.at_backend() == {f"me@{NAME}": True, f"you@{NAME}": False}
    assert await hosting.mongo.collection("fake_aliases").count_documents({}) == 1
    assert [(step.part, step.done, step.total) for step in steps] == [
        ("domains", 1, 2),
        ("domains", 2, 2),
        ("mailboxes", 1, 3),
        ("mailboxes", 2, 3),
        ("mailboxes", 3, 3),
        ("aliases", 1, 1),
    ]


async def test_again(hosting: Hosting) -> None:
    """What is there already stays, and gets the state that it has here."""
    await hosting.mongo.collection("fake_mailboxes").update_many({}, {"$set": {"active": True}})
    for _ in range(2):
        assert await populate(hosting).run(lambda _: None) == []
        assert await hosting.at_backend() == {f"me@{NAME}": True, f"you@{NAME}": False}


async def test_what_an_older_version_made(hosting: Hosting) -> None:
    """Mailboxes of which the fake has not kept which ones they are count as ours, and are known from then on."""
    kept = hosting.mongo.collection("fake_mailboxes")
    await kept.update_many({}, {"$unset": {"mailbox_id": ""}})
    assert await populate(hosting).run(lambda _: None) == []
    assert await kept.count_documents({"mailbox_id": {"$exists": True}}) == 2


async def test_what_may_be_somebody_elses(hosting: Hosting) -> None:
    """A mailbox that is there, and not known to come from here, is left as it is, and named."""
    await hosting.mongo.collection("fake_mailboxes").delete_many({})
    await hosting.stranger("you")
    kept = await hosting.mongo.collection("fake_mailboxes").find_one()
    (fault,) = await populate(hosting).run(lambda _: None)
    assert f"you@{NAME} already" in fault
    assert await hosting.mongo.collection("fake_mailboxes").find_one({"_id": f"you@{NAME}"}) == kept
    assert await hosting.at_backend() == {f"me@{NAME}": True, f"you@{NAME}": True}


async def test_what_is_refused(hosting: Hosting) -> None:
    """What the backend refuses is named at the end, and holds up nothing."""
    await lose_state(hosting)
    hosting.backend.before.append(Refused("that name is in another context"))
    faults = await populate(hosting).run(lambda _: None)
    assert faults[0] == "domains: that name is in another context"
    assert [fault.partition(":")[0] for fault in faults] == ["domains", "mailboxes", "mailboxes", "aliases"]
    assert await hosting.mongo.collection("fake_domains").distinct("_id") == ["other.example"]


async def test_what_is_not_ours(hosting: Hosting) -> None:
    """A domain that the backend has from elsewhere is let alone, and named."""
    of_domains = hosting.mongo.collection("domains")
    await of_domains.update_one({"_id": NAME}, {"$set": {"ours": False}})
    (fault,) = await populate(hosting).run(lambda _: None)
    assert f"{NAME} is taken" in fault
    await hosting.mongo.collection("fake_domains").delete_one({"_id": NAME})
    assert await populate(hosting).run(lambda _: None) == []
    assert (await hosting.domains.get(NAME)).ours


async def test_a_backend_that_does_not_answer(hosting: Hosting) -> None:
    """Where the backend does not answer it ends at once."""
    hosting.backend.before.append(Unreachable("it is away"))
    with pytest.raises(Unreachable):
        await populate(hosting).run(lambda _: None)


async def test_nothing(mongo: Mongo, tmp_path: Path) -> None:
    """Where there is nothing there is nothing to do."""
    steps: list[Progress] = []
    assert await populate(await a_hosting(mongo, tmp_path)).run(steps.append) == []
    assert steps == []
