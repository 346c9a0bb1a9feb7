"""What the bodies of answers look like, for the OpenAPI document.

Answers are made by functions that stand beside their handlers (docs/decisions/0005); these schemas describe them,
and the tests hold every answer against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import Schema, fields, validate

from api.fields import IdentifierField, MailboxField
from gateway.delivery import DeliveryState, RecipientState
from gateway.domain import DomainStatus, Feature
from gateway.identity import PROTOCOLS, IdentityStatus, IdentityType
from gateway.mailbox import MailboxStatus
from gateway.message import PARTICIPANT_TYPES
from gateway.roles import Role


class AnswerSchema(Schema):
    """An object that has all of its properties in every answer, and no others."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:  # noqa: ARG002 - as marshmallow calls it
        """Make the property a required one."""
        field_obj.required = True


class Moment(fields.AwareDateTime):
    """A time as :func:`gateway.timestamp.rfc3339` writes it."""

    json_schema: ClassVar[Mapping[str, Any]] = {
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
    }


class Location(fields.String):
    """The path of a new resource, the same as in the header Location."""

    json_schema: ClassVar[Mapping[str, Any]] = {"format": "uri-reference"}


class StatusSchema(AnswerSchema):
    """The answer of a probe."""

    status = fields.String()


class ReadySchema(StatusSchema):
    """A process that can work; ``warnings`` are for its operator."""

    warnings = fields.List(fields.String())


class CreatedUserSchema(AnswerSchema):
    """Where the new user is."""

    location = Location()
    user_id = IdentifierField()


class AvailabilitySchema(AnswerSchema):
    """Whether a user name can be registered."""

    username = fields.String()
    available = fields.Boolean()


class TokensSchema(AnswerSchema):
    """A pair of tokens; ``expires_in`` is the life of the access token in seconds."""

    access_token = fields.String()
    refresh_token = fields.String()
    expires_in = fields.Integer(validate=validate.Range(min=1))
    expires_at = Moment()


class SignedInSchema(AnswerSchema):
    """A user who has signed in."""

    username = fields.String()
    user_id = IdentifierField()
    tokens = fields.Nested(TokensSchema)


class UserSchema(AnswerSchema):
    """A user, as he sees himself."""

    user_id = IdentifierField()
    username = fields.String()
    display_name = fields.String()
    recovery_email = MailboxField(allow_none=True)
    date_insert = Moment()


class UserIdentitySchema(AnswerSchema):
    """One account from which a user sends. Its credentials are never shown."""

    identity_id = IdentifierField()
    user_id = IdentifierField()
    type = fields.String(validate=validate.OneOf(list(IdentityType)))
    protocol = fields.String(validate=validate.OneOf(PROTOCOLS))
    identifier = MailboxField()
    display_name = fields.String()
    status = fields.String(validate=validate.OneOf([IdentityStatus.ACTIVE, IdentityStatus.INACTIVE]))
    infos = fields.Dict(keys=fields.String(), values=fields.String())
    last_check = Moment(allow_none=True)


class Total(fields.Integer):
    """How many things the whole list has."""

    def __init__(self) -> None:
        super().__init__(validate=validate.Range(min=0))


class LocalsSchema(AnswerSchema):
    """A page of the user's local identities."""

    total = Total()
    local_identities = fields.List(fields.Nested(UserIdentitySchema))


class RemotesSchema(AnswerSchema):
    """A page of the user's identities at other providers."""

    total = Total()
    remote_identities = fields.List(fields.Nested(UserIdentitySchema))


class PastCheckSchema(AnswerSchema):
    """How a check ended; ``server`` is the one that failed, ``inserver`` or ``outserver``."""

    at = Moment()
    ok = fields.Boolean()
    ms = fields.Integer(validate=validate.Range(min=0))
    server = fields.String(allow_none=True, validate=validate.OneOf(["inserver", "outserver"]))
    error = fields.String(allow_none=True)


class ChecksSchema(AnswerSchema):
    """A page of the checks of an identity, newest first."""

    total = Total()
    checks = fields.List(fields.Nested(PastCheckSchema))


class CreatedRemoteSchema(AnswerSchema):
    """Where the new identity is; ``remote_id`` is the same as ``identity_id``."""

    location = Location()
    identity_id = IdentifierField()
    remote_id = IdentifierField()


class CreatedMessageSchema(AnswerSchema):
    """Where the draft is."""

    location = Location()
    message_id = IdentifierField()


class ShownParticipantSchema(AnswerSchema):
    """One address in the header."""

    address = MailboxField()
    label = fields.String()
    type = fields.String(validate=validate.OneOf(PARTICIPANT_TYPES))
    protocol = fields.String(validate=validate.OneOf(["email"]))
    contact_ids = fields.List(IdentifierField())


class ExternalReferencesSchema(AnswerSchema):
    """The Message-ID of the message and of those that it answers (RFC 5322 §3.6.4), without angle brackets."""

    message_id = fields.String(allow_none=True)
    parent_id = fields.String(allow_none=True)
    ancestors_ids = fields.List(fields.String())


class AttachmentSchema(AnswerSchema):
    """A file that goes with the message; ``size`` is in bytes."""

    temp_id = IdentifierField()
    file_name = fields.String()
    content_type = fields.String()
    size = fields.Integer(validate=validate.Range(min=0))


class AttachedSchema(AnswerSchema):
    """How the message names its new attachment."""

    temp_id = IdentifierField()


class RecipientSchema(AnswerSchema):
    """What became of one recipient, with the server's last word on it (RFC 5321 §4.2)."""

    state = fields.String(validate=validate.OneOf(list(RecipientState)))
    smtp_code = fields.Integer(allow_none=True)
    smtp_reply = fields.String(allow_none=True)


