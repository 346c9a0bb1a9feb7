"""A mail backend that keeps no mail: it gives the answers of a real one and remembers what it was told.

With it a gateway can be tried, and tested, without mail servers. Names of domains choose how their checks end:
under ``ok.test`` all pass, under ``dns.test`` an external one fails, under ``broken.test`` an internal one that
repair does not mend. Any other name is looked up for real.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from gateway.config import DomainsSection
from gateway.domain import Domain, DomainCheck, Fault, Feature, Record
from gateway.errors import Refused
from gateway.mail_hosts import Hosts
from gateway.mailbox import Alias, Mailbox, taken
from gateway.ports import Clock, DomainProbe, SignInCode

_PASSWORD_BYTES = 18
_CODE_BYTES = 32
_GOOD, _WRONG_DNS, _BROKEN = ".ok.test", ".dns.test", ".broken.test"
_PASSED = DomainCheck(internal=True)


class Keep(Protocol):
    """Where the fake keeps its state. Every method raises Unavailable when the database does not answer."""

    async def put_domain(self, domain: Domain) -> bool:
        """Keep a domain with its features. False, and nothing changed, where its name is in another context."""

    async def features(self, domain: str) -> Collection[Feature] | None:
        """Return the features of a domain, None where there is no such domain."""

    async def add_mailbox(self, mailbox: Mailbox) -> bool:
        """Keep a mailbox; False, and nothing changed, where there is one of that address."""

    async def has_mailbox(self, mailbox: Mailbox) -> bool:
        """True when it is that very mailbox that has the address."""

    async def withdraw_mailbox(self, mailbox: Mailbox) -> None:
        """Remove that very mailbox, if it is there."""

    async def change_mailbox(self, mailbox: Mailbox) -> bool:
        """Keep which one it is, its names, and whether it is in use; False where its address has no mailbox."""

    async def is_active(self, email: str) -> bool | None:
        """Return whether a mailbox is in use, None where there is no such mailbox."""

    async def delete_mailbox(self, email: str) -> None:
        """Remove a mailbox, if it is there."""

    async def add_alias(self, alias: Alias) -> bool:
        """Keep an alias; False where it is there already."""

    async def delete_alias(self, alias: Alias) -> None:
        """Remove an alias, if it is there."""


class FakeBackend:
    """The core's MailBackend. ``settings`` say what it refuses and how long its answers take."""

    def __init__(
        self,
        keep: Keep,
        hosts: Hosts,
        settings: DomainsSection,
        clock: Clock,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._keep = keep
        self._hosts = hosts
        self._settings = settings
        self._clock = clock
        self._sleep = sleep

    async def has_domain(self, name: str) -> bool:
        """True when there is a domain of that name."""
        await self._begin("has_domain")
        return await self._keep.features(name) is not None

    async def add_domain(self, domain: Domain) -> None:
        """Host a domain with its features. Raises Refused where its name is in another context."""
        await self._begin("add_domain")
        await self._put(domain)

    async def records(self, domain: Domain) -> Sequence[Record]:
        """Return the DNS records that the owner has to publish."""
        await self._begin("records")
        hosts, dkim = self._hosts, domain.dkim
        webmail = [Record("webmail", "cname", f"{hosts.webmail}.")] if Feature.WEBMAIL in domain.features else []
        return [
            Record("", "mx", f"{hosts.mx}."),
            Record("imap", "cname", f"{hosts.imap}."),
            Record("smtp", "cname", f"{hosts.smtp}."),
            *webmail,
            Record("", "txt", f"v=spf1 include:{hosts.spf} -all"),
            Record(f"{dkim.selector}._domainkey", "txt", f"v=DKIM1; h=sha256; k=rsa; p={dkim.public}"),
        ]

    async def check(self, domain: Domain) -> Mapping[str, DomainCheck]:
        """Return how the internal checks end: a domain that is not hosted fails until it is repaired."""
        await self._begin("check")
        checks = {"postfix": _PASSED, "ox": _PASSED, "cert": _PASSED}
        if await self._keep.features(domain.name) is None:
            checks["postfix"] = _failed("not_hosted", f"{domain.name} is not known to the mail servers.")
        if not {Feature.MAILBOX, Feature.WEBMAIL} & set(domain.features):
            del checks["ox"]
        if domain.name.endswith(_BROKEN):
            checks["cert"] = _failed("no_cert", f"There is no certificate for {domain.name}.")
        return checks

    async def repair(self, domain: Domain) -> None:
        """Host the domain, if it is not."""
        await self._begin("repair")
        await self._put(domain)

    async def add_mailbox(self, mailbox: Mailbox) -> str | None:
        """Create a mailbox; return its password, which is not kept, or None where it is there already.

        Raises Conflict where another one has the address.
        """
        await self._begin("add_mailbox")
        if Feature.MAILBOX not in await self._features(mailbox.domain):
            raise Refused(f"{mailbox.domain} has no mailboxes: its feature mailbox is off.")
        if await self._keep.add_mailbox(mailbox):
            return secrets.token_urlsafe(_PASSWORD_BYTES)
        if not await self._keep.has_mailbox(mailbox):
            raise taken(mailbox)
        return None

    async def withdraw_mailbox(self, mailbox: Mailbox) -> None:
        """Remove what add_mailbox() may have created of this mailbox."""
        await self._begin("delete_mailbox")
        await self._keep.withdraw_mailbox(mailbox)

    async def change_mailbox(self, mailbox: Mailbox) -> None:
        """Give a mailbox the names that it has here, and let it be in use if it is enabled here."""
        await self._begin("change_mailbox")
        if not await self._keep.change_mailbox(mailbox):
            raise _no_mailbox(mailbox)

    async def delete_mailbox(self, mailbox: Mailbox) -> None:
        """Remove a mailbox."""
        await self._begin("delete_mailbox")
        await self._keep.delete_mailbox(mailbox.email)

    async def reset_password(self, mailbox: Mailbox) -> str:
        """Return a new password, which is not kept: nobody signs in with it."""
        await self._begin("reset_password")
        if await self._keep.is_active(mailbox.email) is None:
            raise _no_mailbox(mailbox)
        return secrets.token_urlsafe(_PASSWORD_BYTES)

    async def sign_in_code(self, mailbox: Mailbox, expires_in: timedelta, max_uses: int) -> SignInCode:
        """Return a new code, which is not kept: nobody signs in with it."""
        await self._begin("sign_in_code")
        if await self._keep.is_active(mailbox.email) is None:
            raise _no_mailbox(mailbox)
        return SignInCode(secrets.token_urlsafe(_CODE_BYTES), self._clock() + expires_in, max_uses)

    async def add_alias(self, alias: Alias) -> bool:
        """Create an alias; False where it is there already."""
        await self._begin("add_alias")
        await self._features(alias.domain)
        return await self._keep.add_alias(alias)

    async def delete_alias(self, alias: Alias) -> None:
        """Remove an alias."""
        await self._begin("delete_alias")
        await self._keep.delete_alias(alias)

    async def _begin(self, operation: str) -> None:
        await self._sleep(self._settings.fake_delay_s)
        if operation in self._settings.fake_faults:
            raise Refused(f"The fake mail backend is told to refuse this: domains.fake_faults names {operation}.")

    async def _put(self, domain: Domain) -> None:
        if not await self._keep.put_domain(domain):
            raise Refused(f"{domain.name} is in another context than {domain.context}.")

    async def _features(self, domain: str) -> Collection[Feature]:
        features = await self._keep.features(domain)
        if features is None:
            raise Refused(f"The mail backend has no domain {domain}.")
        return features


class SimulatedProbe:
    """The core's DomainProbe beside the fake backend: some names are not looked up."""

    def __init__(self, real: DomainProbe) -> None:
        self._real = real

    async def check(self, domain: Domain, records: Sequence[Record]) -> Mapping[str, DomainCheck]:
        """Return how the external checks end."""
        if not domain.name.endswith((_GOOD, _WRONG_DNS, _BROKEN)):
            return await self._real.check(domain, records)
        names = ["domain_exist", "mx", "cname_imap", "cname_smtp", "cname_webmail", "spf", "dkim"]
        if Feature.WEBMAIL not in domain.features:
            names.remove("cname_webmail")
        checks = {name: DomainCheck(internal=False) for name in names}
        if domain.name.endswith(_WRONG_DNS):
            fault = Fault(
                "no_mx", f"There is no MX record of {domain.ascii_name}. Publish the one that is expected."
            )
            checks["mx"] = DomainCheck(internal=False, faults=(fault,))
        return checks


def _failed(code: str, detail: str) -> DomainCheck:
    return DomainCheck(internal=True, faults=(Fault(code, detail),))


def _no_mailbox(mailbox: Mailbox) -> Refused:
    return Refused(f"The mail backend has no mailbox {mailbox.email}.")
