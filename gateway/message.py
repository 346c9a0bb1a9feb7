"""A message of one user and who takes part in it, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from gateway.delivery import Delivery, DeliveryState

RECIPIENT_TYPES = ("To", "Cc", "Bcc")
PARTICIPANT_TYPES = (*RECIPIENT_TYPES, "From", "Reply-To", "Sender")


_OVERHEAD = 2048  # octets of a message beside its text: fields, index entries, what became of its delivery

EDITABLE = (None, DeliveryState.CANCELED, DeliveryState.FAILED)
"""Delivery states (None: no order given) in which a message is a draft."""


@dataclass(frozen=True, slots=True)
class Participant:
    """One address in the header of a message. ``label`` is the display name, perhaps empty."""

    address: str
    label: str
    type: str
    contact_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message; its bytes are kept apart. ``size`` is in bytes."""

    temp_id: str
    file_name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message of one user, sent on behalf of one identity.

    ``parent_id`` is the message that it answers, ``ancestors`` are the Message-IDs of that one and of those before
    it, oldest first, without angle brackets (RFC 5322 §3.6.4). ``version`` counts its changes.
    """

    message_id: str
    user_id: str
    identity_id: str
    subject: str
    body: str
    body_is_plain: bool
    excerpt: str
    participants: Sequence[Participant]
    discussion_id: str
    date_insert: datetime
    date_sort: datetime
    parent_id: str | None = None
    ancestors: Sequence[str] = ()
    attachments: Sequence[Attachment] = ()
    date: datetime | None = None
    importance_level: int = 0
    is_answered: bool = False
    internet_message_id: str | None = None
    raw_msg_id: str | None = None
    delivery: Delivery | None = None
    version: int = 0

    @property
    def is_draft(self) -> bool:
        """True while the message can be edited."""
        return (self.delivery.state if self.delivery else None) in EDITABLE

    @property
    def size(self) -> int:
        """About how many bytes it takes up, with its attachments and, once it was ordered, the sender's copy.

        It follows from what only clients change, so that it is known before a change what that adds or frees.
        """
        people = (text for p in self.participants for text in (p.address, p.label, *p.contact_ids))
        text = sum(len(each.encode()) for each in (self.subject, self.body, *people))
        files = sum(attachment.size for attachment in self.attachments)
        copy = text + files * 11 // 8 if self.raw_msg_id else 0  # in lines of base64
        return _OVERHEAD + text + files + copy

    @property
    def envelope_recipients(self) -> list[str]:
        """The addresses to send to, each once, in the order of the header."""
        return list(dict.fromkeys(p.address for p in self.participants if p.type in RECIPIENT_TYPES))


def discussion_id(user_id: str, participants: Sequence[Participant]) -> str:
    """Derive the discussion from the set of addresses, labels and types apart: the same people share one.

    The identifier is of one user: it does not tell that two users write to the same people.
    """
    addresses = sorted({participant.address.lower() for participant in participants})
    return str(uuid5(UUID(user_id), "\n".join(addresses)))
