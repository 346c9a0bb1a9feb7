"""The life of a delivery: an order to send, and how far it got. Data and pure transitions, no I/O.

::

    draft ──order──▶ queued ──attempt──▶ sending ──┬─▶ sent      some recipient's server took it
                       ▲  │                        ├─▶ queued    some recipient is to be tried again
                       │  └─cancel─▶ canceled      └─▶ failed    refused for every recipient
                       └── order ────── canceled and failed messages are drafts again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.errors import GatewayError, RemoteError, Unanswered

_FOUND = "The attempt was cut off; the Sent folder shows that the message had been accepted."
_PERHAPS = "An attempt was cut off, and may have got through. "


class DeliveryState(StrEnum):
    """Where an order stands."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    CANCELED = "canceled"


class RecipientState(StrEnum):
    """What became of one recipient."""

    QUEUED = "queued"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's last word on one recipient (RFC 5321 §4.2): code and printable text."""

    code: int
    text: str

    @property
    def state(self) -> RecipientState:
        """2yz accepts, 4yz asks to come back, all else refuses."""
        by_class = {2: RecipientState.ACCEPTED, 4: RecipientState.QUEUED}
        return by_class.get(self.code // 100, RecipientState.REJECTED)


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address of the envelope, with the last answer of the server for it.

    ``deferred``: whatever became of an attempt that was cut off, this one has not got the message by it, because
    the server had said "later" before.
    """

    address: str
    state: RecipientState = RecipientState.QUEUED
    smtp_code: int | None = None
    smtp_reply: str | None = None
    deferred: bool = False

    @property
    def told(self) -> str:
        """The server's answer in one line."""
        answer = f"{self.smtp_code or ''} {self.smtp_reply or ''}".strip()
        return f"{self.address}: {answer or 'no answer'}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An order to send, and how far it got.

    ``due_at`` is when a worker shall look at it next: the next attempt, the end of a running attempt's lease, or
    the next try to file the sent copy; None when nothing is left to do. ``copy_due`` tells that the sent copy has
    still to be filed, ``copy_attempts`` how often that was tried. ``in_doubt``: an attempt was cut off, and nobody
    knows how far it got (RFC 1047). ``server`` is where it was to go when it was ordered, as ``host:port``: workers
    share out their attempts by it.
    """

    state: DeliveryState
    ordered_at: datetime
    due_at: datetime | None
    recipients: Sequence[Recipient]
    send_at: datetime | None = None
    attempts: int = 0
    last_error: str | None = None
    copy_due: bool = False
    copy_attempts: int = 0
    in_doubt: bool = False
    server: str = ""

    @property
    def open_recipients(self) -> list[str]:
        """The addresses that no server has decided on."""
        return [r.address for r in self.recipients if r.state is RecipientState.QUEUED]


@dataclass(frozen=True, slots=True)
class Patience:
    """When to try again, and when to stop trying."""

    now: datetime
    retry_in: timedelta
    give_up_after: timedelta

    def next_try(self, delivery: Delivery) -> datetime | None:
        """Return when to try again; None when the order has waited long enough (RFC 5321 §4.5.4.1)."""
        started = max(delivery.ordered_at, delivery.send_at or delivery.ordered_at)
        at = self.now + self.retry_in
        return at if at - started <= self.give_up_after else None


def order(recipients: Sequence[str], now: datetime, send_at: datetime | None) -> Delivery:
    """Return a new order; a ``send_at`` in the past means now."""
    return Delivery(
        state=DeliveryState.QUEUED,
        ordered_at=now,
        due_at=max(now, send_at or now),
        recipients=tuple(Recipient(address) for address in recipients),
        send_at=send_at,
    )


def before_data(delivery: Delivery, replies: Mapping[str, Reply]) -> Delivery:
    """Return what is to be known before the message itself goes to those whom the server takes.

    Whom it refuses is decided on, and whom it puts off has not got it: when the attempt is cut off later, nobody
    could tell any more. Who may have got it by an attempt before still may.
    """

    def noted(recipient: Recipient, reply: Reply) -> Recipient:
        if reply.state is RecipientState.ACCEPTED:  # to be sent the message, which nobody has before its end
            return replace(recipient, deferred=False)
        may_have_it = delivery.in_doubt and not recipient.deferred
        deferred = reply.state is RecipientState.QUEUED and not may_have_it
        return replace(_decided(recipient, reply), deferred=deferred)

    return _heard(delivery, replies, noted)


def _heard(
    delivery: Delivery, replies: Mapping[str, Reply], change: Callable[[Recipient, Reply], Recipient]
) -> Delivery:
    """Return the delivery with the recipients changed on whom there was no decision, and now is a reply."""
    recipients = tuple(
        change(r, reply) if r.state is RecipientState.QUEUED and (reply := replies.get(r.address)) else r
        for r in delivery.recipients
    )
    return replace(delivery, recipients=recipients)


def _decided(recipient: Recipient, reply: Reply) -> Recipient:
    return replace(recipient, state=reply.state, smtp_code=reply.code, smtp_reply=reply.text)


def after_replies(
    delivery: Delivery, replies: Mapping[str, Reply], patience: Patience, *, files_copy: bool
) -> Delivery:
    """Return the delivery after an attempt in which the server decided per recipient."""
    return _settled(_heard(delivery, replies, _decided), patience, files_copy=files_copy)


def got_through(delivery: Delivery, now: datetime) -> Delivery:
    """Return the delivery after an attempt that was cut off and that succeeded, as the Sent folder tells.

    Whom the server had put off before is tried again, at once.
    """
    recipients = tuple(
        replace(r, state=RecipientState.ACCEPTED, smtp_code=None, smtp_reply=_FOUND)
        if r.state is RecipientState.QUEUED and not r.deferred
        else replace(r, deferred=False)
        for r in delivery.recipients
    )
    after = replace(delivery, recipients=recipients, in_doubt=False)
    if after.open_recipients:
        return replace(after, state=DeliveryState.QUEUED, due_at=now, last_error=_waiting(after))
    return replace(after, state=DeliveryState.SENT, due_at=None, last_error=None)


def after_error(delivery: Delivery, error: GatewayError, patience: Patience, *, files_copy: bool) -> Delivery:
    """Return the delivery after an attempt that failed as a whole: temporarily, or for all who are left.

    What is in doubt stays so: an attempt that failed tells nothing of the one before.
    """
    code, reply = (error.code, error.reply or str(error)) if isinstance(error, RemoteError) else (None, str(error))
    state = RecipientState.QUEUED if error.temporary else RecipientState.REJECTED
    perhaps = _PERHAPS if delivery.in_doubt and not error.temporary else ""
    recipients = tuple(
        replace(r, state=state, smtp_code=code, smtp_reply=reply if r.deferred else perhaps + reply)
        if r.state is RecipientState.QUEUED and not (r.deferred and error.temporary)
        else r
        for r in delivery.recipients
    )
    in_doubt = delivery.in_doubt or isinstance(error, Unanswered)
    after = replace(delivery, recipients=recipients, in_doubt=in_doubt)
    return _settled(after, patience, files_copy=files_copy, because=f"{perhaps}{error}")


def _settled(delivery: Delivery, patience: Patience, *, files_copy: bool, because: str | None = None) -> Delivery:
    """Derive the state of the order from those of its recipients; give up when it has waited long enough."""
    delivery = _doubted(delivery)
    if delivery.open_recipients:
        at = patience.next_try(delivery)
        if at is not None:
            last_error = because or _waiting(delivery)
            return replace(delivery, state=DeliveryState.QUEUED, due_at=at, last_error=last_error)
        perhaps = _PERHAPS if delivery.in_doubt else ""
        delivery = replace(delivery, recipients=tuple(_given_up(r, perhaps) for r in delivery.recipients))
    if any(r.state is RecipientState.ACCEPTED for r in delivery.recipients):
        return replace(delivery, state=DeliveryState.SENT, due_at=None, last_error=None, copy_due=files_copy)
    return replace(
        delivery,
        state=DeliveryState.FAILED,
        due_at=None,
        last_error=because or "; ".join(r.told for r in delivery.recipients),
    )


def _waiting(delivery: Delivery) -> str:
    return "; ".join(r.told for r in delivery.recipients if r.state is RecipientState.QUEUED)


def _doubted(delivery: Delivery) -> Delivery:
    """Let a doubt end with the last of those who may have got the message unseen."""
    if delivery.in_doubt and any(r.state is RecipientState.QUEUED and not r.deferred for r in delivery.recipients):
        return delivery
    recipients = tuple(replace(r, deferred=False) if r.deferred else r for r in delivery.recipients)
    return replace(delivery, recipients=recipients, in_doubt=False)


def _given_up(recipient: Recipient, perhaps: str) -> Recipient:
    if recipient.state is not RecipientState.QUEUED:
        return recipient
    reply = f"Given up: no server took it in time. Last answer: {recipient.smtp_reply or 'none'}"
    told = reply if recipient.deferred else perhaps + reply
    return replace(recipient, state=RecipientState.REJECTED, smtp_reply=told)


def copy_filed(delivery: Delivery) -> Delivery:
    """Return the delivery after its copy was filed: nothing is left to do."""
    return replace(delivery, copy_due=False, due_at=None, last_error=None)


def copy_failed(delivery: Delivery, error: GatewayError, patience: Patience) -> Delivery:
    """Return the delivery after its copy could not be filed. It stays sent, and filing is tried again."""
    at = patience.next_try(delivery)
    return replace(
        delivery,
        copy_due=at is not None,
        due_at=at,
        last_error=f"Sent, but no copy could be put into the Sent folder: {error}",
    )
