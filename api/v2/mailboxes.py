"""Mailboxes of the domains that are hosted here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from marshmallow import ValidationError, fields, validate

from api.answers import MailboxesSchema, MailboxSchema
from api.fields import HeaderText, IdentifierField, ListOf, MailboxField, PageSchema, StrictSchema, page_arguments
from api.routing import Answer, Call, Operation
from gateway.address import ascii_host
from gateway.errors import Conflict, Forbidden, RemoteError, Stale, TooOften
from gateway.mailbox import Mailbox, parse_local_part
from gateway.patch import Change
from gateway.ports import Page
from gateway.postmaster import Postmaster
from gateway.provision import NewMailbox

_MAILBOXES = "/api/v2/domains/{name}/mailboxes"
_MAILBOX = f"{_MAILBOXES}/{{local_part}}"
_MAX_NAME = 100
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"


class LocalPart(fields.String):
    """What stands before the @; :func:`gateway.mailbox.parse_local_part` judges it."""

    json_schema: ClassVar[Mapping[str, Any]] = {
        "minLength": 1,
        "maxLength": 64,
        "pattern": f"^{_ATOM}([.]{_ATOM})*$",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            return parse_local_part(text)
        except ValueError as error:
            raise ValidationError(f"This {error}.") from error


class PersonName(HeaderText):
    """A name of a person: text for a header, not blank."""

    json_schema: ClassVar[Mapping[str, Any]] = {"pattern": r"^[^\u0000\r\n]*[^\s\u0000][^\u0000\r\n]*$"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=1, max=_MAX_NAME), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if not text.strip():
            raise ValidationError("Must not be blank.")
        return text


class NewMailboxSchema(StrictSchema):
    """A mailbox to create; ``secondary_email`` gets a sign-in link, ``user_id`` the address as a local identity."""

    server_set = frozenset({"email", "status"})

    local_part = LocalPart(required=True)
    first_name = PersonName(required=True)
    last_name = PersonName(required=True)
    secondary_email = MailboxField(load_default=None, allow_none=True)
    user_id = IdentifierField(load_default=None, allow_none=True)


class CurrentMailboxSchema(StrictSchema):
    """What the client believes to be stored."""

    server_set = NewMailboxSchema.server_set

    local_part = fields.String(allow_none=True)
    first_name = fields.String(allow_none=True)
    last_name = fields.String(allow_none=True)
    secondary_email = fields.String(allow_none=True)
    user_id = fields.String(allow_none=True)


class MailboxPatchSchema(StrictSchema):
    """A merge patch (RFC 7396) of a mailbox; ``local_part`` must stay as it is.

    With ``current_state`` the patch is applied only if the properties that it changes are stored with those values.
    """

    server_set = NewMailboxSchema.server_set

    local_part = LocalPart()
    first_name = PersonName()
    last_name = PersonName()
    secondary_email = MailboxField(allow_none=True)
    user_id = IdentifierField(allow_none=True)
    current_state = fields.Nested(CurrentMailboxSchema)


class MailboxActionsSchema(StrictSchema):
    """What to do with a mailbox."""

    actions = ListOf(
        fields.String(validate=validate.OneOf(["disable", "enable", "reset_password", "send_login_link"])),
        validate.Length(equal=1),
        required=True,
    )


class MailboxRoutes:
    """``/api/v2/domains/{name}/mailboxes``."""

    def __init__(self, postmaster: Postmaster) -> None:
        self._postmaster = postmaster
        self._actions: Mapping[str, Callable[[str, str, str], Awaitable[Mailbox]]] = {
            "disable": postmaster.disable_mailbox,
            "enable": postmaster.enable_mailbox,
            "reset_password": postmaster.reset_password,
            "send_login_link": postmaster.send_login_link,
        }

    def operations(self) -> Sequence[Operation]:
        """Return the operations on mailboxes."""
        return [
            Operation(
                verb="GET",
                paths=[_MAILBOXES],
                handler=self._list,
                summary="The mailboxes of a domain, by local part",
                query=PageSchema,
                answers={200: MailboxesSchema},
                exists=self._domain,
            ),
            Operation(
                verb="POST",
                paths=[_MAILBOXES],
                handler=self._create,
                summary="Create a mailbox, at once where the domain is enabled, else when it is",
                description="For administrators of the domain. A link to sign in goes to `secondary_email`.",
                body=NewMailboxSchema,
                answers={201: MailboxSchema},
                refusals=[Forbidden, Conflict, RemoteError, TooOften],
                exists=self._domain,
                located=True,
            ),
            Operation(
                verb="GET",
                paths=[_MAILBOX],
                handler=self._get,
                summary="One mailbox",
                answers={200: MailboxSchema},
                etag=True,
            ),
            Operation(
                verb="PATCH",
                paths=[_MAILBOX],
                handler=self._change,
                summary="Change a mailbox",
                description="For administrators of the domain, and for who owns the mailbox.",
                body=MailboxPatchSchema,
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale, RemoteError],
                exists=self._mailbox,
            ),
            Operation(
                verb="DELETE",
                paths=[_MAILBOX],
                handler=self._delete,
                summary="Delete a mailbox with its mail",
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale, RemoteError],
            ),
            Operation(
                verb="POST",
                paths=[f"{_MAILBOX}/actions"],
                handler=self._act,
                summary="Disable or enable a mailbox, reset its password, or send a sign-in link for it",
                description=(
                    "For administrators of the domain; `send_login_link` also for who owns the mailbox. 422 where"
                    " the action writes to `secondary_email` and there is none."
                ),
                body=MailboxActionsSchema,
                answers={200: MailboxSchema},
                refusals=[Forbidden, Conflict, RemoteError, TooOften],
                exists=self._mailbox,
            ),
        ]

    async def _domain(self, call: Call) -> object:
        return await self._postmaster.domain(call.user_id, call.path["name"])

    async def _mailbox(self, call: Call) -> Mailbox:
        return await self._postmaster.mailbox(call.user_id, call.path["name"], call.path["local_part"])

    async def _list(self, call: Call) -> Answer:
        page = Page(**page_arguments(call.query))
        total, mailboxes = await self._postmaster.mailboxes(call.user_id, call.path["name"], page)
        return Answer({"total": total, "mailboxes": [mailbox_json(each) for each in mailboxes]})

    async def _create(self, call: Call) -> Answer:
        mailbox = await self._postmaster.create_mailbox(call.user_id, call.path["name"], NewMailbox(**call.body))
        location = _MAILBOX.format(name=ascii_host(mailbox.domain), local_part=quote(mailbox.local_part, safe=""))
        return Answer(mailbox_json(mailbox), 201, {"Location": location})

    async def _get(self, call: Call) -> Answer:
        return Answer(mailbox_json(await self._mailbox(call)))

    async def _change(self, call: Call) -> Answer:
        change: Change[Mailbox] = call.change(mailbox_json)
        await self._postmaster.change_mailbox(call.user_id, call.path["name"], call.path["local_part"], change)
        return Answer(status=204)

    async def _delete(self, call: Call) -> Answer:
        change: Change[Mailbox] = call.change(mailbox_json)
        await self._postmaster.delete_mailbox(call.user_id, call.path["name"], call.path["local_part"], change)
        return Answer(status=204)

    async def _act(self, call: Call) -> Answer:
        (action,) = call.body["actions"]
        mailbox = await self._actions[action](call.user_id, call.path["name"], call.path["local_part"])
        return Answer(mailbox_json(mailbox))


def mailbox_json(mailbox: Mailbox) -> dict[str, Any]:
    """Return a mailbox as clients see it."""
    return {
        "local_part": mailbox.local_part,
        "email": mailbox.email,
        "first_name": mailbox.first_name,
        "last_name": mailbox.last_name,
        "secondary_email": mailbox.secondary_email,
        "user_id": mailbox.user_id,
        "status": mailbox.status.value,
    }
