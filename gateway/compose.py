"""Composing: create and read drafts.

Creating: 1. the identity has to be one of the user's; 2. the header's From is rebuilt from it; 3. the discussion is
derived from who takes part; 4. the draft is stored under the client's id or a new one. A client that repeats a
creation after a lost answer, with the same id and the same body, gets the same draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from gateway.body import excerpt
from gateway.errors import Conflict, Invalid, NotFound
from gateway.identity import UserIdentity
from gateway.message import Message, Participant, discussion_id
from gateway.ports import Clock, Identities, MessageFilter, Messages, Page, Raws


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDraft:
    """What a client says of a draft. ``fingerprint`` tells two bodies of a request apart."""

    message_id: str | None
    identity_id: str
    subject: str
    body: str
    body_is_plain: bool
    participants: Sequence[Participant]
    importance_level: int
    fingerprint: str


@dataclass(frozen=True)
class Compose:
    """The user's messages."""

    messages: Messages
    identities: Identities
    raws: Raws
    clock: Clock

    async def create(self, user_id: str, new: NewDraft) -> str:
        """Store a draft; return its message_id.

        Raises Invalid (no such identity), Conflict (the id stands for a draft with another body).
        """
        identity = await self._identity(user_id, new.identity_id)
        participants = with_sender(new.participants, identity)
        now = self.clock()
        message = Message(
            message_id=new.message_id or str(uuid4()),
            user_id=user_id,
            identity_id=identity.identity_id,
            subject=new.subject,
            body=new.body,
            body_is_plain=new.body_is_plain,
            excerpt=excerpt(new.body, is_plain=new.body_is_plain),
            participants=participants,
            discussion_id=discussion_id(user_id, participants),
            date_insert=now,
            date_sort=now,
            importance_level=new.importance_level,
        )
        existing = await self.messages.add(message, new.fingerprint)
        if existing is not None and existing != new.fingerprint:
            raise Conflict("There is another message of that message_id. Leave it out to get a new one.")
        return message.message_id

    async def _identity(self, user_id: str, identity_id: str) -> UserIdentity:
        try:
            return await self.identities.get(user_id, identity_id)
        except NotFound as error:
            raise Invalid(
                "The draft names no identity of yours.", {"user_identities.0": ["There is no such identity."]}
            ) from error

    async def get(self, user_id: str, message_id: str) -> Message:
        """Return a message. Raises NotFound."""
        return await self.messages.get(user_id, message_id)

    async def list(self, user_id: str, where: MessageFilter, page: Page) -> tuple[int, Sequence[Message]]:
        """Return how many messages there are and a page of them, newest first."""
        return await self.messages.list(user_id, where, page)

    async def raw(self, user_id: str, raw_msg_id: str) -> bytes:
        """Return the RFC 5322 bytes of an ordered message, the sender's own copy. Raises NotFound."""
        return await self.raws.get(user_id, raw_msg_id)


def with_sender(participants: Sequence[Participant], identity: UserIdentity) -> tuple[Participant, ...]:
    """Return the participants with From rebuilt from the identity: the backend owns it."""
    sender = Participant(identity.identifier, identity.display_name, "From")
    return (sender, *(participant for participant in participants if participant.type != "From"))
