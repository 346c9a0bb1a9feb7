"""Sending: order, attempt, record.

Ordering, before the client is answered: 1. the draft must name a usable identity and a recipient; 2. the order is
counted, see ``gateway/quota.py``; 3. its RFC 5322 bytes and its Message-ID are fixed and stored; 4. one atomic
write turns the draft, if nobody changed it meanwhile, into an order. From here on the message will be sent, whoever
dies.

An attempt, by any worker that claimed the order: 1. find the identity's route, if it is in use; 2. where an
attempt before is in doubt, see whether the Sent folder tells that it got through; 3. offer the message to the
server for the recipients still open; 4. when it has said whom it takes, record whom it does not, and count a
possible duplicate where there is a doubt; 5. send the stored bytes, less Bcc, piece by piece; 6. record what the
server said; 7. where the protocol keeps mail, file the copy in Sent, apart from the sending: that it fails never
makes the message unsent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from gateway import delivery as transitions
from gateway import mime, retry
from gateway.address import ascii_mailbox
from gateway.attach import Attach
from gateway.compose import with_sender
from gateway.config import DeliverySection
from gateway.delivery import Delivery, DeliveryState, Patience, RecipientState, Reply
from gateway.errors import (
    Conflict,
    GatewayError,
    Invalid,
    NotFound,
    Refused,
    RemoteError,
    SignInRefused,
    Unavailable,
    Unreachable,
)
from gateway.identity import IdentityStatus, IdentityType, UserIdentity
from gateway.lease import finishing
from gateway.message import Message, Participant
from gateway.ports import Clock, Envelope, Identities, Messages, Meter, Raws
from gateway.quota import Quota
from gateway.route import Route, Routing

logger = logging.getLogger(__name__)

MOST_AHEAD = timedelta(days=100 * 365)  # whoever orders for later has mistaken the unit

_FAULT = "An internal error; it will be tried again."
_ORDER_TRIES = 5
_RECORD_AGAIN_S = 1.0
_WATCH_S = 0.25  # between looks at an order that a worker of another process may have


class Outcomes:
    """Tells those who wait for an order, in this process, what became of it."""

    def __init__(self) -> None:
        # Clients choose message ids, so they are unique within a user only.
        self._waiting: defaultdict[tuple[str, str], set[asyncio.Future[Message | None]]] = defaultdict(set)
        self.closed = False

    def tell(self, message: Message) -> None:
        """Wake all who wait for that message."""
        for future in self._waiting.pop((message.user_id, message.message_id), ()):
            if not future.done():
                future.set_result(message)

    def close(self) -> None:
        """Wake all who wait, without an outcome."""
        self.closed = True
        for future in set().union(*self._waiting.values()):
            if not future.done():
                future.set_result(None)

    async def wait(self, message: Message, timeout: float) -> Message | None:  # noqa: ASYNC109 - it is an answer
        """Return the message as soon as its delivery is recorded here; None after ``timeout`` seconds."""
        key = message.user_id, message.message_id
        future = asyncio.get_running_loop().create_future()
        self._waiting[key].add(future)
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            return None
        finally:
            if waiting := self._waiting.get(key):
                waiting.discard(future)
                if not waiting:
                    del self._waiting[key]


class Way(NamedTuple):
    """An identity and how it reaches its servers."""

    identity: UserIdentity
    route: Route


@dataclass(frozen=True)
class Send:
    """The life of a delivery."""

    messages: Messages
    identities: Identities
    raws: Raws
    attach: Attach
    quota: Quota
    routing: Routing
    settings: DeliverySection
    clock: Clock
    meter: Meter
    ordered: asyncio.Event
    chance: Callable[[], float] = random.random
    outcomes: Outcomes = field(default_factory=Outcomes)

    # -- ordering ------------------------------------------------------------------------------------------------

    async def order(
        self, user_id: str, message_id: str, send_at: datetime | None = None, *, body: str | None = None
    ) -> Message:
        """Order the sending; return the message with the state reached. An order that stands is not changed.

        ``body`` is what is sent in place of the draft's body, which is stored in clear.

        Raises NotFound; Invalid (no recipient, too many, no usable identity, a Sender who is somebody else, a time
        too far ahead); TooLarge; Conflict (the draft keeps changing); TooOften, Full.
        """
        for _ in range(_ORDER_TRIES):
            message = await self.messages.get(user_id, message_id)
            if not message.is_draft:
                # It may be read before the write that ordered it is safe; whoever waits for that has no answer yet.
                message = await self.messages.durable(user_id, message_id)
                if not message.is_draft:
                    return message
            sender = await self._sender(message)
            await _check_sender(self.identities, message.participants, sender)
            ordered = self._fixed(message, sender, send_at)
            if await self.quota.order(message, ordered, partial(self._place, ordered, body)):
                self.ordered.set()
                with suppress(Unavailable):  # the order is durable; these are swept up in time
                    await self._discard_bytes(message)  # of an earlier order, which failed
                return ordered
        raise Conflict("The draft is being changed. Send it when that is done.")

    async def _discard_bytes(self, message: Message) -> None:
        if message.raw_msg_id:
            await self.raws.delete(message.user_id, message.raw_msg_id)

    async def _sender(self, message: Message) -> UserIdentity:
        try:
            identity = await self.identities.get(message.user_id, message.identity_id)
        except NotFound as error:
            raise Invalid(
                "The identity of this draft is deleted. Choose another.",
                {"user_identities.0": ["This identity is deleted."]},
            ) from error
        if identity.status is not IdentityStatus.ACTIVE:
            raise Invalid(
                "The identity of this draft is inactive. Make it active, or choose another.",
                {"user_identities.0": ["This identity is inactive."]},
            )
        return identity

    async def _place(self, ordered: Message, body: str | None) -> bool:
        """Store the bytes of a message and then its order; False where another order or change came first."""
        pieces = self.attach.write(ordered if body is None else replace(ordered, body=body))
        await self.raws.put(ordered.user_id, ordered.message_id, ordered.raw_msg_id or "", pieces)
        placed = await self.messages.save(ordered)
        if not placed:
            await self._discard_bytes(ordered)
        return placed

    def _fixed(self, message: Message, sender: UserIdentity, send_at: datetime | None) -> Message:
        """Return the message as ordered, its bytes to be stored under a new id."""
        recipients = message.envelope_recipients
        if not recipients:
            raise Invalid("The draft has no recipient.", {"participants": ["Add a To, Cc or Bcc."]})
        now = self.clock()
        if send_at and send_at - now > MOST_AHEAD:
            told = f"Must be within {MOST_AHEAD.days // 365} years."
            raise Invalid("The time to send it at is too far ahead.", {"params.send_at": [told]})
        return replace(
            message,
            participants=with_sender(message.participants, sender),
            date=max(now, send_at or now),
            date_sort=max(now, send_at or now),
            internet_message_id=mime.new_message_id(sender.identifier),
            raw_msg_id=str(uuid4()),
            delivery=replace(transitions.order(recipients, now, send_at), server=self.routing.server(sender)),
        )

    async def cancel(self, user_id: str, message_id: str) -> Message:
        """Take back an order that no attempt has started; return the message, which is a draft again.

        Raises NotFound, Conflict (too late, or no order).
        """
        message = await self.messages.get(user_id, message_id)
        if not await self.messages.cancel(message):
            raise Conflict("There is no order that could be canceled: none was given, or sending it has begun.")
        message = await self.messages.get(user_id, message_id)
        self.outcomes.tell(message)
        return message

    async def wait(self, message: Message) -> Message:
        """Return the message when its outcome is known or will not be for a while, at the latest after wait_s."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.wait_s
        while (left := deadline - loop.time()) > 0 and not self._rests(message, left):
            told = await self.outcomes.wait(message, min(left, _WATCH_S))
            message = told or await self.messages.get(message.user_id, message.message_id)
        return message

    def stop_waiting(self) -> None:
        """Let all who wait have the state reached: the process stops, and their orders are durable."""
        self.outcomes.close()

    def _rests(self, message: Message, seconds: float) -> bool:
        """True when nothing will happen to the order in that time, or this process will not see it."""
        if self.outcomes.closed:
            return True
        delivery = message.delivery
        if delivery is None or delivery.state not in (DeliveryState.QUEUED, DeliveryState.SENDING):
            return True
        later = self.clock() + timedelta(seconds=seconds)
        return delivery.state is DeliveryState.QUEUED and delivery.due_at is not None and delivery.due_at > later

    # -- attempts ------------------------------------------------------------------------------------------------

    async def run(self, owner: str, message: Message) -> None:
        """Do what is due for a claimed message.

        Raises Unavailable, before any server had all of the message; then the lease returns it.
        """
        if message.delivery is None:
            return
        if message.delivery.state is DeliveryState.SENT:
            await self._file_copy(owner, message)
            return
        started = time.monotonic()
        way, after = await self._attempt(owner, message, message.delivery)
        message = replace(message, delivery=after)
        kept = await self._record(owner, message, keep=after.copy_due)
        self._report(message, way, time.monotonic() - started, outcome=after.state if kept else "lost")
        if kept:
            await self._mark_answered(message)
            self.outcomes.tell(message)
        if kept and after.copy_due:
            await self._file_copy(owner, message, way)

    async def _mark_answered(self, message: Message) -> None:
        if message.parent_id and message.delivery and message.delivery.state is DeliveryState.SENT:
            with suppress(Unavailable):  # a flag is not worth that the message counts as unsent
                await self.messages.mark_answered(message.user_id, message.parent_id)

    @finishing()
    async def _record(self, owner: str, message: Message, *, keep: bool = False) -> bool:
        """Record what a server said, however long the database is away: to forget it would be to send again."""
        while True:
            recording = asyncio.ensure_future(self.messages.record(owner, message, keep=keep))
            try:
                return await asyncio.shield(recording)
            except asyncio.CancelledError:
                # The process stops. What is being written is finished first: nobody may hand it back as unsent.
                with suppress(Unavailable):
                    await recording
                raise
            except Unavailable as error:
                logger.warning("outcome not recorded yet", extra={"error": str(error)})
                await asyncio.sleep(_RECORD_AGAIN_S)

    def _report(self, message: Message, way: Way | None, seconds: float, outcome: str) -> None:
        self.meter.attempt(way.identity.protocol if way else "none", outcome, seconds)
        logger.info(
            "attempt to send",
            extra={"message_id": message.message_id, "outcome": outcome, "ms": round(seconds * 1000)},
        )

    async def _attempt(self, owner: str, message: Message, delivery: Delivery) -> tuple[Way | None, Delivery]:
        """Offer the message to its server; return what the delivery is after that."""
        way = None
        is_again = delivery.in_doubt

        async def before_data(replies: Mapping[str, Reply]) -> None:
            nonlocal delivery
            delivery = await self._noted(owner, message, delivery, transitions.before_data(delivery, replies))
            if is_again:
                self._announce(message)

        try:
            way = await self._way(message)
            route = way.route
            _check_use(way.identity)
            told = await self._sent_tells(message, delivery, route) if delivery.in_doubt else None
            if told:
                return way, transitions.got_through(delivery, self.clock())
            if told is False:
                delivery = replace(delivery, in_doubt=False)
            envelope = _envelope(message, way.identity, delivery)
            copy = await self.raws.read(message.user_id, message.raw_msg_id or "")
            data = await mime.for_recipients(copy)
            replies = await route.submitter.submit(route.outgoing, envelope, data, before_data)
        except Unavailable:
            raise
        except GatewayError as failure:
            error = failure
            if way and isinstance(failure, SignInRefused):
                with suppress(Unavailable):  # then it is checked when its time comes
                    await self.identities.check_now(way.identity, self.clock())
        except Exception:
            # An unknown failure counts as temporary: no order may be lost to a fault of ours.
            logger.exception("attempt to send failed unexpectedly", extra={"message_id": message.message_id})
            error, delivery = Unavailable(_FAULT), replace(delivery, in_doubt=True)
        else:
            files_copy = route.mailbox is not None
            patience = self._patience(delivery.attempts)
            return way, transitions.after_replies(delivery, replies, patience, files_copy=files_copy)
        files_copy = way is not None and way.route.mailbox is not None
        patience = self._patience(delivery.attempts)
        return way, transitions.after_error(delivery, error, patience, files_copy=files_copy)

    async def _sent_tells(self, message: Message, delivery: Delivery, route: Route) -> bool | None:
        """Return whether the attempt in doubt got through, by the Sent folder; None where that cannot tell.

        Raises Unreachable where it could tell, and cannot be read at the moment.
        """
        # What some recipient got by an earlier attempt is in Sent whether or not this one got through.
        accepted = any(recipient.state is RecipientState.ACCEPTED for recipient in delivery.recipients)
        if accepted or route.mailbox is None or route.incoming is None:
            return None
        at = message.date or self.clock()
        try:
            return await route.mailbox.has_sent(route.incoming, message.internet_message_id or "", at)
        except RemoteError as error:
            if not error.temporary:
                return None
            told = f"It may have been sent already, which the Sent folder will tell: {error}"
            raise Unreachable(told) from error

    async def _noted(self, owner: str, message: Message, before: Delivery, after: Delivery) -> Delivery:
        """Store, before the message itself goes out, what its server has refused; a death must not forget it.

        Raises Conflict where another worker has the message.
        """
        if after != before and not await self.messages.record(owner, replace(message, delivery=after), keep=True):
            raise Conflict("Another worker has this message.")
        return after

    def _announce(self, message: Message) -> None:
        """Tell that the message goes out, perhaps, a second time (RFC 1047)."""
        self.meter.possible_duplicate()
        logger.warning("sent again after a cut", extra={"message_id": message.message_id})

    def _patience(self, attempts: int) -> Patience:
        return Patience(
            now=self.clock(),
            retry_in=retry.delay(max(1, attempts), self.chance()),
            give_up_after=timedelta(seconds=self.settings.give_up_after_s),
        )

    async def _file_copy(self, owner: str, message: Message, way: Way | None = None) -> None:
        delivery = message.delivery
        if delivery is None:
            return
        try:
            route = (way or await self._way(message)).route
            if route.mailbox and route.incoming:
                read = partial(self.raws.read, message.user_id, message.raw_msg_id or "")
                at = message.date or self.clock()
                await route.mailbox.file_sent(route.incoming, message.internet_message_id or "", read, at)
        except Unavailable:
            raise
        except GatewayError as error:
            logger.warning("sent copy not filed", extra={"message_id": message.message_id, "error": str(error)})
            after = transitions.copy_failed(delivery, error, self._patience(delivery.copy_attempts))
        except Exception:
            logger.exception("filing failed unexpectedly", extra={"message_id": message.message_id})
            after = transitions.copy_failed(delivery, Unavailable(_FAULT), self._patience(delivery.copy_attempts))
        else:
            after = transitions.copy_filed(delivery)
        message = replace(message, delivery=after)
        if await self._record(owner, message):
            self.outcomes.tell(message)

    async def _way(self, message: Message) -> Way:
        """Return the identity and its way out. Raises Refused where it was deleted meanwhile."""
        try:
            return Way(*await self.routing.find(message.user_id, message.identity_id))
        except NotFound as error:
            raise Refused("The identity of this message is deleted.") from error


