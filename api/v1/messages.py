"""Messages: write a draft, send it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

import orjson
from marshmallow import ValidationError, fields, validate, validates_schema

from api.answers import CreatedMessageSchema, MessageSchema
from api.fields import HeaderText, IdentifierField, ListOf, MailboxField, StrictSchema, Timestamp, TrueOrFalse
from api.routing import Answer, Call, Operation
from gateway.compose import Compose, Wording
from gateway.delivery import Delivery, DeliveryState
from gateway.errors import Conflict, Forbidden, Refused, RemoteError, Stale, TooOften
from gateway.message import PARTICIPANT_TYPES, Message, Participant
from gateway.send import Send
from gateway.timestamp import rfc3339

_MAX_PARTICIPANTS = 1000
_MAX_SUBJECT = 2000
_IMPORTANCE = 10


class ParticipantSchema(StrictSchema):
    """One address in the header."""

    address = MailboxField(required=True)
    label = HeaderText(load_default="", allow_none=True, validate=validate.Length(max=200))
    type = fields.String(required=True, validate=validate.OneOf(PARTICIPANT_TYPES))
    protocol = fields.String(load_default="email", validate=validate.OneOf(["email"]))
    contact_ids = ListOf(IdentifierField(), validate.Length(max=100), load_default=list)


class ParticipantsField(ListOf):
    """Who takes part in a message; From is the gateway's to write."""

    def __init__(self, **kwargs: Any) -> None:
        length = validate.Length(max=_MAX_PARTICIPANTS)
        super().__init__(fields.Nested(ParticipantSchema), length, _one_sender, **kwargs)


def _one_sender(participants: Sequence[Mapping[str, Any]]) -> None:
    """RFC 5322 §3.6.2: Sender is a single mailbox."""
    if sum(participant["type"] == "Sender" for participant in participants) > 1:
        raise ValidationError("There can be one Sender only.")


