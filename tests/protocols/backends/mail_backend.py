"""What every mail backend keeps to. A test module takes this suite over and says by fixtures what is tested.

::

    class TestMine(MailBackendContract):
        @pytest.fixture
        async def backend(self) -> AsyncIterator[MailBackend]: ...

Names of domains and of what is in them are fresh in each test: the servers behind may keep what others left.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from gateway.domain import DkimKey, Domain, DomainStatus, Feature
from gateway.errors import Conflict, Refused
from gateway.mailbox import Alias, Mailbox, MailboxStatus
from gateway.ports import MailBackend

NOW = datetime(2026, 7, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
STRONG = 16  # characters of a password


def a_domain(name: str = "", **changes: Any) -> Domain:
    """Return a domain, with a name under which all checks pass."""
    name = name or f"d{uuid4().hex[:12]}.ok.test"
    values: dict[str, Any] = {
        "name": name,
        "context": name,
        "features": (Feature.MAILBOX, Feature.WEBMAIL, Feature.ALIAS),
        "status": DomainStatus.PENDING,
        "dkim": DkimKey("dkim", "MIIB"),
        "roles": {},
        "date_insert": NOW,
        "checks": {},
    }
    return Domain(**values | changes)


def a_mailbox(domain: Domain, local_part: str = "me", **changes: Any) -> Mailbox:
    """Return a mailbox of a domain."""
    values: dict[str, Any] = {
        "mailbox_id": str(uuid4()),
        "domain": domain.name,
        "local_part": local_part,
        "first_name": "Zoë",
        "last_name": "O'Neil",
        "display_name": "Zoë O'Neil",
        "secondary_email": None,
        "user_id": None,
        "status": MailboxStatus.ENABLED,
        "date_insert": NOW,
    }
    return Mailbox(**values | changes)


async def assert_there(backend: MailBackend, mailbox: Mailbox) -> None:
    """Hold that the mailbox is not created again; not every backend knows that it is this one."""
    with suppress(Conflict):
        assert await backend.add_mailbox(mailbox) is None


class MailBackendContract:
    """The tests; subclasses have a fixture ``backend``."""

    @pytest.fixture
    async def domain(self, backend: MailBackend) -> Domain:
        """A domain that the backend hosts."""
        domain = a_domain()
        await backend.add_domain(domain)
        return domain

    async def test_domain(self, backend: MailBackend, domain: Domain) -> None:
        """A domain is hosted, however often it is added, and nothing is wrong with it."""
        await backend.add_domain(domain)
        checks = await backend.check(domain)
        assert set(checks) == {"postfix", "ox", "cert"}
        assert all(check.ok and check.internal for check in checks.values())

    async def test_has_domain(self, backend: MailBackend, domain: Domain) -> None:
        """It is told whether there is a domain of a name, in its one spelling."""
        assert await backend.has_domain(domain.name)
        international = a_domain(f"bücher-{uuid4().hex[:8]}.ok.test")
        assert not await backend.has_domain(international.name)
        await backend.add_domain(international)
        assert await backend.has_domain(international.name)

    async def test_repair(self, backend: MailBackend) -> None:
        """A domain that the backend does not know, or not any more, fails a check until it is repaired."""
        domain = a_domain()
        check = (await backend.check(domain))["postfix"]
        assert check.internal
        assert check.faults[0].code
        assert check.faults[0].detail
        await backend.repair(domain)
        assert all(check.ok for check in (await backend.check(domain)).values())

    async def test_other_context(self, backend: MailBackend, domain: Domain) -> None:
        """A name that is in one context already is not moved into another."""
        with pytest.raises(Refused):
            await backend.add_domain(a_domain(domain.name, context="another"))
        await backend.add_domain(domain)

    async def test_shared_context(self, backend: MailBackend, domain: Domain) -> None:
        """Domains may share a context, whose name need not be ASCII."""
        context = f"bücher-{uuid4().hex[:8]}.ok.test"
        for each in (a_domain(context=context), a_domain(context), a_domain(context=domain.name)):
            await backend.add_domain(each)
            await backend.add_domain(each)

    async def test_records(self, backend: MailBackend, domain: Domain) -> None:
        """The owner learns what to publish: MX, the hosts' CNAMEs, SPF and the DKIM key."""
        records = {(record.target, record.type): record.value for record in await backend.records(domain)}
        hosts = [("", "mx"), ("imap", "cname"), ("smtp", "cname"), ("webmail", "cname")]
        assert all(records[key].endswith(".") for key in hosts)
        assert records["", "txt"].startswith("v=spf1 ")
        (key,) = [value for (target, _), value in records.items() if target.endswith("._domainkey")]
        assert key.startswith("v=DKIM1;")

    async def test_mailbox(self, backend: MailBackend, domain: Domain) -> None:
        """A mailbox is created once, with a strong password; removed, it can be created again."""
        mailbox = a_mailbox(domain)
        first = await backend.add_mailbox(mailbox)
        assert first is not None
        assert len(first) >= STRONG
        await assert_there(backend, mailbox)
        await backend.delete_mailbox(mailbox)
        await backend.delete_mailbox(mailbox)
        assert await backend.add_mailbox(mailbox) not in (None, first)

    async def test_at_once(self, backend: MailBackend, domain: Domain) -> None:
        """Of many who create a mailbox at once, one gets its password."""
        creations = (backend.add_mailbox(a_mailbox(domain)) for _ in range(8))
        outcomes = await asyncio.gather(*creations, return_exceptions=True)
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7
        assert sum(isinstance(outcome, str) for outcome in outcomes) == 1

    async def test_somebody_elses(self, backend: MailBackend, domain: Domain) -> None:
        """Another's mailbox of that address is in the way, and is not removed with what is withdrawn."""
        await backend.add_mailbox(a_mailbox(domain))
        other = a_mailbox(domain)
        with pytest.raises(Conflict):
            await backend.add_mailbox(other)
        with suppress(Conflict):  # where nobody knows whose it is
            await backend.withdraw_mailbox(other)
        with pytest.raises(Conflict):
            await backend.add_mailbox(other)

    async def test_withdraw(self, backend: MailBackend, domain: Domain) -> None:
        """What may have been created is gone after it was withdrawn, or it is told that it may be another's."""
        mailbox = a_mailbox(domain)
        await backend.withdraw_mailbox(mailbox)
        await backend.add_mailbox(mailbox)
        try:
            await backend.withdraw_mailbox(mailbox)
        except Conflict:
            await assert_there(backend, mailbox)
        else:
            assert await backend.add_mailbox(mailbox)

    async def test_no_domain(self, backend: MailBackend) -> None:
        """Where there is no domain, nothing is created in it."""
        domain = a_domain()
        with pytest.raises(Refused):
            await backend.add_mailbox(a_mailbox(domain))
        with pytest.raises(Refused):
            await backend.add_alias(Alias(domain.name, "info", "me@elsewhere.example"))

    async def test_no_feature(self, backend: MailBackend) -> None:
        """A domain without the feature has no mailboxes."""
        domain = a_domain(features=(Feature.ALIAS,))
        await backend.add_domain(domain)
        assert all(check.ok for check in (await backend.check(domain)).values())
        with pytest.raises(Refused):
            await backend.add_mailbox(a_mailbox(domain))

    async def test_no_mailbox(self, backend: MailBackend, domain: Domain) -> None:
        """What is not there is not changed, gets no password and no code; to remove it is no error."""
        mailbox = a_mailbox(domain)
        with pytest.raises(Refused):
            await backend.change_mailbox(mailbox)
        with pytest.raises(Refused):
            await backend.reset_password(mailbox)
        with pytest.raises(Refused):
            await backend.sign_in_code(mailbox, HOUR, 1)
        await backend.delete_mailbox(mailbox)
        await backend.delete_alias(Alias(domain.name, "info", "me@elsewhere.example"))

    async def test_change(self, backend: MailBackend, domain: Domain) -> None:
        """A mailbox is put out of use and into use again, and its names are changed, to none too."""
        await backend.add_mailbox(a_mailbox(domain))
        await backend.change_mailbox(a_mailbox(domain, status=MailboxStatus.DISABLED))
        await backend.change_mailbox(a_mailbox(domain, status=MailboxStatus.DISABLED))
        await backend.change_mailbox(a_mailbox(domain, first_name="", last_name="", display_name="Reception"))

    async def test_reset_password(self, backend: MailBackend, domain: Domain) -> None:
        """Each reset gives another strong password."""
        passwords = {await backend.add_mailbox(a_mailbox(domain))}
        passwords |= {await backend.reset_password(a_mailbox(domain)) for _ in range(2)}
        assert len(passwords) == 3
        assert all(password and len(password) >= STRONG for password in passwords)

    async def test_sign_in_code(self, backend: MailBackend, domain: Domain) -> None:
        """Each code is another one, and it is told until when and how often it can be used."""
        mailbox = a_mailbox(domain)
        await backend.add_mailbox(mailbox)
        code, other = [await backend.sign_in_code(mailbox, HOUR, 3) for _ in range(2)]
        assert code.code != other.code
        assert code.max_uses == 3
        assert timedelta(0) <= other.expires_at - code.expires_at < HOUR
        assert code.code not in repr(code)

    async def test_alias(self, backend: MailBackend, domain: Domain) -> None:
        """An alias is created once, and removed however often; one to another destination is another."""
        for destination in ("me@elsewhere.example", f"me@{domain.name}", "moi@bücher.example"):
            alias = Alias(domain.name, "info", destination)
            assert await backend.add_alias(alias)
            assert not await backend.add_alias(alias)
            await backend.delete_alias(alias)
            await backend.delete_alias(alias)
            assert await backend.add_alias(alias)

    @pytest.mark.parametrize("local_part", ["o'brien", "a.b-c_d", "x+tag", "!#$%&'*+-/=?^_`{|}~", "%2f", "a/./b"])
    async def test_local_parts(self, backend: MailBackend, domain: Domain, local_part: str) -> None:
        """Every local part names a mailbox of its own, and an alias."""
        mailbox = a_mailbox(domain, local_part)
        assert await backend.add_mailbox(mailbox)
        await assert_there(backend, mailbox)
        await backend.change_mailbox(mailbox)
        assert await backend.reset_password(mailbox)
        assert (await backend.sign_in_code(mailbox, HOUR, 1)).code
        await backend.delete_mailbox(mailbox)
        alias = Alias(domain.name, f"x{local_part}", f"{local_part}@elsewhere.example")
        await backend.add_alias(alias)
        await backend.delete_alias(alias)

    async def test_international(self, backend: MailBackend) -> None:
        """A domain may have any script."""
        domain = a_domain(f"bücher-{uuid4().hex[:8]}.ok.test")
        await backend.add_domain(domain)
        await backend.add_domain(domain)
        assert await backend.records(domain)
        assert all(check.ok for check in (await backend.check(domain)).values())
        assert await backend.add_mailbox(a_mailbox(domain))
        await backend.add_alias(Alias(domain.name, "info", f"me@{domain.name}"))
