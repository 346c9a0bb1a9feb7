"""Hosted domains on a real database, a mail backend that fails when it is told to, and a clock that is set."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from gateway import ports
from gateway.config import DomainsSection
from gateway.domain import DkimKey, Domain, DomainStatus, Feature
from gateway.identity import IdentityStatus, IdentityType, UserIdentity
from gateway.mail_hosts import Hosts
from gateway.mailbox import Mailbox, taken
from gateway.ports import Page, SignInCode
from gateway.provision import NewMailbox, Provision
from gateway.roles import Role
from gateway.user import User
from gateway.work import LEASE
from protocols.backends.fake import FakeBackend
from storage import domains, erasures, identities, mailboxes, notices, secrets, tokens, users
from storage.domains import MongoDomains
from storage.erasures import MongoErasures
from storage.fake_mail import MAILBOXES as AT_BACKEND
from storage.fake_mail import MongoFakeMail
from storage.identities import MongoIdentities
from storage.mailboxes import MongoMailboxes
from storage.mongo import Mongo
from storage.notices import NOTICES, MongoNotices
from storage.secrets import Vault
from storage.tokens import MongoTokens
from storage.users import MongoUsers
from tests.protocols.backends.mail_backend import a_mailbox
from tests.users import exist

NOW = datetime(2026, 7, 20, tzinfo=UTC)
NAME = "bücher.example"
INDEXES = (
    domains.INDEXES
    | erasures.INDEXES
    | identities.INDEXES
    | mailboxes.INDEXES
    | notices.INDEXES
    | secrets.INDEXES
    | tokens.INDEXES
    | users.INDEXES
)


class Died(Exception):
    """A process that ends in the middle."""


@dataclass
class Clock:
    """The time, which passes when it is told to."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


class FaultyBackend(FakeBackend):
    """The fake, which raises ``before`` it does what it is asked for, or ``after`` it has created a mailbox.

    ``codes`` are the last ones that it gave, by the mailboxes to which they sign in. ``blind``: it does not know
    who made a mailbox, as a dimail server.
    """

    def __init__(self, mongo: Mongo, clock: ports.Clock) -> None:
        settings = DomainsSection()
        super().__init__(MongoFakeMail(mongo), Hosts.of(settings, "home.example"), settings, clock, self._begins)
        self.before: deque[Exception] = deque()
        self.after: deque[Exception] = deque()
        self.codes: dict[str, SignInCode] = {}
        self.blind = False

    async def _begins(self, _seconds: float) -> None:
        if self.before:
            raise self.before.popleft()

    async def add_mailbox(self, mailbox: Mailbox) -> str | None:
        """Create a mailbox."""
        password = await super().add_mailbox(mailbox)
        if self.blind and password is None:
            raise taken(mailbox)
        if self.after:
            raise self.after.popleft()
        return password

    async def withdraw_mailbox(self, mailbox: Mailbox) -> None:
        """Remove what was created of a mailbox."""
        if self.blind and await self._keep.is_active(mailbox.email) is not None:
            raise taken(mailbox)
        await super().withdraw_mailbox(mailbox)

    async def sign_in_code(self, mailbox: Mailbox, expires_in: timedelta, max_uses: int) -> SignInCode:
        """Return a new code."""
        self.codes[mailbox.email] = await super().sign_in_code(mailbox, expires_in, max_uses)
        return self.codes[mailbox.email]


