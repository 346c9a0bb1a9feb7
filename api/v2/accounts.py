"""Accounts: is a name free, one's own user, change it, delete it."""

from __future__ import annotations

from collections.abc import Sequence

from marshmallow import fields, validate

from api.answers import AvailabilitySchema, UserSchema
from api.fields import HeaderText, MailboxField, NewPassword, PageSchema, Password, StrictSchema
from api.routing import Answer, Call, Operation
from api.v1.accounts import user_json
from gateway.accounts import Accounts
from gateway.errors import Conflict, Forbidden, Stale, TooOften
from gateway.user import User

_USER = "/api/v2/users/{user_id}"


class NameQuery(StrictSchema):
    """Which name."""

    error_messages = PageSchema.error_messages

    username = fields.String(required=True)


class CurrentUserSchema(StrictSchema):
    """What the client believes to be stored; ``password`` proves that it is the user who changes the password."""

    server_set = frozenset({"user_id", "username", "date_insert"})

    password = Password()
    display_name = fields.String(allow_none=True)
    recovery_email = fields.String(allow_none=True)


class UserPatchSchema(StrictSchema):
    """A merge patch (RFC 7396) of a user.

    ``password`` needs ``current_state.password``; ``username`` must stay as it is.
    """

    server_set = frozenset({"user_id", "date_insert"})

    username = fields.String()
    password = NewPassword()
    display_name = HeaderText(allow_none=True, validate=validate.Length(max=200))
    recovery_email = MailboxField(allow_none=True)
    current_state = fields.Nested(CurrentUserSchema)


class FarewellSchema(StrictSchema):
    """The password, so that a stolen token is not enough."""

    password = Password(required=True)


class UserRoutes:
    """``/api/v2/users`` and ``/api/v2/username``."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def operations(self) -> Sequence[Operation]:
        """Return the operations."""
        return [
            Operation(
                verb="GET",
                paths=["/api/v2/username/isAvailable"],
                handler=self._is_available,
                summary="Whether a user name can be registered",
                description="False for names that are taken, were taken, are those of a duty, or break the rules.",
                query=NameQuery,
                answers={200: AvailabilitySchema},
                public=True,
            ),
            Operation(
                verb="GET",
                paths=[_USER],
                handler=self._get,
                summary="One's own user",
                answers={200: UserSchema},
                etag=True,
            ),
            Operation(
                verb="PATCH",
                paths=[_USER],
                handler=self._change,
                summary="Change one's own user",
                description=(
                    "A new `password` needs the present one in `current_state.password`: a wrong one is 409. It"
                    " voids all tokens but the presented pair."
                ),
                body=UserPatchSchema,
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale, TooOften],
                exists=self._user,
            ),
            Operation(
                verb="DELETE",
                paths=[_USER],
                handler=self._delete,
                summary="Delete one's own user, with all identities, credentials and drafts",
                description="403: the password is wrong. 409: the user is the only owner of a domain.",
                body=FarewellSchema,
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale, TooOften],
                exists=self._user,
            ),
        ]

    async def _is_available(self, call: Call) -> Answer:
        username = call.query["username"]
        return Answer({"username": username, "available": await self._accounts.is_available(username)})

    async def _user(self, call: Call) -> User:
        return await self._accounts.get(call.path["user_id"], asked_by=call.user_id)

    async def _get(self, call: Call) -> Answer:
        return Answer(user_json(await self._user(call)))

    async def _change(self, call: Call) -> Answer:
        await self._user(call)
        await self._accounts.change(
            call.user_id, call.change(user_json), access_token=call.access_token, source=call.source
        )
        return Answer(status=204)

    async def _delete(self, call: Call) -> Answer:
        await self._user(call)
        change = call.change(user_json)
        await self._accounts.delete(call.user_id, change.patch["password"], change, source=call.source)
        return Answer(status=204)
