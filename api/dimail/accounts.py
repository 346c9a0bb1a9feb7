"""Accounts of API clients, their tokens, and the domains that they may manage."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import fields, validate

from api.dimail.routing import DimailCall, DimailOperation, DimailSchema, SignIn
from api.fields import ListOf
from api.routing import Answer
from gateway.address import ascii_host
from gateway.api_client import Allow, ApiClient, Perm
from gateway.dimail import Dimail, Wanted, require

_MAX_PERMS = 16  # there are fewer; one may be named twice


class PermList(ListOf):
    """What an account may."""

    def __init__(self, **kwargs: Any) -> None:
        one = fields.String(validate=validate.OneOf(list(Perm)))
        super().__init__(one, validate.Length(max=_MAX_PERMS), allow_none=True, load_default=None, **kwargs)


class NewUserSchema(DimailSchema):
    """An account to make."""

    name = fields.String(required=True)
    password = fields.String(required=True)
    is_admin = fields.Boolean(required=True)
    perms = PermList()


class UserChangeSchema(DimailSchema):
    """What is to be otherwise of an account; null is as good as nothing."""

    password = fields.String(allow_none=True, load_default=None)
    is_admin = fields.Boolean(allow_none=True, load_default=None)
    perms = PermList()


class NewAllowSchema(DimailSchema):
    """Who may manage which domain."""

    user = fields.String(required=True)
    domain = fields.String(required=True)


class DimailAccountRoutes:
    """``/token``, ``/users`` and ``/allows``."""

    def __init__(self, dimail: Dimail) -> None:
        self._dimail = dimail

    def operations(self) -> Sequence[DimailOperation]:
        """Return the operations on accounts."""
        one, allow = "/users/{user}", "/allows/{domain}/{user}"
        create, manage = (functools.partial(require, perm=perm) for perm in (Perm.CREATE_USERS, Perm.MANAGE_USERS))
        return [
            DimailOperation("GET", "/token", SignIn.BASIC, self._token),
            DimailOperation("POST", "/users", SignIn.OPEN_AT_FIRST, self._create, create),
            DimailOperation("GET", "/users", SignIn.BASIC, self._list, manage),
            DimailOperation("GET", one, SignIn.BASIC, self._get, manage),
            DimailOperation("PATCH", one, SignIn.BASIC, self._change, manage),
            DimailOperation("DELETE", one, SignIn.BASIC, self._delete, manage),
            DimailOperation("POST", "/allows", SignIn.BASIC, self._allow, manage),
            DimailOperation("GET", "/allows", SignIn.BASIC, self._allows, manage),
            DimailOperation("DELETE", allow, SignIn.BASIC, self._disallow, manage),
        ]

    async def _token(self, call: DimailCall) -> Answer:
        return Answer({"access_token": await self._dimail.token(call.client), "token_type": "bearer"})

    async def _create(self, call: DimailCall) -> Answer:
        body = await call.body(NewUserSchema())
        return Answer(_user_json(await self._dimail.register(call.client, body["name"], _wanted(body))), 201)

    async def _list(self, _: DimailCall) -> Answer:
        return Answer([_user_json(client) for client in await self._dimail.list()])

    async def _get(self, call: DimailCall) -> Answer:
        return Answer(_user_json(await self._dimail.get(call.path("user"))))

    async def _change(self, call: DimailCall) -> Answer:
        wanted = _wanted(await call.body(UserChangeSchema()))
        return Answer(_user_json(await self._dimail.change(call.client, call.path("user"), wanted)))

    async def _delete(self, call: DimailCall) -> Answer:
        await self._dimail.delete(call.client, call.path("user"))
        return Answer(status=204)

    async def _allow(self, call: DimailCall) -> Answer:
        body = await call.body(NewAllowSchema())
        return Answer(_allow_json(await self._dimail.allow(body["user"], body["domain"])), 201)

    async def _allows(self, call: DimailCall) -> Answer:
        found = await self._dimail.allows(call.query("user", "username"), call.query("domain"))
        return Answer([_allow_json(allow) for allow in found])

    async def _disallow(self, call: DimailCall) -> Answer:
        await self._dimail.disallow(call.path("user"), call.path("domain"))
        return Answer(status=204)


def _wanted(body: Mapping[str, Any]) -> Wanted:
    perms = body["perms"]
    return Wanted(
        password=body["password"],
        is_admin=body["is_admin"],
        perms=None if perms is None else [Perm(perm) for perm in perms],
    )


def _user_json(client: ApiClient) -> dict[str, Any]:
    return {
        "name": client.name,
        "is_admin": client.is_admin,
        "uuid": client.client_id,
        "perms": [perm.value for perm in Perm if perm in client.perms],
    }


def _allow_json(allow: Allow) -> dict[str, Any]:
    return {"user": allow.client, "domain": ascii_host(allow.domain)}
