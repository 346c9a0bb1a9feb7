"""The fake mail backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.config import FAKE_FAULTS, DomainsSection
from gateway.domain import DkimKey, Domain, DomainCheck, Feature, Record
from gateway.errors import Refused
from gateway.mail_hosts import Hosts
from gateway.mailbox import Alias
from protocols.backends.fake import FakeBackend, SimulatedProbe
from storage.fake_mail import MongoFakeMail
from storage.mongo import Mongo
from tests.protocols.backends.mail_backend import HOUR, NOW, MailBackendContract, a_domain, a_mailbox

HOSTS = Hosts.of(DomainsSection(), "example.org")

Made = Callable[..., FakeBackend]


class Time:
    """A clock that goes when somebody sleeps by it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let it go."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def keep(mongo: Mongo) -> MongoFakeMail:
    return MongoFakeMail(mongo)


@pytest.fixture
def made(keep: MongoFakeMail, time: Time) -> Made:
    """Return a backend with these settings."""
    return lambda **settings: FakeBackend(keep, HOSTS, DomainsSection(**settings), time, time.sleep)


@pytest.fixture
def backend(made: Made) -> FakeBackend:
    return made()


class TestFake(MailBackendContract):
    """It keeps to the contract."""


async def test_records(backend: FakeBackend) -> None:
    """The records name the configured hosts and the domain's key; that of the webmail is for those who have one."""
    domain = a_domain(features=(Feature.MAILBOX,), dkim=DkimKey("s1", "MIIBIjAN"))
    records = [
        Record("", "mx", "mx.example.org."),
        Record("imap", "cname", "imap.example.org."),
        Record("smtp", "cname", "smtp.example.org."),
        Record("", "txt", "v=spf1 include:_spf.example.org -all"),
        Record("s1._domainkey", "txt", "v=DKIM1; h=sha256; k=rsa; p=MIIBIjAN"),
    ]
    assert await backend.records(domain) == records
    with_webmail = a_domain(dkim=domain.dkim)
    assert await backend.records(with_webmail) == [
        *records[:3],
        Record("webmail", "cname", "webmail.example.org."),
        *records[3:],
    ]


async def test_broken(backend: FakeBackend) -> None:
    """Under broken.test the certificate is missing, and repair does not mend that."""
    domain = a_domain("mine.broken.test")
    await backend.add_domain(domain)
    for _ in range(2):
        failing = {name: check for name, check in (await backend.check(domain)).items() if not check.ok}
        assert [(name, check.internal) for name, check in failing.items()] == [("cert", True)]
        await backend.repair(domain)


async def test_no_ox(backend: FakeBackend) -> None:
    """Where there are neither mailboxes nor a webmail, there is no groupware to check."""
    domain = a_domain(features=(Feature.ALIAS,))
    await backend.add_domain(domain)
    assert set(await backend.check(domain)) == {"postfix", "cert"}


async def test_features(backend: FakeBackend) -> None:
    """A domain that is added again has the features that it has then."""
    domain = a_domain(features=(Feature.ALIAS,))
    await backend.add_domain(domain)
    await backend.add_domain(a_domain(domain.name))
    assert await backend.add_mailbox(a_mailbox(domain))


async def test_emptied(backend: FakeBackend, keep: MongoFakeMail) -> None:
    """After it was emptied nothing is known any more, until the domain is repaired."""
    domain = a_domain()
    await backend.add_domain(domain)
    await backend.add_mailbox(a_mailbox(domain))
    await keep.clear()
    assert not (await backend.check(domain))["postfix"].ok
    await backend.repair(domain)
    assert await backend.add_mailbox(a_mailbox(domain))


async def test_sign_in_code(backend: FakeBackend) -> None:
    """A code lasts as long as it was asked for."""
    domain = a_domain()
    await backend.add_domain(domain)
    await backend.add_mailbox(a_mailbox(domain))
    assert (await backend.sign_in_code(a_mailbox(domain), HOUR, 2)).expires_at == NOW + HOUR


