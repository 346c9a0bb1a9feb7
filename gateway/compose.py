"""Composing: create, read, change and delete drafts.

Creating: 1. the identity has to be one of the user's; 2. an answer takes from its parent what the client left out;
3. the header's From is rebuilt from the identity; 4. the discussion is the parent's, or derived from who takes
part; 5. the draft is stored under the client's id or a new one. A client that repeats a creation after a lost
answer, with the same id and the same body, gets the same draft.

Changing: the same with the draft as the patch leaves it, stored if nobody has changed it meanwhile; else again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

from gateway import reply
from gateway.body import excerpt
from gateway.delivery import DeliveryState
from gateway.errors import Conflict, Forbidden, Full, Invalid, NotFound
from gateway.identity import UserIdentity
from gateway.message import RECIPIENT_TYPES, Message, Participant, discussion_id
from gateway.patch import Change, merge
from gateway.ports import Clock, Content, Files, Identities, MessageFilter, Messages, Page, Portions, Raws
from gateway.quota import Quota

_TRIES = 100  # of a change that others come before, each time


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What a client says of a draft."""

    identity_id: str
    subject: str = ""
    body: str = ""
    body_is_plain: bool = True
    participants: Sequence[Participant] = ()
    importance_level: int = 0
    parent_id: str | None = None