class Importance(fields.Integer):
    """How important a message is to its sender; 0 is usual."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=-_IMPORTANCE, max=_IMPORTANCE), **kwargs)


class NewDraftSchema(StrictSchema):
    """A draft to create. It names one identity of the user's.

    It has one ``Sender`` at most. To be sent, that has to be the address of an identity of the user's, of a local
    one where the draft is on behalf of a local one.
    """

    server_set = frozenset({
        "user_id", "excerpt", "discussion_id", "external_references", "attachments", "date", "date_insert",
        "date_sort", "is_answered", "is_draft", "is_unread", "is_received", "raw_msg_id", "type", "delivery",
    })  # fmt: skip

    message_id = IdentifierField(load_default=None, allow_none=True)
    user_identities = ListOf(IdentifierField(), validate.Length(equal=1), required=True)
    subject = HeaderText(load_default="", validate=validate.Length(max=_MAX_SUBJECT))
    body = fields.String(load_default="")
    body_is_plain = TrueOrFalse(load_default=True)
    participants = ParticipantsField(load_default=list)
    importance_level = Importance(load_default=0)
    parent_id = IdentifierField(load_default=None, allow_none=True)


class CurrentDraftSchema(StrictSchema):
    """What the client believes to be stored. From is not compared: it follows from the identity."""

    server_set = NewDraftSchema.server_set | {"message_id"}

    user_identities = ListOf(fields.String(), validate.Length(max=100), allow_none=True)
    subject = fields.String(allow_none=True)
    body = fields.String(allow_none=True)
    body_is_plain = TrueOrFalse(allow_none=True)
    participants = ParticipantsField(allow_none=True)
    importance_level = fields.Integer(strict=True, allow_none=True)
    parent_id = fields.String(allow_none=True)


class DraftPatchSchema(StrictSchema):
    """A merge patch (RFC 7396) of a draft; lists are replaced as a whole, and null sets the default.

    With ``current_state`` the patch is applied only if the properties that it changes are stored with those values;
    a key that is absent there was absent or empty.
    """

    server_set = CurrentDraftSchema.server_set

    user_identities = ListOf(IdentifierField(), validate.Length(equal=1))
    subject = HeaderText(allow_none=True, validate=validate.Length(max=_MAX_SUBJECT))
    body = fields.String(allow_none=True)
    body_is_plain = TrueOrFalse(allow_none=True)
    participants = ParticipantsField(allow_none=True)
    importance_level = Importance(allow_none=True)
    parent_id = IdentifierField(allow_none=True)
    current_state = fields.Nested(CurrentDraftSchema)


class SendParamsSchema(StrictSchema):
    """When to send."""

    send_at = Timestamp(load_default=None, allow_none=True)


class MessageActionsSchema(StrictSchema):
    """What to do with a message."""

    actions = ListOf(
        fields.String(validate=validate.OneOf(["send", "cancel"])), validate.Length(equal=1), required=True
    )
    params = fields.Nested(SendParamsSchema, load_default=dict)

    @validates_schema
    def send_at_of_send(self, data: Mapping[str, Any], **_: Any) -> None:
        """Only an order to send has a time."""
        if data["actions"] == ["cancel"] and data["params"]:
            raise ValidationError("A cancellation has no parameters.", "params")


class MessageRoutes:
    """``/api/v1/messages`` with its second paths under ``/api/v2``, and ``/api/v1/raws``."""

    def __init__(self, compose: Compose, send: Send) -> None:
        self._compose = compose
        self._send = send

    def operations(self) -> Sequence[Operation]:
        """Return the operations on one message."""
        one = [f"/api/{version}/messages/{{message_id}}" for version in ("v1", "v2")]
        return [
            Operation(
                verb="POST",
                paths=["/api/v1/messages"],
                handler=self._create,
                summary="Create a draft on behalf of one identity",
                description=(
                    "The gateway writes From, of the identity. With a `message_id` of the client's own the same"
                    " request creates one draft only, however often it is sent. With `parent_id` it is an answer to"
                    " that message: recipients and subject follow from it where there are none, and it stays in its"
                    " discussion."
                ),
                body=NewDraftSchema,
                answers={201: CreatedMessageSchema},
                refusals=[Conflict, TooOften],
            ),
            Operation(
                verb="GET",
                paths=one,
                handler=self._get,
                summary="One message",
                answers={200: MessageSchema},
                etag=True,
            ),
            Operation(
                verb="PATCH",
                paths=one,
                handler=self._change,
                summary="Change a draft",
                description="403 where the message is a draft no more.",
                body=DraftPatchSchema,
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale, TooOften],
                exists=self._message,
            ),
            Operation(
                verb="DELETE",
                paths=one,
                handler=self._delete,
                summary="Delete a message that is not on its way",
                description="409 where it is ordered and not yet sent: cancel first.",
                answers={204: None},
                refusals=[Conflict, Stale],
            ),
            Operation(
                verb="POST",
                paths=[f"{path}/actions" for path in one],
                handler=self._act,
                summary="Send the draft, or take back the order where no attempt has started",
                description=(
                    "`send` waits some seconds for the outcome. 200: it is sent. 202: it is on its way, or waits"
                    " for `params.send_at`, a hundred years at most; `delivery` of the message tells how far it"
                    " got. 424: it is refused for good, with the server's reply, and is a draft again. To order"
                    " twice sends once. `cancel` makes it a draft again, or is 409 where there is no order, or it"
                    " is too late."
                ),
                body=MessageActionsSchema,
                answers={200: MessageSchema, 202: MessageSchema},
                refusals=[Conflict, RemoteError, TooOften],
                exists=self._message,
            ),
            Operation(
                verb="GET",
                paths=["/api/v1/raws/{raw_msg_id}"],
                handler=self._raw,
                summary="The RFC 5322 bytes of an ordered message, the sender's own copy",
                answers={200: "message/rfc822"},
                etag=True,
            ),
        ]

    async def _create(self, call: Call) -> Answer:
        message_id = await self._compose.create(
            call.user_id,
            _wording(call.body),
            message_id=call.body["message_id"],
            fingerprint=sha256(orjson.dumps(call.body, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        )
        location = f"/api/v1/messages/{message_id}"
        return Answer({"location": location, "message_id": message_id}, 201, {"Location": location})

    async def _message(self, call: Call) -> Message:
        return await self._compose.get(call.user_id, call.path["message_id"])

    async def _get(self, call: Call) -> Answer:
        return Answer(message_json(await self._message(call)))

    async def _change(self, call: Call) -> Answer:
        change = call.change(message_json)
        current = None if change.current is None else _without_from(_with_participants(change.current))
        change = replace(change, patch=_with_participants(change.patch), current=current)
        await self._compose.change(call.user_id, call.path["message_id"], change)
        return Answer(status=204)

    async def _delete(self, call: Call) -> Answer:
        await self._compose.delete(call.user_id, call.path["message_id"], call.change(message_json))
        return Answer(status=204)

    async def _act(self, call: Call) -> Answer:
        if call.body["actions"] == ["cancel"]:
            return Answer(message_json(await self._send.cancel(call.user_id, call.path["message_id"])))
        send_at = call.body["params"].get("send_at")
        ordered = await self._send.order(call.user_id, call.path["message_id"], send_at)
        message = await self._send.wait(ordered)
        delivery = message.delivery
        if delivery and delivery.state is DeliveryState.FAILED:
            raise Refused(delivery.last_error or "The message was refused.")
        sent = delivery is not None and delivery.state is DeliveryState.SENT
        return Answer(message_json(message), 200 if sent else 202)

    async def _raw(self, call: Call) -> Answer:
        raw = await self._compose.raw(call.user_id, call.path["raw_msg_id"])
        # To be stored: some browsers show a message, whose text is anybody's, as if it were a page of this site.
        headers = {"Content-Type": "message/rfc822", "Content-Disposition": 'attachment; filename="message.eml"'}
        return Answer(raw, headers=headers)


def _wording(body: Mapping[str, Any]) -> Wording:
    return Wording(
        identity_id=body["user_identities"][0],
        subject=body["subject"],
        body=body["body"],
        body_is_plain=body["body_is_plain"],
        participants=_participants(body["participants"]),
        importance_level=body["importance_level"],
        parent_id=body["parent_id"],
    )


def _with_participants(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a patch or a current state with the core's participants."""
    if not document.get("participants"):
        return document
    return {**document, "participants": _participants(document["participants"])}


