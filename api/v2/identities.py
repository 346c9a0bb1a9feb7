"""UserIdentities: locals and remotes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate

from api.fields import HeaderText, PageSchema, StrictSchema, StringMap, page_arguments
from api.routing import Answer, Call, Operation
from gateway.check import Checks
from gateway.connect import Connect, NewRemote
from gateway.identity import (
    AUTHTYPES,
    PROTOCOLS,
    Credentials,
    IdentityStatus,
    IdentityType,
    TLSMode,
    UserIdentity,
)
from gateway.ports import Page
from gateway.timestamp import rfc3339

_STATUSES = (IdentityStatus.ACTIVE.value, IdentityStatus.INACTIVE.value)
_LOCALS = "/api/v2/identities/locals"
_REMOTES = ("/api/v2/identities/remotes", "/api/v2/remotes")


class InfosField(StringMap):
    """The settings of an account; the keys that the gateway knows are checked, others are kept as they are."""

    _choices: ClassVar[Mapping[str, Sequence[str]]] = {
        "intls": list(TLSMode),
        "outtls": list(TLSMode),
        "authtype": AUTHTYPES,
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        infos: dict[str, str] = super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        faults = {
            key: [f"Must be one of: {', '.join(choices)}."]
            for key, choices in self._choices.items()
            if key in infos and infos[key] not in choices
        }
        interval = infos.get("pollinterval", "15")
        if not (interval.isascii() and interval.isdecimal() and 1 <= int(interval[:9]) <= 1440):  # noqa: PLR2004
            faults["pollinterval"] = ["Must be a number of minutes from 1 to 1440."]
        if faults:
            raise ValidationError(faults)
        return infos


class NewRemoteSchema(StrictSchema):
    """An account at another provider."""

    server_set = frozenset({"identity_id", "user_id", "type", "last_check"})

    protocol = fields.String(required=True, validate=validate.OneOf(PROTOCOLS))
    identifier = fields.String(required=True, validate=validate.Length(max=320))
    display_name = HeaderText(load_default=None, allow_none=True, validate=validate.Length(max=200))
    status = fields.String(load_default="active", validate=validate.OneOf(_STATUSES))
    infos = InfosField(load_default=dict)
    credentials = StringMap(load_default=dict, load_only=True)


class ActionsSchema(StrictSchema):
    """What to do with an identity."""

    actions = fields.List(
        fields.String(validate=validate.OneOf(["check"])), required=True, validate=validate.Length(equal=1)
    )


class RemotesQuery(PageSchema):
    """Filters of the list of remote identities."""

    status = fields.String(validate=validate.OneOf(_STATUSES))
    protocol = fields.String(validate=validate.OneOf(PROTOCOLS))


class IdentityRoutes:
    """``/api/v2/identities`` and its second path ``/api/v2/remotes``."""

    def __init__(self, connect: Connect, checks: Checks) -> None:
        self._connect = connect
        self._checks = checks

    def operations(self) -> Sequence[Operation]:
        """Return the operations on identities."""
        one_remote = [f"{path}/{{identity_id}}" for path in _REMOTES]
        return [
            Operation(
                verb="GET",
                paths=[_LOCALS],
                handler=self._list_locals,
                summary="The user's local identities",
                query=PageSchema,
            ),
            Operation(
                verb="GET",
                paths=[f"{_LOCALS}/{{identity_id}}"],
                handler=self._get_local,
                summary="One local identity",
                etag=True,
            ),
            Operation(
                verb="GET",
                paths=_REMOTES,
                handler=self._list_remotes,
                summary="The user's accounts at other providers",
                query=RemotesQuery,
            ),
            Operation(
                verb="POST",
                paths=_REMOTES,
                handler=self._add_remote,
                summary="Add an account at another provider",
                body=NewRemoteSchema,
            ),
            Operation(
                verb="GET",
                paths=one_remote,
                handler=self._get_remote,
                summary="One remote identity",
                etag=True,
            ),
            Operation(
                verb="POST",
                paths=[f"{path}/actions" for path in one_remote],
                handler=self._act,
                summary="Check the account now",
                body=ActionsSchema,
                exists=self._remote,
            ),
        ]

    async def _list_locals(self, call: Call) -> Answer:
        page = Page(**page_arguments(call.query))
        total, identities = await self._connect.list(call.user_id, IdentityType.LOCAL, {}, page)
        return Answer({"total": total, "local_identities": [identity_json(each) for each in identities]})

    async def _list_remotes(self, call: Call) -> Answer:
        filters = {key: call.query[key] for key in ("status", "protocol") if key in call.query}
        page = Page(**page_arguments(call.query))
        total, identities = await self._connect.list(call.user_id, IdentityType.REMOTE, filters, page)
        return Answer({"total": total, "remote_identities": [identity_json(each) for each in identities]})

    async def _get_local(self, call: Call) -> Answer:
        identity = await self._connect.get(call.user_id, call.path["identity_id"], IdentityType.LOCAL)
        return Answer(identity_json(identity))

    async def _remote(self, call: Call) -> UserIdentity:
        return await self._connect.get(call.user_id, call.path["identity_id"], IdentityType.REMOTE)

    async def _get_remote(self, call: Call) -> Answer:
        return Answer(identity_json(await self._remote(call)))

    async def _add_remote(self, call: Call) -> Answer:
        new = NewRemote(
            protocol=call.body["protocol"],
            identifier=call.body["identifier"],
            display_name=call.body["display_name"],
            status=IdentityStatus(call.body["status"]),
            infos=call.body["infos"],
            credentials=Credentials(call.body["credentials"]),
        )
        identity = await self._connect.add_remote(call.user_id, new)
        location = f"{_REMOTES[0]}/{identity.identity_id}"
        body = {
            "location": location,
            "identity_id": identity.identity_id,
            "remote_id": identity.identity_id,
        }
        return Answer(body, 201, {"Location": location})

    async def _act(self, call: Call) -> Answer:
        return Answer(identity_json(await self._checks.check(await self._remote(call))))


def identity_json(identity: UserIdentity) -> dict[str, Any]:
    """Return an identity as clients see it."""
    return {
        "identity_id": identity.identity_id,
        "user_id": identity.user_id,
        "type": identity.type.value,
        "protocol": identity.protocol,
        "identifier": identity.identifier,
        "display_name": identity.display_name,
        "status": identity.status.value,
        "infos": dict(identity.infos),
        "last_check": rfc3339(identity.last_check) if identity.last_check else None,
    }