@dataclass(frozen=True)
class Compose:
    """The user's messages."""

    messages: Messages
    identities: Identities
    raws: Raws
    files: Files
    quota: Quota
    clock: Clock

    async def create(self, user_id: str, wording: Wording, *, message_id: str | None, fingerprint: str) -> str:
        """Store a draft; return its message_id. ``fingerprint`` tells two bodies of a request apart.

        Raises Invalid (no such identity or parent), Conflict (the id stands for a draft with another body), Full.
        """
        now = self.clock()
        blank = Message(
            message_id=message_id or str(uuid4()),
            user_id=user_id,
            identity_id=wording.identity_id,
            subject="",
            body="",
            body_is_plain=True,
            excerpt="",
            participants=(),
            discussion_id="",
            date_insert=now,
            date_sort=now,
        )
        message = await self._worded(blank, wording)
        try:
            await self.quota.keep(user_id, message.size, partial(self._add, message, fingerprint))
        except Full:  # perhaps by this very draft, when it came before and its answer was lost
            if message_id is None or await self.messages.fingerprint(user_id, message_id) != fingerprint:
                raise
        return message.message_id

    async def _add(self, message: Message, fingerprint: str) -> bool:
        existing = await self.messages.add(message, fingerprint)
        if existing is not None and existing != fingerprint:
            raise Conflict("There is another message of that message_id. Leave it out to get a new one.")
        return existing is None

    async def _worded(self, message: Message, wording: Wording) -> Message:
        """Return the message as the client words it. Raises Invalid."""
        identity = await self._identity(message.user_id, wording.identity_id)
        discussion, ancestors = message.discussion_id, message.ancestors
        if wording.parent_id and wording.parent_id != message.parent_id:
            parent = await self._parent(message.user_id, wording.parent_id)
            wording = await self._as_answer(message.user_id, wording, parent)
            discussion, ancestors = parent.discussion_id, reply.ancestors(parent)
        participants = with_sender(wording.participants, identity)
        if not wording.parent_id:
            discussion, ancestors = discussion_id(message.user_id, participants), ()
        return replace(
            message,
            identity_id=identity.identity_id,
            subject=wording.subject,
            body=wording.body,
            body_is_plain=wording.body_is_plain,
            excerpt=excerpt(wording.body, is_plain=wording.body_is_plain),
            participants=participants,
            discussion_id=discussion,
            parent_id=wording.parent_id,
            ancestors=ancestors,
            importance_level=wording.importance_level,
        )

    async def _as_answer(self, user_id: str, wording: Wording, parent: Message) -> Wording:
        """Return the wording with what the client left out: recipients, subject."""
        if not any(participant.type in RECIPIENT_TYPES for participant in wording.participants):
            recipients = reply.recipients(parent, await self.identities.identifiers(user_id))
            wording = replace(wording, participants=[*wording.participants, *recipients])
        return wording if wording.subject else replace(wording, subject=reply.subject(parent))

    async def _identity(self, user_id: str, identity_id: str) -> UserIdentity:
        try:
            return await self.identities.get(user_id, identity_id)
        except NotFound as error:
            raise Invalid(
                "The draft names no identity of yours.", {"user_identities.0": ["There is no such identity."]}
            ) from error

    async def _parent(self, user_id: str, message_id: str) -> Message:
        with suppress(NotFound):
            parent = await self.messages.get(user_id, message_id)
            if parent.delivery and parent.delivery.state is DeliveryState.SENT:
                return parent
        message = "Only a message of yours that was sent or received can be answered."
        raise Invalid("The draft answers no message.", {"parent_id": [message]})

    async def get(self, user_id: str, message_id: str) -> Message:
        """Return a message. Raises NotFound."""
        return await self.messages.get(user_id, message_id)

    async def list(self, user_id: str, where: MessageFilter, page: Page) -> tuple[int, Portions[Message]]:
        """Return how many messages there are and a page of them, newest first."""
        return await self.messages.list(user_id, where, page)

    async def change(self, user_id: str, message_id: str, change: Change[Message]) -> None:
        """Apply a merge patch to a draft.

        Raises NotFound; Invalid; Forbidden (no longer a draft); Conflict (``current_state`` is not what is stored),
        Stale; Full.
        """
        for _ in range(_TRIES):
            message = await self.messages.get(user_id, message_id)
            after = await self._worded(message, _reworded(message, change.patch))
            if not message.is_draft:
                raise Forbidden("This message is no longer a draft. Cancel the sending first, where it can be.")
            change.check(message, _seen(message))
            if await self.quota.keep(user_id, after.size - message.size, partial(self.messages.save, after)):
                return
        raise Conflict("The draft is being changed. Try again when that is done.")

    async def delete(self, user_id: str, message_id: str, change: Change[Message]) -> None:
        """Delete a message that is not on its way. Raises NotFound, Conflict (it is), Stale."""
        for _ in range(_TRIES):
            message = await self.messages.get(user_id, message_id)
            if not message.is_draft and message.delivery and message.delivery.state is not DeliveryState.SENT:
                raise Conflict("This message is on its way. Cancel the sending first.")
            change.check_version(message)
            if await self.quota.keep(user_id, -message.size, partial(self.messages.delete, message)):
                await self.files.delete((user_id, message_id))
                if message.raw_msg_id:
                    await self.raws.delete(user_id, message.raw_msg_id)
                return
        raise Conflict("The message is being changed. Try again when that is done.")

    async def raw(self, user_id: str, raw_msg_id: str) -> Content:
        """Return the RFC 5322 bytes of an ordered message, the sender's own copy. Raises NotFound."""
        return await self.raws.read(user_id, raw_msg_id)


def with_sender(participants: Sequence[Participant], identity: UserIdentity) -> tuple[Participant, ...]:
    """Return the participants with From rebuilt from the identity: the backend owns it."""
    sender = Participant(identity.identifier, identity.display_name, "From")
    return (sender, *(participant for participant in participants if participant.type != "From"))


def _seen(message: Message) -> dict[str, Any]:
    """Return what a client can change of a draft, as it sees it."""
    return {
        "user_identities": [message.identity_id],
        "subject": message.subject,
        "body": message.body,
        "body_is_plain": message.body_is_plain,
        "participants": [participant for participant in message.participants if participant.type != "From"],
        "importance_level": message.importance_level,
        "parent_id": message.parent_id,
    }


def _reworded(message: Message, patch: Mapping[str, Any]) -> Wording:
    """Return the wording that a merge patch leaves; what it removes goes back to its default. Raises Invalid."""
    values = merge(_seen(message), patch)
    identities = values.pop("user_identities")
    return Wording(identity_id=identities[0], **values)