async def _check_sender(
    identities: Identities, participants: Sequence[Participant], identity: UserIdentity
) -> None:
    """Raise Invalid where the Sender, who is told to have sent it (RFC 5322 §3.6.2), is not the user.

    Of remote identities nobody has proven that the address is the user's: that counts with their own servers only.
    """
    for number, each in enumerate(participants):
        if each.type != "Sender" or each.address.lower() == identity.identifier:
            continue
        if each.address.lower() not in await _senders(identities, identity):
            where = "a local" if identity.type is IdentityType.LOCAL else "an"
            told = f"Must be the address of {where} identity of yours. Leave Sender out, or use Reply-To."
            raise Invalid("The draft has somebody else as its Sender.", {f"participants.{number}.address": [told]})


async def _senders(identities: Identities, identity: UserIdentity) -> Collection[str]:
    """Return the addresses that may stand in Sender beside this identity in From."""
    if identity.type is IdentityType.LOCAL:
        return await identities.addresses(identity.user_id)
    return await identities.identifiers(identity.user_id)


def _check_use(identity: UserIdentity) -> None:
    """Raise Refused where somebody has made the identity inactive: the user, or who disabled the mailbox.

    Not where checks have, which see less than an attempt, and whose reason may pass.
    """
    if identity.status is IdentityStatus.INACTIVE and "inactivereason" not in identity.infos:
        raise Refused("The identity of this message has been made inactive.")


def _envelope(message: Message, identity: UserIdentity, delivery: Delivery) -> Envelope:
    """The sender is the identity; the recipients are those whom no server has decided on yet."""
    return Envelope(
        sender=identity.identifier,
        recipients=delivery.open_recipients,
        smtputf8=mime.needs_smtputf8(message) or not ascii_mailbox(identity.identifier).isascii(),
    )


def server_of(message: Message) -> str:
    """Return the server that a message was ordered to be sent through."""
    return message.delivery.server if message.delivery else ""