def calls(backend: FakeBackend, domain: Domain) -> Mapping[str, Callable[[], Any]]:
    """Return how each method of the port is called, in an order in which all succeed."""
    mailbox, alias = a_mailbox(domain), Alias(domain.name, "info", "me@elsewhere.example")
    return {
        "has_domain": lambda: backend.has_domain(domain.name),
        "add_domain": lambda: backend.add_domain(domain),
        "records": lambda: backend.records(domain),
        "check": lambda: backend.check(domain),
        "repair": lambda: backend.repair(domain),
        "add_mailbox": lambda: backend.add_mailbox(mailbox),
        "change_mailbox": lambda: backend.change_mailbox(mailbox),
        "reset_password": lambda: backend.reset_password(mailbox),
        "sign_in_code": lambda: backend.sign_in_code(mailbox, HOUR, 1),
        "add_alias": lambda: backend.add_alias(alias),
        "delete_alias": lambda: backend.delete_alias(alias),
        "delete_mailbox": lambda: backend.delete_mailbox(mailbox),
    }


async def everything(mongo: Mongo) -> Sequence[Any]:
    """Return all that is kept."""
    names = ("fake_domains", "fake_mailboxes", "fake_aliases")
    return [await mongo.collection(name).find().to_list(None) for name in names]


@pytest.mark.parametrize("operation", FAKE_FAULTS)
async def test_faults(made: Made, mongo: Mongo, operation: str) -> None:
    """What it is told to refuse is refused and changes nothing; the rest goes on."""
    domain = a_domain()
    refusing, other = (calls(made(fake_faults=faults), domain) for faults in ((operation,), ()))
    for name, call in refusing.items():
        if name == operation:
            before = await everything(mongo)
            with pytest.raises(Refused, match=operation):
                await call()
            assert await everything(mongo) == before
            await other[name]()
        else:
            await call()


async def test_withdrawing_fails(made: Made) -> None:
    """Where deletion is refused, so is taking back what may have been created."""
    with pytest.raises(Refused, match="delete_mailbox"):
        await made(fake_faults=("delete_mailbox",)).withdraw_mailbox(a_mailbox(a_domain()))


async def test_delay(made: Made, time: Time) -> None:
    """Every answer takes as long as it is told."""
    for number, call in enumerate(calls(made(fake_delay_s=2.5), a_domain()).values(), start=1):
        await call()
        assert time.now - NOW == timedelta(seconds=2.5 * number)


class LookedUp:
    """The probe beside it."""

    async def check(self, domain: Domain, records: Sequence[Record]) -> Mapping[str, DomainCheck]:
        """Say that it was asked, and for what."""
        return {f"{domain.name} {len(records)}": DomainCheck(internal=False)}


PROBE = SimulatedProbe(LookedUp())


@pytest.mark.parametrize("name", ["mine.ok.test", "mine.broken.test"])
async def test_simulated_probe(name: str) -> None:
    """Under ok.test and broken.test all external checks pass; that of the webmail is for those who have it."""
    checks = await PROBE.check(a_domain(name), [])
    assert set(checks) == {"domain_exist", "mx", "cname_imap", "cname_smtp", "cname_webmail", "spf", "dkim"}
    assert all(check.ok and not check.internal for check in checks.values())
    assert "cname_webmail" not in await PROBE.check(a_domain(name, features=(Feature.MAILBOX,)), [])


async def test_simulated_fault() -> None:
    """Under dns.test the MX is missing, and it is told what to do."""
    checks = await PROBE.check(a_domain("mine.dns.test"), [])
    assert [name for name, check in checks.items() if not check.ok] == ["mx"]
    (fault,) = checks["mx"].faults
    assert fault.code == "no_mx"
    assert "mine.dns.test" in fault.detail


@pytest.mark.parametrize("name", ["example.org", "ok.test", "notok.test", "ok.test.example.org"])
async def test_looked_up(name: str) -> None:
    """Any other name is looked up."""
    assert list(await PROBE.check(a_domain(name), [Record("", "mx", "mx.example.org.")])) == [f"{name} 1"]