class DeliverySchema(AnswerSchema):
    """An order to send, and how far it got; ``recipients`` has an entry per address."""

    state = fields.String(validate=validate.OneOf(list(DeliveryState)))
    attempts = fields.Integer(validate=validate.Range(min=0))
    next_attempt_at = Moment(allow_none=True)
    send_at = Moment(allow_none=True)
    last_error = fields.String(allow_none=True)
    recipients = fields.Dict(keys=fields.String(), values=fields.Nested(RecipientSchema))


class MessageSchema(AnswerSchema):
    """A message, or the draft of one."""

    message_id = IdentifierField()
    user_id = IdentifierField()
    user_identities = fields.List(IdentifierField(), validate=validate.Length(equal=1))
    subject = fields.String()
    body = fields.String()
    body_is_plain = fields.Boolean()
    excerpt = fields.String()
    participants = fields.List(fields.Nested(ShownParticipantSchema))
    discussion_id = IdentifierField()
    parent_id = IdentifierField(allow_none=True)
    external_references = fields.Nested(ExternalReferencesSchema)
    attachments = fields.List(fields.Nested(AttachmentSchema))
    date = Moment(allow_none=True)
    date_insert = Moment()
    date_sort = Moment()
    importance_level = fields.Integer()
    is_answered = fields.Boolean()
    is_draft = fields.Boolean()
    is_unread = fields.Boolean()
    is_received = fields.Boolean()
    raw_msg_id = IdentifierField(allow_none=True)
    type = fields.String(validate=validate.OneOf(["email"]))
    delivery = fields.Nested(DeliverySchema, allow_none=True)


class MessagesSchema(AnswerSchema):
    """A page of the user's messages."""

    total = Total()
    messages = fields.List(fields.Nested(MessageSchema))


class AccessSchema(AnswerSchema):
    """A user who manages a domain."""

    user_id = IdentifierField()
    username = fields.String()
    role = fields.String(validate=validate.OneOf(list(Role)))


class AccessesSchema(AnswerSchema):
    """A page of the managers of a domain, owners first."""

    total = Total()
    accesses = fields.List(fields.Nested(AccessSchema))


class InvitationSchema(AnswerSchema):
    """An invitation to manage a domain; its token is only in the mail."""

    id = IdentifierField()
    email = MailboxField()
    role = fields.String(validate=validate.OneOf(list(Role)))
    expires_at = Moment()


class InvitationsSchema(AnswerSchema):
    """A page of the invitations to a domain, oldest first."""

    total = Total()
    invitations = fields.List(fields.Nested(InvitationSchema))


class AcceptedSchema(AnswerSchema):
    """The role on a domain that the user has now."""

    domain = fields.String()
    role = fields.String(validate=validate.OneOf(list(Role)))


class FaultSchema(AnswerSchema):
    """What is wrong: a code for machines, and what to change."""

    code = fields.String()
    detail = fields.String()


class DomainCheckSchema(AnswerSchema):
    """How one check of a domain ended; ``internal``: what it looks at is in the operator's hands."""

    ok = fields.Boolean()
    internal = fields.Boolean()
    errors = fields.List(fields.Nested(FaultSchema))


class RecordSchema(AnswerSchema):
    """A DNS record to publish; ``target`` is relative to the domain, empty for the domain itself."""

    target = fields.String()
    type = fields.String(validate=validate.OneOf(["mx", "cname", "txt"]))
    value = fields.String()


class DomainSchema(AnswerSchema):
    """A domain that is hosted here; ``role`` is that of who asks."""

    name = fields.String(metadata={"format": "idn-hostname"})
    context = fields.String()
    features = fields.List(fields.String(validate=validate.OneOf(list(Feature))))
    status = fields.String(validate=validate.OneOf(list(DomainStatus)))
    last_check = Moment(allow_none=True)
    checks = fields.Dict(keys=fields.String(), values=fields.Nested(DomainCheckSchema))
    expected_config = fields.List(fields.Nested(RecordSchema))
    role = fields.String(validate=validate.OneOf(list(Role)))


class DomainsSchema(AnswerSchema):
    """A page of the domains on which the user has a role."""

    total = Total()
    domains = fields.List(fields.Nested(DomainSchema))


class MailboxSchema(AnswerSchema):
    """A mailbox of a hosted domain; ``user_id`` is whose it is, if somebody's."""

    local_part = fields.String()
    email = MailboxField()
    first_name = fields.String()
    last_name = fields.String()
    secondary_email = MailboxField(allow_none=True)
    user_id = IdentifierField(allow_none=True)
    status = fields.String(validate=validate.OneOf(list(MailboxStatus)))


class MailboxesSchema(AnswerSchema):
    """A page of the mailboxes of a domain, by local part."""

    total = Total()
    mailboxes = fields.List(fields.Nested(MailboxSchema))


class AliasSchema(AnswerSchema):
    """Mail to ``local_part`` at the domain goes to ``destination``."""

    local_part = fields.String()
    destination = MailboxField()


class AliasesSchema(AnswerSchema):
    """A page of the aliases of a domain, in order."""

    total = Total()
    aliases = fields.List(fields.Nested(AliasSchema))


class ProblemSchema(Schema):
    """What went wrong (RFC 9457). ``errors`` maps dotted paths of the request to what is wrong there."""

    type = fields.String(required=True, metadata={"format": "uri-reference"})
    title = fields.String(required=True)
    status = fields.Integer(required=True, validate=validate.Range(min=400, max=599))
    detail = fields.String(required=True)
    errors = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))
