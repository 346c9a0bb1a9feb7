"""Attachments: put a file on a draft, read it, take it off; write them all into the message.

Putting one on: 1. its bytes are stored as they come, each counted before, as many as the message and the user have
room for; 2. the draft gets it, if it is a draft still and still has the room; else the bytes go again. Where the
database does not tell whether the draft has got it they stay, for it may name them; with the message all goes that
was ever stored for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import uuid4

from gateway import mime
from gateway.errors import Conflict, Forbidden, NotFound, RequestError, TooLarge
from gateway.message import Attachment, Message
from gateway.ports import Content, Files, Messages
from gateway.quota import Act, Quota

MAX_ATTACHMENTS = 100  # of one message

_FRAMING = 16_384  # octets of a request beside those of its file
_NAME_LENGTH = 200
_UNNAMED = "attachment"
# Besides control characters: those that turn the direction of text around, and show exe.txt for txt.exe.
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# What Windows takes for a device in every directory, whatever stands behind the first dot.
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|\Z)", re.IGNORECASE)
_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
_UNKNOWN = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"([a-z0-9][a-z0-9!#$&^_.+-]{0,63})/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")  # RFC 6838 §4.2
_COMPOSITE = ("message", "multipart")

Attachments = Sequence[Attachment]
Keep = Callable[[int, Act], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as a client sends it, with what it says of it; ``length`` is that of the request, None if unknown."""

    file_name: str
    content_type: str
    pieces: AsyncIterable[bytes] = field(repr=False)
    length: int | None = None


@dataclass(frozen=True)
class Attach:
    """The attachments of messages, each of which has ``max_bytes`` at most, as it is sent."""

    messages: Messages
    files: Files
    quota: Quota
    max_bytes: int

    async def add(self, user_id: str, message_id: str, upload: Upload) -> str:
        """Put a file on a draft; return its temp_id.

        Raises NotFound, Forbidden (no draft), TooLarge, Conflict (the draft keeps changing), Full (all that is the
        user's); what the pieces raise.
        """
        room = self._room(_draft(await self.messages.get(user_id, message_id)).attachments)
        if upload.length is not None and upload.length > room + _FRAMING:
            raise self._too_large()
        path = user_id, message_id, str(uuid4())
        async with self.quota.reserved(user_id, upload.length, _FRAMING) as reservation:
            size = await self.files.put(path, reservation.counted(self._within(room, upload.pieces)))
            attachment = Attachment(path[-1], file_name(upload.file_name), media_type(upload.content_type), size)
            try:
                await self._change(
                    user_id, message_id, lambda others: self._with(others, attachment), reservation.keep
                )
            except RequestError:
                await self.files.delete(path)
                raise
        return attachment.temp_id

    async def read(self, user_id: str, message_id: str, temp_id: str) -> tuple[Attachment, Content]:
        """Return an attachment with its bytes. Raises NotFound."""
        message = await self.messages.get(user_id, message_id)
        attachment = _named(message.attachments, temp_id)
        return attachment, await self.files.read((user_id, message_id, temp_id))

    async def remove(self, user_id: str, message_id: str, temp_id: str) -> None:
        """Take an attachment off a draft. Raises NotFound, Forbidden (no draft), Conflict (it keeps changing)."""
        keep = partial(self.quota.keep, user_id)
        await self._change(user_id, message_id, lambda all_: _without(all_, temp_id), keep)
        await self.files.delete((user_id, message_id, temp_id))

    async def write(self, message: Message) -> AsyncIterator[bytes]:
        """Yield the RFC 5322 bytes of a message. Raises TooLarge, Conflict (an attachment was taken off)."""
        try:
            async for piece in self._within(
                self.max_bytes, mime.stream(message, lambda a: self._bytes(message, a))
            ):
                yield piece
        except NotFound as error:
            raise Conflict("The draft is being changed. Send it when that is done.") from error

    async def _bytes(self, message: Message, attachment: Attachment) -> AsyncIterator[bytes]:
        content = await self.files.read((message.user_id, message.message_id, attachment.temp_id))
        async for piece in content.pieces:
            yield piece

    async def _change(
        self, user_id: str, message_id: str, edit: Callable[[Attachments], Attachments], keep: Keep
    ) -> None:
        """Edit the attachments of a draft; whoever comes first of many makes the others try again."""
        for _ in range(MAX_ATTACHMENTS):
            message = await self.messages.get(user_id, message_id)
            after = replace(_draft(message), attachments=edit(message.attachments))
            if await keep(after.size - message.size, partial(self.messages.save, after)):
                return
        raise Conflict("The draft is being changed. Try again when that is done.")

    def _with(self, others: Attachments, attachment: Attachment) -> Attachments:
        if attachment.size > self._room(others):
            raise self._too_large()
        return (*others, attachment)

    def _room(self, others: Attachments) -> int:
        """Return how many bytes another attachment may have. Raises TooLarge where there may be no other."""
        if len(others) >= MAX_ATTACHMENTS:
            raise TooLarge(f"A message takes {MAX_ATTACHMENTS} attachments.")
        return max(0, mime.attachable(self.max_bytes) - sum(each.size for each in others))

    async def _within(self, limit: int, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            limit -= len(piece)
            if limit < 0:
                raise self._too_large()
            yield piece

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"A message has {self.max_bytes} bytes at most (messages.max_bytes), as it is sent, which makes its"
            " attachments larger by a third."
        )


def file_name(text: str) -> str:
    """Return the name of a file as it can be shown and stored: without its directory and what nobody sees.

    A long one loses its beginning, not what tells its kind; one of a device gets another beginning.
    """
    name = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    seen = "".join(" " if unicodedata.category(each) in _UNSEEN else each for each in _TURNS.sub("", name))
    bare = re.sub(r"^[\s.]+|[\s.]+$", "", seen[-_NAME_LENGTH:]) or _UNNAMED
    return f"_{bare[1 - _NAME_LENGTH :]}" if _DEVICE.match(bare) else bare


def media_type(text: str) -> str:
    """Return type and subtype, without parameters.

    What is no media type is bytes, and so are messages and multiparts, which must not be in base64 (RFC 2045 §6.4,
    RFC 2046 §5.2.1).
    """
    found = _MEDIA_TYPE.fullmatch(text.partition(";")[0].strip().lower())
    return found[0] if found and found[1] not in _COMPOSITE else _UNKNOWN


def _draft(message: Message) -> Message:
    if not message.is_draft:
        raise Forbidden("This message is no longer a draft. Cancel the sending first, where it can be.")
    return message


def _named(attachments: Attachments, temp_id: str) -> Attachment:
    for attachment in attachments:
        if attachment.temp_id == temp_id:
            return attachment
    raise NotFound("There is no such attachment.")


def _without(attachments: Attachments, temp_id: str) -> Attachments:
    gone = _named(attachments, temp_id)
    return tuple(attachment for attachment in attachments if attachment != gone)
