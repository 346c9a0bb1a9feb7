"""Checks of domains, with a backend that does as it is told; what they record is in a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from api.metrics import Metrics
from gateway.domain import Domain, DomainCheck, DomainStatus, Fault, Record
from gateway.errors import Conflict, NotFound, Refused, RemoteError, Unreachable
from gateway.examine import Examine
from gateway.ports import MailBackend
from gateway.roles import Role
from storage import domains, secrets
from storage.domains import MongoDomains
from storage.mongo import Mongo
from storage.secrets import Vault
from tests.protocols.backends.mail_backend import a_domain
from tests.users import exist

NOW = datetime(2026, 7, 20, tzinfo=UTC)
NAME = "town.example"
RECORDS = (Record("", "mx", "mx.home.example."),)
BROKEN = DomainCheck(internal=True, faults=(Fault("no_cert", "There is none."),))
WHOLE = DomainCheck(internal=True)


@dataclass
class Scripted:
    """A backend, and the DNS; ``asked`` is what was asked of them, ``errors`` what they refuse.

    ``repairs`` is how many repairs it takes until it is whole; ``has``: it has had the domain before.
    """

    repairs: int = 0
    has: bool = False
    errors: dict[str, RemoteError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def has_domain(self, _: str) -> bool:
        """Tell whether there is a domain."""
        await self._ask("has_domain")
        return self.has

    async def add_domain(self, _: Domain) -> None:
        """Host a domain."""
        await self._ask("add_domain")

    async def records(self, _: Domain) -> Sequence[Record]:
        """Return the records to publish."""
        await self._ask("records")
        return RECORDS

    async def check(self, _: Domain) -> Mapping[str, DomainCheck]:
        """Return how the internal checks end."""
        await self._ask("check")
        return {"cert": BROKEN if self.repairs else WHOLE}

    async def repair(self, _: Domain) -> None:
        """Mend it, or a part of it."""
        await self._ask("repair")
        self.repairs -= 1

    async def _ask(self, operation: str) -> None:
        await asyncio.sleep(0)  # as one that is elsewhere does
        self.asked.append(operation)
        if operation in self.errors:
            raise self.errors[operation]


@dataclass
class Dns:
    """What is published; ``meanwhile`` is what happens while it is looked at."""

    faults: Sequence[Fault] = ()
    asked: list[Sequence[Record]] = field(default_factory=list)
    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def check(self, _: Domain, records: Sequence[Record]) -> Mapping[str, DomainCheck]:
        """Return how the external checks end."""
        self.asked.append(records)
        found = self.faults
        if self.meanwhile:
            await self.meanwhile()
        return {"mx": DomainCheck(internal=False, faults=found)}


@pytest.fixture
async def store(mongo: Mongo, tmp_path: Path) -> MongoDomains:
    """A database with a domain that is to be checked."""
    await mongo.ensure_indexes(domains.INDEXES | secrets.INDEXES)
    vault = Vault(mongo, tmp_path / "key")
    await vault.open()
    store = MongoDomains(mongo, vault)
    await exist(mongo, "me")
    await store.add(a_domain(NAME, roles={"me": Role.OWNER}, check_at=NOW), "a key")
    return store


def examine(store: MongoDomains, backend: Scripted, dns: Dns | None = None) -> Examine:
    """Return the use case under test."""
    return Examine(store, cast(MailBackend, backend), dns or Dns(), lambda: NOW, Metrics(), chance=lambda: 0.5)


async def test_whole(store: MongoDomains) -> None:
    """Where nothing is wrong nothing is repaired; the domain is enabled, and checked again an hour later."""
    backend, dns = Scripted(), Dns()
    checked = await examine(store, backend, dns).check(NAME)
    assert (backend.asked, dns.asked) == (["add_domain", "records", "check"], [RECORDS])
    assert (checked.status, checked.records) == (DomainStatus.ENABLED, RECORDS)
    assert (checked.last_check, checked.check_at) == (NOW, NOW + timedelta(hours=1))
    assert await store.get(NAME) == checked


@pytest.mark.parametrize(("repairs", "status"), [(1, DomainStatus.ENABLED), (2, DomainStatus.FAILED)])
async def test_one_repair(store: MongoDomains, repairs: int, status: DomainStatus) -> None:
    """What is broken is repaired once; where that mends it, it does not show."""
    backend = Scripted(repairs)
    checked = await examine(store, backend).check(NAME)
    assert backend.asked[2:] == ["check", "repair", "check"]
    assert (checked.status, checked.checks["cert"].ok) == (status, repairs == 1)


@pytest.mark.parametrize("operation", ["add_domain", "records", "check"])
@pytest.mark.parametrize(
    ("error", "code"), [(Unreachable("It is away."), "backend_unreachable"), (Refused("No."), "backend_refused")]
)
async def test_backend_away(store: MongoDomains, operation: str, error: RemoteError, code: str) -> None:
    """A backend that does not do as asked is a fault of ours, and the DNS is held against what was known."""
    await examine(store, Scripted()).check(NAME)
    dns = Dns()
    checked = await examine(store, Scripted(errors={operation: error}), dns).check(NAME)
    (fault,) = checked.checks["postfix"].faults
    assert (fault.code, str(error) in fault.detail, checked.checks["postfix"].internal) == (code, True, True)
    assert (checked.status, checked.records, dns.asked) == (DomainStatus.FAILED, RECORDS, [RECORDS])


async def test_never_hosted(store: MongoDomains) -> None:
    """Where nobody knows yet what is to be published, the DNS is not looked at."""
    dns = Dns()
    checked = await examine(store, Scripted(errors={"records": Refused("No.")}), dns).check(NAME)
    assert (checked.status, list(checked.checks), dns.asked) == (DomainStatus.FAILED, ["postfix"], [])


async def test_new_there(store: MongoDomains) -> None:
    """The backend is asked once whether it has the domain: had it none, what it has later is ours."""
    domain = a_domain(ours=False)
    await store.add(domain, "a key")
    backend = Scripted(errors={"add_domain": Unreachable("The answer is lost.")})
    for _ in range(2):
        await examine(store, backend).check(domain.name)
        backend.has = True
    assert backend.asked == ["has_domain", "add_domain", "add_domain"]
    assert (await examine(store, Scripted(has=True)).check(domain.name)).status is DomainStatus.ENABLED


@pytest.mark.parametrize("error", [None, Unreachable("It is away.")])
async def test_not_ours(store: MongoDomains, error: RemoteError | None) -> None:
    """A domain that the backend has from elsewhere, or may have, is let alone however often it is checked."""
    domain = a_domain(ours=False)
    await store.add(domain, "a key")
    backend = Scripted(has=True, errors={"has_domain": error} if error else {})
    for _ in range(2):
        checked = await examine(store, backend).check(domain.name)
        (fault,) = checked.checks["postfix"].faults
        assert (checked.status, "taken" in fault.detail) == (DomainStatus.FAILED, error is None)
    assert set(backend.asked) == {"has_domain"}
    assert not (await store.get(domain.name)).ours


async def test_slow_backend(store: MongoDomains) -> None:
    """A backend that does not come to an end is one that does not answer."""
    with pytest.raises(Unreachable):
        await examine(store, Scripted()).host(await store.get(NAME), seconds=0)


async def test_enabled_before(store: MongoDomains) -> None:
    """A domain that was enabled shows what fails later."""
    await examine(store, Scripted()).check(NAME)
    dns = Dns(faults=(Fault("no_mx", "Publish an MX."),))
    assert (await examine(store, Scripted(), dns).check(NAME)).status is DomainStatus.ACTION_REQUIRED
    assert (await examine(store, Scripted(repairs=9)).check(NAME)).status is DomainStatus.FAILED
    assert (await examine(store, Scripted()).check(NAME)).status is DomainStatus.ENABLED


async def test_changed_meanwhile(store: MongoDomains) -> None:
    """What people change during a check counts: it is checked again as it is then."""
    dns = Dns()

    async def disable() -> None:
        dns.meanwhile = None
        before = await store.get(NAME)
        assert await store.save(before, replace(before, status=DomainStatus.DISABLED))

    dns.meanwhile = disable
    checked = await examine(store, Scripted(), dns).check(NAME)
    assert (checked.status, len(dns.asked)) == (DomainStatus.DISABLED, 2)
    assert await store.get(NAME) == checked


async def test_overtaken(store: MongoDomains) -> None:
    """A check that looked before the owner mended the zone does not undo what a later one has found."""
    dns = Dns(faults=(Fault("no_mx", "Publish an MX."),))

    async def mend() -> None:
        dns.meanwhile, dns.faults = None, ()
        assert (await examine(store, Scripted(), dns).check(NAME)).status is DomainStatus.ENABLED

    dns.meanwhile = mend
    assert (await examine(store, Scripted(), dns).check(NAME)).status is DomainStatus.ENABLED
    assert (await store.get(NAME)).status is DomainStatus.ENABLED
    assert len(dns.asked) == 3


async def test_changed_all_the_time(store: MongoDomains) -> None:
    """A check of what is changed again and again comes to an end."""

    async def change() -> None:
        before = await store.get(NAME)
        assert await store.save(before, before)

    with pytest.raises(Conflict):
        await examine(store, Scripted(), Dns(meanwhile=change)).check(NAME)


async def test_run(store: MongoDomains) -> None:
    """A worker checks what is due."""
    (due,) = await store.claim("worker", NOW, timedelta(seconds=60), 5)
    await examine(store, Scripted()).run("worker", due)
    assert (await store.get(NAME)).status is DomainStatus.ENABLED
    assert await store.claim("worker", NOW + timedelta(seconds=60), timedelta(seconds=60), 5) == []
    with pytest.raises(NotFound):
        await examine(store, Scripted()).check("other.example")
