"""Messages in lists."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import fields

from api.answers import MessagesSchema
from api.fields import IdentifierField, PageSchema, page_arguments
from api.listing import listed
from api.routing import Answer, Call, Operation
from api.v1.messages import message_json
from gateway.compose import Compose
from gateway.ports import MessageFilter, Page


class MessagesQuery(PageSchema):
    """Filters of the list of messages."""

    is_draft = fields.Boolean(truthy={"true"}, falsy={"false"})
    discussion_id = IdentifierField()
    identity_id = IdentifierField()


class MessageListRoutes:
    """``/api/v2/messages``."""

    def __init__(self, compose: Compose) -> None:
        self._compose = compose

    def operations(self) -> Sequence[Operation]:
        """Return the operations on lists of messages."""
        return [
            Operation(
                verb="GET",
                paths=["/api/v2/messages"],
                handler=self._list,
                summary="The user's messages, newest first",
                query=MessagesQuery,
                answers={200: MessagesSchema},
            )
        ]

    async def _list(self, call: Call) -> Answer:
        where = MessageFilter(
            is_draft=call.query.get("is_draft"),
            discussion_id=call.query.get("discussion_id"),
            identity_id=call.query.get("identity_id"),
        )
        total, messages = await self._compose.list(call.user_id, where, Page(**page_arguments(call.query)))
        return Answer(listed("messages", total, messages, message_json))