@dataclass(frozen=True)
class Hosting:
    """Everything that a mailbox needs."""

    mongo: Mongo
    domains: MongoDomains
    mailboxes: MongoMailboxes
    identities: MongoIdentities
    users: MongoUsers
    backend: FaultyBackend
    provision: Provision
    clock: Clock

    async def host(self, status: DomainStatus = DomainStatus.ENABLED, name: str = NAME) -> Domain:
        """Host a domain."""
        domain = Domain(
            name=name,
            context=name,
            features=tuple(Feature),
            status=status,
            dkim=DkimKey("dkim", "AAAA"),
            roles={"me": Role.OWNER},
            date_insert=NOW,
            checks={},
        )
        await self.domains.add(domain, "a private key")
        await self.backend.add_domain(domain)
        return domain

    async def set_status(self, status: DomainStatus, name: str = NAME) -> None:
        """Give a domain a status, as a check or its owner does."""
        domain = await self.domains.get(name)
        after = replace(domain, status=status, last_check=self.clock())
        if DomainStatus.DISABLED in (status, domain.status):
            assert await self.domains.save(domain, after)
            domain = await self.domains.get(name)
            after = replace(domain, last_check=self.clock())
        assert await self.domains.record_check(domain, after)

    async def create(self, local_part: str = "me", **changes: str | None) -> Mailbox:
        """Create a mailbox."""
        mailbox, _ = await self.provision.create(NAME, new(local_part, **changes))
        return mailbox

    async def stranger(self, local_part: str = "me") -> Mapping[str, bool]:
        """Let the backend have a mailbox that is somebody else's; return what it has."""
        await self.backend.add_mailbox(a_mailbox(await self.domains.get(NAME), local_part))
        return await self.at_backend()

    async def get(self, local_part: str = "me") -> Mailbox:
        """Return a mailbox."""
        return await self.provision.get(NAME, local_part)

    async def work(self, limit: int = 100) -> Sequence[Mailbox]:
        """Do what a worker does now, once; return what it took. It may die of it."""
        owner = str(uuid4())
        claimed = await self.mailboxes.claim(owner, self.clock(), LEASE, limit)
        for mailbox in claimed:
            with suppress(Died):
                await self.provision.run(owner, mailbox)
        return claimed

    def later(self, passed: timedelta = LEASE) -> None:
        """Let time pass."""
        self.clock.now += passed

    async def at_backend(self) -> Mapping[str, bool]:
        """Return which mailboxes the backend has, and whether they are in use."""
        return {each["_id"]: each["active"] async for each in self.mongo.collection(AT_BACKEND).find()}

    async def notices(self) -> Sequence[str]:
        """Return which mails are to go out, about what: kind and local part."""
        found = self.mongo.collection(NOTICES).find()
        return sorted([f"{each['kind']}: {each['subject']}" async for each in found])

    async def user(self, name: str = "somebody") -> str:
        """Register a user, who has no identity at a hosted domain; return the user_id."""
        user = User(str(uuid4()), name, name, None, NOW)
        first = local_identity(user.user_id, f"{name}@home.example")
        await self.users.add(user, "a hash", first)
        return user.user_id

    async def identities_of(self, user_id: str) -> Sequence[UserIdentity]:
        """Return the identities that a user has at hosted domains."""
        _, found = await self.identities.list(user_id, {}, Page())
        return [each async for each in found if not each.identifier.endswith("@home.example")]


def new(local_part: str = "me", **changes: str | None) -> NewMailbox:
    """Return what is asked for."""
    values: dict[str, Any] = {"local_part": local_part, "first_name": "Ada", "last_name": "Grüße", **changes}
    return NewMailbox(**values)


def local_identity(user_id: str, address: str) -> UserIdentity:
    """Return a local identity of a user."""
    return UserIdentity(
        identity_id=str(uuid4()),
        user_id=user_id,
        type=IdentityType.LOCAL,
        protocol="smtp",
        identifier=address,
        display_name=address,
        status=IdentityStatus.ACTIVE,
        infos={},
        last_check=None,
    )


async def a_hosting(mongo: Mongo, directory: Path) -> Hosting:
    """Return everything, with nothing in it."""
    await mongo.ensure_indexes(INDEXES)
    await exist(mongo, "me")
    clock = Clock()
    vault = Vault(mongo, directory / "key")
    await vault.open()
    of_domains, of_identities = MongoDomains(mongo, vault), MongoIdentities(mongo, vault, clock)
    of_mailboxes = MongoMailboxes(mongo, of_domains, of_identities, MongoNotices(mongo), clock)
    of_users = MongoUsers(mongo, of_identities, MongoTokens(mongo), MongoErasures(mongo, {}), of_domains)
    backend = FaultyBackend(mongo, clock)
    provision = Provision(of_domains, of_mailboxes, of_users, backend, clock, asyncio.Event(), lambda: 0.5)
    return Hosting(mongo, of_domains, of_mailboxes, of_identities, of_users, backend, provision, clock)
