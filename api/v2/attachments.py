"""Attachments of messages."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from api.answers import AttachedSchema
from api.routing import ANY_MEDIA_TYPE, Answer, Call, Operation
from gateway.attach import Attach
from gateway.errors import Conflict, Forbidden, Stale, TooOften
from gateway.mime import in_ascii, quoted_string

# Whatever the file is, no browser shall run it in the name of this site.
_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


class AttachmentRoutes:
    """``/api/v2/messages/{message_id}/attachments``."""

    def __init__(self, attach: Attach) -> None:
        self._attach = attach

    def operations(self) -> Sequence[Operation]:
        """Return the operations on attachments."""
        all_of_one = "/api/v2/messages/{message_id}/attachments"
        return [
            Operation(
                verb="POST",
                paths=[all_of_one],
                handler=self._add,
                summary="Put a file on a draft",
                description="413 where the message would be over the size limit, 403 where it is no draft.",
                file="attachment",
                answers={201: AttachedSchema},
                refusals=[Forbidden, Conflict, TooOften],
                exists=self._message,
            ),
            Operation(
                verb="GET",
                paths=[f"{all_of_one}/{{temp_id}}"],
                handler=self._get,
                summary="The bytes of an attachment",
                answers={200: ANY_MEDIA_TYPE},
                etag=True,
            ),
            Operation(
                verb="DELETE",
                paths=[f"{all_of_one}/{{temp_id}}"],
                handler=self._remove,
                summary="Take an attachment off a draft",
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale],
            ),
        ]

    async def _message(self, call: Call) -> object:
        return await self._attach.messages.get(call.user_id, call.path["message_id"])

    async def _add(self, call: Call) -> Answer:
        temp_id = await self._attach.add(call.user_id, call.path["message_id"], call.body["attachment"])
        return Answer({"temp_id": temp_id}, 201)

    async def _get(self, call: Call) -> Answer:
        attachment, content = await self._attach.read(call.user_id, call.path["message_id"], call.path["temp_id"])
        headers = {
            "Content-Type": attachment.content_type,
            "Content-Disposition": _disposition(attachment.file_name),
            "Content-Security-Policy": _POLICY,
        }
        return Answer(content, headers=headers)

    async def _remove(self, call: Call) -> Answer:
        temp_id = call.path["temp_id"]
        if call.if_match is not None:
            await self._attach.read(call.user_id, call.path["message_id"], temp_id)
            if not {temp_id, "*"} & {*call.if_match}:
                raise Stale("It is not the attachment that you read.")
        await self._attach.remove(call.user_id, call.path["message_id"], temp_id)
        return Answer(status=204)


def _disposition(file_name: str) -> str:
    """Return the header that lets a browser store the file under its name (RFC 6266 §4.3, appendix D)."""
    disposition = f"attachment; filename={quoted_string(in_ascii(file_name))}"
    if file_name.isascii():
        return disposition
    return f"{disposition}; filename*=UTF-8''{quote(file_name, safe='')}"
