"""The gateway's own mails: each goes out once, whoever dies, and its secret does not stay."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from api.demo.provider import Provider
from api.main import Core, assembled_core
from api.metrics import Metrics
from api.stores import Stores, open_stores
from gateway import config as configuration
from gateway.errors import Deferred
from gateway.invitation import Invitation
from gateway.mailbox import Mailbox, MailboxStatus
from gateway.notice import GATEWAY_ID, Notice, NoticeKind, sender
from gateway.notify import Notify
from gateway.ports import MessageFilter, Page, system_clock
from gateway.roles import Role
from gateway.throttle import Throttle
from storage.mongo import Session
from tests.conftest import FRIEND
from tests.hosting import FaultyBackend
from tests.users import exist

DOMAIN = "news.ok.test"
OWNER, INVITED = str(uuid4()), str(uuid4())
LEASE = timedelta(minutes=1)
KINDS = list(NoticeKind)


class Killed(BaseException):
    """The process dies."""


@dataclass
class Life:
    """How many more steps a process takes before it dies."""

    left: int

    def step(self) -> None:
        """Take one. Raises Killed."""
        if self.left == 0:
            raise Killed
        self.left -= 1


@dataclass(frozen=True)
class Mortal:
    """What a process calls that may die before the call, or before it hears the answer."""

    real: Any
    life: Life

    def __getattr__(self, name: str) -> Any:
        """Return the method."""

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.life.step()
            answer = await getattr(self.real, name)(*args, **kwargs)
            self.life.step()
            return answer

        return call


@dataclass(frozen=True)
class TakenBack:
    """The invitations, of which each is taken back when its mail is to get a token."""

    real: Any

    def __getattr__(self, name: str) -> Any:
        """Return the method."""
        return getattr(self.real, name)

    async def set_token(self, invitation_id: str, token: str) -> bool:
        """Find nothing."""
        await self.real.delete(DOMAIN, invitation_id)
        return bool(await self.real.set_token(invitation_id, token))


class Office:
    """A gateway without workers, whose clock can be put forward, and the provider that its mails go to."""

    def __init__(self, stores: Stores, core: Core, provider: Provider) -> None:
        self.stores = stores
        self.core = core
        self.backend = FaultyBackend(stores.mongo, self.now)
        throttle = Throttle(stores.attempts, self.now)
        self.notify = replace(core.notify, backend=self.backend, throttle=throttle, clock=self.now)
        self._provider = provider
        self._ahead = timedelta()
        self._owners = count()

    def now(self) -> datetime:
        """Return the time of the office."""
        return system_clock() + self._ahead

    def put_forward(self, by: timedelta) -> None:
        """Let time pass."""
        self._ahead += by

    def mortal(self, life: Life) -> Notify:
        """Return the use case as it is run by a process that dies."""
        messages, raws = Mortal(self.stores.messages, life), Mortal(self.stores.raws, life)
        return replace(
            self.notify,
            notices=Mortal(self.stores.notices, life),
            invitations=Mortal(self.stores.invitations, life),
            backend=Mortal(self.backend, life),
            throttle=Throttle(Mortal(self.stores.attempts, life), self.now),
            compose=replace(self.notify.compose, messages=messages, raws=raws),
            send=replace(self.notify.send, messages=messages, raws=raws),
        )

    async def invite(self, email: str = FRIEND.address) -> Invitation:
        """Invite somebody to the domain."""
        return await self.core.invite.create(OWNER, DOMAIN, email, Role.VIEWER)

    async def note(self, kind: NoticeKind, **changes: Any) -> None:
        """Have a mailbox, changed so after its creation at the backend, and a notice of it."""
        mailbox = Mailbox(
            mailbox_id=str(uuid4()),
            domain=DOMAIN,
            local_part=f"box-{uuid4().hex}",
            first_name="Ada",
            last_name="B",
            display_name="Ada B",
            secondary_email=FRIEND.address,
            user_id=None,
            status=MailboxStatus.ENABLED,
            date_insert=self.now(),
            hosted=True,
        )
        await self.backend.add_mailbox(mailbox)
        await self.stores.mailboxes.add(DOMAIN, lambda _: replace(mailbox, **changes))

        async def insert(session: Session) -> None:
            notice = Notice(str(uuid4()), kind, DOMAIN, mailbox.local_part)
            await self.stores.notices.insert(notice, self.now(), session)

        await self.stores.mongo.in_transaction(insert)

    async def ask_for(self, kind: NoticeKind) -> None:
        """Do what makes the gateway write such a mail."""
        if kind is NoticeKind.INVITATION:
            await self.invite()
        else:
            await self.note(kind)

    async def work(self, notify: Notify) -> int:
        """Let a worker run the notices that are due, and return how many these were."""
        owner = f"owner {next(self._owners)}"
        notices = await self.stores.notices.claim(owner, self.now(), LEASE, 9)
        for notice in notices:
            await notify.run(owner, notice)
        return len(notices)

    async def work_all(self) -> None:
        """Let workers run all notices that are due."""
        while await self.work(self.notify):
            pass

    async def deliver(self) -> None:
        """Let a worker send the messages that are due."""
        for message in await self.stores.messages.claim("sender", self.now(), LEASE, 9):
            await self.core.send.run("sender", message)

    async def finish(self, notify: Notify) -> None:
        """Let workers go on, a minute later each time, until there is no notice."""
        while await self.stores.mongo.collection("notices").count_documents({}):
            await self.work(notify)
            await self.deliver()
            self.put_forward(2 * LEASE)

    async def left(self) -> tuple[int, int]:
        """Return how many messages of its own the gateway keeps, and of how many it keeps the bytes."""
        messages, _ = await self.stores.messages.list(GATEWAY_ID, MessageFilter(), Page())
        return messages, await self.stores.mongo.collection("raws").count_documents({})

    def mails(self, address: str = FRIEND.address) -> list[EmailMessage]:
        """Return what arrived for an address."""
        return [message_from_bytes(raw, policy=policy.default) for raw in self._provider.inbox(address)]

    async def works(self, kind: NoticeKind, mail: EmailMessage) -> bool:
        """True when the secret of a mail gives what it promises."""
        text = mail.get_content()
        if kind is NoticeKind.INVITATION:
            return await self.core.invite.accept(INVITED, secret_of(text)) == (DOMAIN, Role.VIEWER)
        (email,) = re.findall(rf"box-\w+@{DOMAIN}", str(mail["Subject"]))
        return self.backend.codes[email].code == secret_of(text)


def secret_of(text: str) -> str:
    """Return the one-time secret that stands alone on a line, or ends the link there."""
    (secret,) = re.findall(r"^(?:https://webmail\.home\.example/login/)?([\w-]{20,})\r?$", text, re.MULTILINE)
    return str(secret)


@pytest.fixture
async def office(settings: dict[str, Any], provider: Provider) -> AsyncIterator[Office]:
    """An office with one domain."""
    config = configuration.build(settings)
    async with AsyncExitStack() as stack:
        stores = await open_stores(config.storage, stack)
        core = await assembled_core(config, stores, Metrics(), stack)
        await stores.identities.put(sender("no-reply@home.example"))
        await exist(stores.mongo, OWNER)
        await core.host.create(OWNER, DOMAIN, None, ["mailbox"])
        yield Office(stores, core, provider)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_mail(office: Office, kind: NoticeKind) -> None:
    """A mail goes out from the gateway, once; its secret works and nothing of it is kept."""
    await office.ask_for(kind)
    await office.finish(office.notify)
    (mail,) = office.mails()
    assert mail["From"] == "Mail gateway <no-reply@home.example>"
    assert (mail["To"], mail["Auto-Submitted"]) == (FRIEND.address, "auto-generated")
    assert await office.left() == (0, 0)
    assert await office.works(kind, mail)


@pytest.mark.parametrize("kind", KINDS)
async def test_death(office: Office, kind: NoticeKind) -> None:
    """Whenever the worker dies, whoever takes over sends one mail in all, the secret of which works."""
    for steps in count():
        await office.ask_for(kind)
        life = Life(steps)
        try:
            await office.finish(office.mortal(life))
        except Killed:
            office.put_forward(2 * LEASE)
            await office.finish(office.notify)
        *_, mail = mails = office.mails()
        assert len(mails) == steps + 1
        assert (await office.left())[0] == 0
        assert await office.works(kind, mail)
        if life.left:
            break
    assert steps > 20


async def test_refused_for_good(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """A mail that the relay refuses is logged, without its secret, and not kept."""
    await office.invite("never@elsewhere.example")
    await office.finish(office.notify)
    assert "a mail was not sent" in caplog.messages
    assert office.mails("never@elsewhere.example") == []
    assert await office.left() == (0, 0)


async def test_on_its_way(office: Office) -> None:
    """A mail that the relay does not take yet is waited for, and not written again."""
    await office.invite("later@elsewhere.example")
    for _ in range(3):
        await office.work(office.notify)
        await office.deliver()
        office.put_forward(timedelta(hours=1))
    assert await office.left() == (1, 1)


async def test_taken_back(office: Office) -> None:
    """Of an invitation that is taken back before its mail is written there is no mail."""
    invitation = await office.invite()
    await office.core.invite.revoke(OWNER, DOMAIN, invitation.invitation_id)
    await office.finish(office.notify)
    assert (office.mails(), await office.left()) == ([], (0, 0))


async def test_void(office: Office) -> None:
    """Of an invitation by somebody who could not give that role any more there is no mail."""
    await office.invite()
    await office.stores.mongo.collection("domains").update_one({}, {"$set": {"managers": []}})
    await office.finish(office.notify)
    assert (office.mails(), await office.left()) == ([], (0, 0))


@pytest.mark.parametrize("change", [{"status": MailboxStatus.DISABLED}, {"secondary_email": None}])
async def test_nobody_to_tell(office: Office, change: dict[str, Any]) -> None:
    """Of a mailbox that nobody can sign in to, or be told of, there is no mail."""
    await office.note(NoticeKind.SIGN_IN_LINK, **change)
    await office.finish(office.notify)
    assert (office.mails(), await office.left()) == ([], (0, 0))


async def test_a_mailbox_that_is_gone(office: Office) -> None:
    """Of a mailbox that is gone there is no mail."""
    await office.note(NoticeKind.MAILBOX_CREATED)
    await office.stores.mongo.collection("mailboxes").delete_many({})
    await office.finish(office.notify)
    assert (office.mails(), await office.left()) == ([], (0, 0))


async def test_no_code(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """A mail backend that gives no code is asked less and less often, and given up after days."""
    await office.note(NoticeKind.SIGN_IN_LINK)
    await office.stores.mongo.collection("fake_mailboxes").delete_many({})
    waits = 0
    while await office.stores.mongo.collection("notices").count_documents({}):
        assert await office.work(office.notify) == 1
        assert await office.work(office.notify) == 0
        office.put_forward(timedelta(hours=5))
        waits += 1
    assert waits == 24
    assert "a mail is given up: the mail backend gives no code" in caplog.messages
    assert (office.mails(), await office.left()) == ([], (0, 0))


async def test_many_to_one_address(office: Office) -> None:
    """Who has mailboxes made with an address floods nobody: beyond twenty mails, one goes out in five minutes."""
    for address in (*[FRIEND.address] * 11, *[FRIEND.address.upper()] * 11, "other@elsewhere.example"):
        await office.note(NoticeKind.MAILBOX_CREATED, secondary_email=address)
    written = []
    for _ in range(4):
        await office.work_all()
        written.append((await office.left())[0])
        office.put_forward(timedelta(minutes=5))
    assert written == [21, 22, 23, 23]


async def test_invitations_to_one_address(office: Office) -> None:
    """Mails of invitations count with the others to their recipient, whoever invites."""
    for _ in range(20):
        await office.note(NoticeKind.MAILBOX_CREATED)
    await office.work_all()
    await office.invite(FRIEND.address.upper())
    await office.invite("other@elsewhere.example")
    written = []
    for _ in range(2):
        await office.work_all()
        written.append((await office.left())[0])
        office.put_forward(timedelta(minutes=5))
    assert written == [21, 22]


async def test_invitations_that_do_not_go_out(office: Office) -> None:
    """An invitation that is taken back while its mail is written does not hinder others."""
    taken_back = replace(office.notify, invitations=TakenBack(office.stores.invitations))
    for _ in range(20):
        await office.invite()
        assert await office.work(taken_back) == 1
    assert await office.left() == (0, 0)
    await office.invite()
    await office.work_all()
    assert (await office.left())[0] == 1


async def test_waiting_is_no_attempt(office: Office) -> None:
    """A mail that waits because there were too many is not nearer to being given up."""
    for _ in range(21):
        await office.note(NoticeKind.SIGN_IN_LINK)
    await office.work_all()
    assert await office.stores.mongo.collection("notices").count_documents({"attempts": 0}) == 1


async def test_what_does_not_go_out(office: Office) -> None:
    """Mails that cannot be written yet do not hinder others."""
    for _ in range(20):
        await office.note(NoticeKind.SIGN_IN_LINK)
    office.backend.before.extend([Deferred("Later.")] * 20)
    await office.work_all()
    assert await office.left() == (0, 0)
    await office.note(NoticeKind.SIGN_IN_LINK)
    await office.work_all()
    assert (await office.left())[0] == 1
