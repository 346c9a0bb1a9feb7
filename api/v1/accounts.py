"""Accounts: register, sign in, stay signed in, sign out, who am I."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate

from api.answers import CreatedUserSchema, SignedInSchema, UserSchema
from api.fields import HeaderText, MailboxField, NewPassword, Password, StrictSchema, Username
from api.routing import Answer, Call, Operation
from gateway.accounts import Accounts
from gateway.errors import Conflict, NotAuthenticated, TooOften
from gateway.timestamp import rfc3339
from gateway.user import Tokens, User


class NewUserSchema(StrictSchema):
    """A user to register. The password is not the user name."""

    username = Username(required=True)
    password = NewPassword(required=True)
    display_name = HeaderText(load_default=None, allow_none=True, validate=validate.Length(max=200))
    recovery_email = MailboxField(load_default=None, allow_none=True)


class SignInSchema(StrictSchema):
    """Name and password."""

    username = fields.String(required=True)
    password = Password(required=True)


class RefreshSchema(StrictSchema):
    """The refresh token of the pair that is to be replaced."""

    refresh_token = Password(required=True)


class AccountRoutes:
    """``/api/v1/users``, ``/api/v1/authentications`` and ``/api/v1/me``."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def operations(self) -> Sequence[Operation]:
        """Return the operations on accounts."""
        return [
            Operation(
                verb="POST",
                paths=["/api/v1/users"],
                handler=self._register,
                summary="Register a user; its first local identity comes with it",
                description=(
                    "The identity's address is the user name at the local domain. A name is compared without case,"
                    " and is never given again: 409. So are names of duties, such as webmaster (RFC 2142)."
                ),
                body=NewUserSchema,
                answers={201: CreatedUserSchema},
                refusals=[Conflict, TooOften],
                public=True,
            ),
            Operation(
                verb="POST",
                paths=["/api/v1/authentications"],
                handler=self._sign_in,
                summary="Sign in",
                description="A wrong name and a wrong password are answered alike.",
                body=SignInSchema,
                answers={200: SignedInSchema},
                refusals=[NotAuthenticated, TooOften],
                public=True,
            ),
            Operation(
                verb="POST",
                paths=["/api/v1/authentications/refresh"],
                handler=self._refresh,
                summary="Get a new pair of tokens; the old pair is void",
                body=RefreshSchema,
                answers={200: SignedInSchema},
                refusals=[NotAuthenticated],
                public=True,
            ),
            Operation(
                verb="DELETE",
                paths=["/api/v1/authentications"],
                handler=self._sign_out,
                summary="Sign out: the presented token and its refresh token are void",
                answers={204: None},
            ),
            Operation(
                verb="GET",
                paths=["/api/v1/me"],
                handler=self._me,
                summary="The signed-in user",
                answers={200: UserSchema},
                etag=True,
            ),
        ]

    async def _register(self, call: Call) -> Answer:
        user = await self._accounts.register(
            call.body["username"],
            call.body["password"],
            call.body["display_name"],
            call.body["recovery_email"],
            source=call.source,
        )
        location = f"/api/v2/users/{user.user_id}"
        return Answer({"location": location, "user_id": user.user_id}, 201, {"Location": location})

    async def _sign_in(self, call: Call) -> Answer:
        return self._signed_in(
            *await self._accounts.sign_in(call.body["username"], call.body["password"], call.source)
        )

    async def _refresh(self, call: Call) -> Answer:
        return self._signed_in(*await self._accounts.refresh(call.body["refresh_token"]))

    async def _sign_out(self, call: Call) -> Answer:
        await self._accounts.sign_out(call.access_token)
        return Answer(status=204)

    def _signed_in(self, user: User, tokens: Tokens) -> Answer:
        return Answer(
            {"username": user.username, "user_id": user.user_id, "tokens": self._tokens_json(tokens)},
            headers={"Cache-Control": "no-store"},
        )

    def _tokens_json(self, tokens: Tokens) -> dict[str, Any]:
        return {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_in": self._accounts.settings.access_token_s,
            "expires_at": rfc3339(tokens.expires_at),
        }

    async def _me(self, call: Call) -> Answer:
        return Answer(user_json(await self._accounts.get(call.user_id, asked_by=call.user_id)))


def user_json(user: User) -> dict[str, Any]:
    """Return a user as clients see it."""
    return {
        "user_id": user.user_id,
        "username": user.username,
        "display_name": user.display_name,
        "recovery_email": user.recovery_email,
        "date_insert": rfc3339(user.date_insert),
    }
