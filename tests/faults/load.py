"""A mixed load on a gateway that things happen to, and whether what its clients were told is true afterwards."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Self

from gateway.ports import Round
from storage.files import ATTACHMENTS, MongoFiles
from storage.leftovers import MongoLeftovers
from storage.mongo import Mongo
from storage.raws import RAWS, MongoRaws
from storage.secrets import Vault
from tests.e2e.conftest import Site, events_in
from tests.faults.outside import Outside
from tests.faults.people import PATIENCE_S, Letter, Person, Tally

Figures = Callable[[str, object], None]


class Load:
    """People at work; also an asynchronous context manager, which closes their connections."""

    def __init__(self, site: Site, outside: Outside, chance: random.Random, people: int = 5) -> None:
        self.tally = Tally({"tried": 0, "acknowledged": 0, "refused": 0, "cut off": 0})
        self._outside = outside
        self._people = [Person(site, outside, f"person-{n}", chance, self.tally) for n in range(people)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for person in self._people:
            await person.session.close()

    async def begin(self) -> None:
        """Register all."""
        for person in self._people:
            await person.begin()

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Let all write letters until the end of the block."""
        async with asyncio.TaskGroup() as tasks:
            for person in self._people:
                tasks.create_task(person.live())
            try:
                yield
            finally:
                for person in self._people:
                    person.end()

    async def work(self, seconds: float) -> None:
        """Return when so long a time is over, and something has been acknowledged in it."""
        await asyncio.gather(asyncio.sleep(seconds), self.tally.acknowledged())

    async def assert_kept(self) -> Counter[str]:
        """Assert that every promise is kept, and that Sent has one copy of what belongs there; count by fate."""
        kept: Counter[str] = Counter()
        for person in self._people:
            kept += await person.assert_kept()
        assert all(len(set(ids)) == 1 for ids in self._outside.taken.values())
        own = {ids[0] for subject, ids in self._outside.taken.items() if self._letter(subject).from_remote}
        assert await asyncio.to_thread(self._outside.copies) == Counter(own)
        return kept

    def second_copies(self) -> Counter[str]:
        """Return how many second copies came, by message_id."""
        return +Counter(
            {self._letter(subject).message_id: len(ids) - 1 for subject, ids in self._outside.taken.items()}
        )

    def _letter(self, subject: str) -> Letter:
        return next(each for person in self._people for each in person.letters if subject in each.subjects)


@dataclass(frozen=True)
class Stage:
    """Where faults are played: sites whose mail all goes outside, and what decides when things happen."""

    new_site: Callable[..., Site]
    outside: Outside
    chance: random.Random

    def site(self, storage: str = "") -> Site:
        """Return a new site, with these lines of its table ``storage``."""
        return self.new_site(self.outside.configuration(), storage)

    def load(self, site: Site) -> Load:
        """Return people for a site."""
        return Load(site, self.outside, self.chance)


async def assert_survived(sites: Sequence[Site], load: Load, mongo: Mongo, figures: Figures, what: str) -> None:
    """Assert, when all is sent, that every promise is kept, and that second copies are few and were announced."""
    await settled(mongo)
    checked, left = await checked_once(mongo), await swept(mongo)
    kept = await load.assert_kept()
    doubts, twice = announced(sites), load.second_copies()
    assert twice <= doubts
    assert [each for site in sites for each in faults_of(site)] == []
    figures(f"{what}: requests", ", ".join(f"{count} {how}" for how, count in load.tally.items()))
    figures(f"{what}: promises kept", ", ".join(f"{count} {fate}" for fate, count in sorted(kept.items())))
    figures(f"{what}: second copies", f"{twice.total()} of {doubts.total()} that were possible and counted")
    figures(f"{what}: accounts due for a check afterwards, each checked once", checked)
    figures(f"{what}: bytes that no message names, swept up", left)


def spread(seconds: Sequence[float]) -> str:
    """Return the figures of several measurements."""
    return f"{min(seconds):.1f} to {max(seconds):.1f}, median {median(seconds):.1f}"


def faults_of(site: Site) -> list[Any]:
    """Return the errors that a gateway has logged, but that its mongod has died, which is no fault of its own."""
    errors = [each for each in events_in(site.log) if each["level"] == "error"]
    return [each for each in errors if not str(each["event"]).startswith("mongod ended with status")]


def announced(sites: Sequence[Site]) -> Counter[object]:
    """Return how often gateways have said of which message that it may go out a second time."""
    events = [each for site in sites for each in events_in(site.log)]
    return Counter(each["message_id"] for each in events if each["event"] == "sent again after a cut")


async def checked_once(mongo: Mongo) -> int:
    """Let all accounts be due for a check that no worker has; return how many, when each was checked, and once."""
    accounts, checks = mongo.collection("identities"), mongo.collection("checks")
    at_rest = await accounts.distinct("_id", {"check_at": {"$gt": datetime.now(UTC) + timedelta(minutes=2)}})
    theirs, due = {"of.identity_id": {"$in": at_rest}}, {"_id": {"$in": at_rest}}
    before = await checks.count_documents(theirs)
    await accounts.update_many(due, {"$currentDate": {"check_at": True}})
    async with asyncio.timeout(PATIENCE_S):
        while await accounts.find_one(due | {"check_at": {"$lt": datetime.now(UTC) + timedelta(minutes=2)}}):
            await asyncio.sleep(0.05)
    assert await checks.count_documents(theirs) - before == len(at_rest)
    return len(at_rest)


async def swept(mongo: Mongo) -> int:
    """Remove all bytes that no message names; return of how many messages' they were."""
    raws, files = MongoRaws(mongo, Vault(mongo, Path())), MongoFiles(mongo, ATTACHMENTS)
    leftovers = MongoLeftovers(mongo, files, raws, batch=sys.maxsize)
    soon = datetime.now(UTC) + timedelta(hours=1)
    return sum([(await leftovers.remove(Round(kind, ""), soon))[0] for kind in (RAWS, ATTACHMENTS)])


async def hurried(mongo: Mongo) -> None:
    """Let what waits be due now: a date that is near, the lease of a gateway that has died. No gateway may run."""
    await mongo.collection("messages").update_many(_near(), {"$currentDate": {"delivery.due_at": True}})


async def settled(mongo: Mongo) -> None:
    """Return when all that is due within the hour is sent and filed."""
    async with asyncio.timeout(PATIENCE_S):
        while await mongo.collection("messages").find_one(_near()):
            await asyncio.sleep(0.05)


def _near() -> Mapping[str, Any]:
    return {"delivery.due_at": {"$lt": datetime.now(UTC) + timedelta(hours=1)}}
