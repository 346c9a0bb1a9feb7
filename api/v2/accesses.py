"""Who manages a domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate

from api.answers import AccessesSchema, AccessSchema
from api.fields import IdentifierField, PageSchema, StrictSchema, page_arguments
from api.routing import Answer, Call, Operation
from gateway.errors import Conflict, Forbidden, Stale
from gateway.manage import Manage, Manager
from gateway.ports import Page
from gateway.roles import Role

_ALL = "/api/v2/domains/{name}/accesses"
_ROLES = [role.value for role in Role]


class NewAccessSchema(StrictSchema):
    """Who gets which role."""

    server_set = frozenset({"username"})

    user_id = IdentifierField(required=True)
    role = fields.String(required=True, validate=validate.OneOf(_ROLES))


class CurrentAccessSchema(StrictSchema):
    """What the client believes to be stored."""

    server_set = frozenset({"user_id", "username"})

    role = fields.String(allow_none=True)


class AccessPatchSchema(StrictSchema):
    """A merge patch (RFC 7396) of an access."""

    server_set = CurrentAccessSchema.server_set

    role = fields.String(validate=validate.OneOf(_ROLES))
    current_state = fields.Nested(CurrentAccessSchema)


class AccessRoutes:
    """``/api/v2/domains/{name}/accesses``."""

    def __init__(self, manage: Manage) -> None:
        self._manage = manage

    def operations(self) -> Sequence[Operation]:
        """Return the operations on accesses."""
        one = f"{_ALL}/{{user_id}}"
        return [
            Operation(
                verb="GET",
                paths=[_ALL],
                handler=self._list,
                summary="Who manages a domain, owners first",
                query=PageSchema,
                answers={200: AccessesSchema},
                exists=self._domain,
            ),
            Operation(
                verb="POST",
                paths=[_ALL],
                handler=self._give,
                summary="Give a user a role on a domain",
                description="Administrators give the roles up to their own, owners all.",
                body=NewAccessSchema,
                answers={201: AccessSchema},
                refusals=[Forbidden, Conflict],
                exists=self._domain,
            ),
            Operation(
                verb="PATCH",
                paths=[one],
                handler=self._change,
                summary="Change a user's role; a domain keeps one owner at least",
                body=AccessPatchSchema,
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale],
                exists=self._access,
            ),
            Operation(
                verb="DELETE",
                paths=[one],
                handler=self._remove,
                summary="Take a user's role away, or give up one's own; a domain keeps one owner at least",
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale],
            ),
        ]

    async def _domain(self, call: Call) -> object:
        return await self._manage.access.seen(call.path["name"], call.user_id)

    async def _access(self, call: Call) -> object:
        return await self._manage.get(call.user_id, call.path["name"], call.path["user_id"])

    async def _list(self, call: Call) -> Answer:
        page = Page(**page_arguments(call.query))
        total, managers = await self._manage.list(call.user_id, call.path["name"], page)
        return Answer({"total": total, "accesses": [access_json(each) for each in managers]})

    async def _give(self, call: Call) -> Answer:
        role = Role(call.body["role"])
        manager = await self._manage.give(call.user_id, call.path["name"], call.body["user_id"], role)
        return Answer(access_json(manager), 201)

    async def _change(self, call: Call) -> Answer:
        await self._manage.change(call.user_id, call.path["name"], call.path["user_id"], call.change(access_json))
        return Answer(status=204)

    async def _remove(self, call: Call) -> Answer:
        await self._manage.remove(call.user_id, call.path["name"], call.path["user_id"], call.change(access_json))
        return Answer(status=204)


def access_json(manager: Manager) -> dict[str, Any]:
    """Return a manager as clients see one."""
    return {"user_id": manager.user_id, "username": manager.username, "role": manager.role.value}