def _without_from(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a current state with the core's participants less From, which is not a client's."""
    if not document.get("participants"):
        return document
    return {**document, "participants": [each for each in document["participants"] if each.type != "From"]}


def _participants(documents: Sequence[Mapping[str, Any]]) -> list[Participant]:
    return [
        Participant(each["address"], each["label"] or "", each["type"], tuple(each["contact_ids"]))
        for each in documents
    ]


def message_json(message: Message) -> dict[str, Any]:
    """Return a message as clients see it."""
    return {
        "message_id": message.message_id,
        "user_id": message.user_id,
        "user_identities": [message.identity_id],
        "subject": message.subject,
        "body": message.body,
        "body_is_plain": message.body_is_plain,
        "excerpt": message.excerpt,
        "participants": [_participant_json(participant) for participant in message.participants],
        "discussion_id": message.discussion_id,
        "parent_id": message.parent_id,
        "external_references": {
            "message_id": message.internet_message_id,
            "parent_id": message.ancestors[-1] if message.ancestors else None,
            "ancestors_ids": list(message.ancestors),
        },
        "attachments": [asdict(attachment) for attachment in message.attachments],
        "date": rfc3339(message.date) if message.date else None,
        "date_insert": rfc3339(message.date_insert),
        "date_sort": rfc3339(message.date_sort),
        "importance_level": message.importance_level,
        "is_answered": message.is_answered,
        "is_draft": message.is_draft,
        "is_unread": False,
        "is_received": False,
        "raw_msg_id": message.raw_msg_id,
        "type": "email",
        "delivery": _delivery_json(message.delivery) if message.delivery else None,
    }


def _participant_json(participant: Participant) -> dict[str, Any]:
    return {
        "address": participant.address,
        "label": participant.label,
        "type": participant.type,
        "protocol": "email",
        "contact_ids": list(participant.contact_ids),
    }


def _delivery_json(delivery: Delivery) -> dict[str, Any]:
    waits = delivery.state is DeliveryState.QUEUED and delivery.due_at is not None
    return {
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "next_attempt_at": rfc3339(delivery.due_at) if waits and delivery.due_at else None,
        "send_at": rfc3339(delivery.send_at) if delivery.send_at else None,
        "last_error": delivery.last_error,
        "recipients": {
            recipient.address: {
                "state": recipient.state.value,
                "smtp_code": recipient.smtp_code,
                "smtp_reply": recipient.smtp_reply,
            }
            for recipient in delivery.recipients
        },
    }
