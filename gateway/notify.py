"""Notifying: the mails that the gateway itself sends, of invitations and mailboxes, each exactly once.

A notice is stored by the transaction that it tells of; a worker claims it until it is done: 1. where its mail is
not ordered yet, write it, with a fresh one-time secret; where what it tells of is gone, there is nothing to send,
and where its recipient gets too many, it waits; 2. store a draft whose id is the notice's, without the text;
3. order its sending, with the text: once ordered, it stays so; 4. look again until that has ended; 5. note that it
is over; 6. erase the message, and with it the secret; 7. forget the notice. Whoever takes over after a death begins
at the first of these that is not done yet. The secret is stored in the bytes to be sent only, which are sealed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from gateway import letter, retry
from gateway.address import normalise_identifier
from gateway.compose import Compose, Wording
from gateway.delivery import DeliveryState
from gateway.errors import NotFound, RemoteError, TooOften
from gateway.letter import Letter
from gateway.mailbox import MailboxStatus
from gateway.message import Message, Participant
from gateway.notice import GATEWAY_ID, SENDER_ID, Notice, NoticeKind
from gateway.patch import Change
from gateway.ports import Clock, Invitations, MailBackend, Mailboxes, Notices, Users
from gateway.send import Send
from gateway.throttle import Throttle

logger = logging.getLogger(__name__)

_TOKEN_BYTES = 32
_CODE_LIFE = timedelta(hours=24)
_LOOK_AGAIN = timedelta(minutes=1)
_MOST_ATTEMPTS = 24  # to get a code from the mail backend; by the schedule of gateway/retry.py that is three days


@dataclass(frozen=True)
class Notify:
    """Writes and sends the gateway's own mails. ``noticed`` wakes the worker."""

    notices: Notices
    invitations: Invitations
    mailboxes: Mailboxes
    backend: MailBackend
    users: Users
    compose: Compose
    send: Send
    throttle: Throttle
    public_url: str
    sign_in_url: str
    clock: Clock
    noticed: asyncio.Event
    chance: Callable[[], float] = random.random

    async def run(self, owner: str, notice: Notice, /) -> None:
        """Do what is due for a notice. Raises Unavailable."""
        if notice.over:
            await self._clear(owner, notice)
            return
        try:
            message = await self._ordered(notice)
        except NotFound:
            await self._clear(owner, notice)
        except TooOften as error:
            untried = replace(notice, attempts=notice.attempts - 1)
            await self.notices.postpone(owner, untried, self.clock() + timedelta(seconds=error.retry_after))
        except RemoteError as error:
            await self._try_later(owner, notice, error)
        else:
            if message.delivery and message.delivery.state in (DeliveryState.SENT, DeliveryState.FAILED):
                await self._end(owner, notice, message)
            else:
                await self.notices.postpone(owner, notice, self.clock() + _LOOK_AGAIN)

    async def _ordered(self, notice: Notice) -> Message:
        """Return the message of a notice, now ordered if it was not. Raises as :meth:`_letter` does."""
        with suppress(NotFound):
            message = await self.compose.get(GATEWAY_ID, notice.notice_id)
            if message.delivery:
                return message
        mail = await self._letter(notice)
        recipient = Participant(mail.to, "", "To")
        wording = Wording(identity_id=SENDER_ID, subject=mail.subject, participants=[recipient])
        await self.compose.create(GATEWAY_ID, wording, message_id=notice.notice_id, fingerprint="")
        return await self.send.order(GATEWAY_ID, notice.notice_id, body=mail.body)

    async def _letter(self, notice: Notice) -> Letter:
        """Return what to write.

        Raises NotFound (it is gone), TooOften (for its recipient), RemoteError (the mail backend gives no code).
        """
        if notice.kind is NoticeKind.INVITATION:
            return await self._invitation(notice)
        mailbox = await self.mailboxes.get(notice.domain, notice.subject)
        if mailbox.secondary_email is None or mailbox.status is not MailboxStatus.ENABLED:
            raise NotFound("Nobody can sign in to this mailbox, or be told how to.")
        async with self._counted(mailbox.secondary_email):
            code = await self.backend.sign_in_code(mailbox, _CODE_LIFE, 1)
        return letter.sign_in(notice.kind, mailbox, mailbox.secondary_email, code, self.sign_in_url)

    @asynccontextmanager
    async def _counted(self, recipient: str) -> AsyncIterator[None]:
        """Count a mail: whoever makes mailboxes, or invites, can name anybody's address. Raises TooOften."""
        attempt = await self.throttle.spend("notice", normalise_identifier(recipient))
        try:
            yield
        except (NotFound, RemoteError):
            await self.throttle.take_back(attempt)  # no mail goes out
            raise

    async def _invitation(self, notice: Notice) -> Letter:
        invitation = await self.invitations.get(notice.domain, notice.subject, self.clock())
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        async with self._counted(invitation.email):
            if not await self.invitations.set_token(invitation.invitation_id, token):
                raise NotFound("There is no such invitation, or it is void.")
        names = await self.users.names([invitation.invited_by])
        inviter = names.get(invitation.invited_by, "Somebody")
        return letter.invitation(invitation, inviter, token, self.public_url)

    async def _try_later(self, owner: str, notice: Notice, error: RemoteError) -> None:
        told = {"kind": notice.kind.value, "domain": notice.domain, "error": str(error)}
        if notice.attempts < _MOST_ATTEMPTS:
            logger.info("a mail cannot be written yet", extra=told)
            later = self.clock() + retry.delay(notice.attempts, self.chance())
            await self.notices.postpone(owner, notice, later)
        else:
            logger.warning("a mail is given up: the mail backend gives no code", extra=told)
            await self.notices.done(owner, notice)

    async def _end(self, owner: str, notice: Notice, message: Message) -> None:
        if message.delivery and message.delivery.state is DeliveryState.FAILED:
            told = {"kind": notice.kind.value, "domain": notice.domain, "error": message.delivery.last_error}
            logger.warning("a mail was not sent", extra=told)
        over = replace(notice, over=True)
        if await self.notices.postpone(owner, over, self.clock() + _LOOK_AGAIN):
            await self._clear(owner, over)

    async def _clear(self, owner: str, notice: Notice) -> None:
        with suppress(NotFound):
            message = await self.compose.get(GATEWAY_ID, notice.notice_id)
            if message.raw_msg_id:  # first: nothing but the message names these bytes
                await self.compose.raws.delete(GATEWAY_ID, message.raw_msg_id)
            await self.compose.delete(GATEWAY_ID, notice.notice_id, Change({}))
        await self.notices.done(owner, notice)
