"""UserIdentities: locals and remotes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate

from api.answers import ChecksSchema, CreatedRemoteSchema, LocalsSchema, RemotesSchema, UserIdentitySchema
from api.fields import HeaderText, ListOf, MapOf, PageSchema, StrictSchema, StringMap, Timestamp, page_arguments
from api.listing import listed
from api.routing import Answer, Call, Operation
from gateway.check import Checks
from gateway.connect import Connect, NewRemote
from gateway.errors import CheckFailed, Conflict, Forbidden, Stale, TooOften
from gateway.health import PastCheck
from gateway.identity import (
    AUTHTYPES,
    DEFAULT_POLL_INTERVAL,
    MAX_KEYS,
    PROTOCOLS,
    Credentials,
    IdentityStatus,
    IdentityType,
    TLSMode,
    UserIdentity,
)
from gateway.ports import Page
from gateway.timestamp import rfc3339

_MINUTES = "[1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440"
_MAX_SEEN = 2 * MAX_KEYS  # keys of infos: more than any answer has, with what workers add
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

    json_schema: Mapping[str, Any] = {
        **StringMap.json_schema,
        "properties": {
            **dict.fromkeys(("inserver", "outserver"), StringMap.json_schema["additionalProperties"]),
            **{key: {"type": "string", "enum": list(choices)} for key, choices in _choices.items()},
            "pollinterval": {"type": "string", "pattern": f"^({_MINUTES})$"},
        },
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str | None]:
        infos: dict[str, str | None] = super()._deserialize(value, attr, data, **kwargs)
        given = {key: text for key, text in infos.items() if text is not None}
        faults = {
            key: [f"Must be one of: {', '.join(choices)}."]
            for key, choices in self._choices.items()
            if key in given and given[key] not in choices
        }
        if not re.fullmatch(_MINUTES, given.get("pollinterval", DEFAULT_POLL_INTERVAL)):
            faults["pollinterval"] = ["Must be a number of minutes from 1 to 1440."]
        if faults:
            raise ValidationError(faults)
        return infos


class NewRemoteSchema(StrictSchema):
    """An account at another provider.

    ``infos.outserver`` is required, and for the protocol imap ``infos.inserver`` too (``host[:port]``).
    """

    server_set = frozenset({"identity_id", "user_id", "type", "last_check"})

    protocol = fields.String(required=True, validate=validate.OneOf(PROTOCOLS))
    identifier = fields.String(required=True, validate=validate.Length(max=320), metadata={"format": "idn-email"})
    display_name = HeaderText(load_default=None, allow_none=True, validate=validate.Length(max=200))
    status = fields.String(load_default="active", validate=validate.OneOf(_STATUSES))
    infos = InfosField(load_default=dict)
    credentials = StringMap(load_default=dict, load_only=True)


class VerifyQuery(StrictSchema):
    """How to add an account."""

    error_messages = PageSchema.error_messages

    verify = fields.Boolean(load_default=False, truthy={"true"}, falsy={"false"})


class CurrentRemoteSchema(StrictSchema):
    """What the client believes to be stored. What it cannot see is not compared."""

    server_set = frozenset({"identity_id", "user_id", "type", "last_check", "credentials"})

    protocol = fields.String(allow_none=True)
    identifier = fields.String(allow_none=True)
    display_name = fields.String(allow_none=True)
    status = fields.String(allow_none=True)
    infos = MapOf(fields.String(), fields.String(allow_none=True), most=_MAX_SEEN, allow_none=True)


class RemotePatchSchema(StrictSchema):
    """A merge patch (RFC 7396) of an account; ``identifier`` and ``protocol`` must stay as they are.

    ``infos`` and ``credentials`` merge, and null removes a key. With ``current_state`` the patch is applied only if
    the properties that it changes are stored with those values; a key that is absent there was absent or empty.
    """

    server_set = NewRemoteSchema.server_set

    protocol = fields.String(validate=validate.OneOf(PROTOCOLS))
    identifier = fields.String(validate=validate.Length(max=320))
    display_name = HeaderText(allow_none=True, validate=validate.Length(max=200))
    status = fields.String(allow_none=True, validate=validate.OneOf(_STATUSES))
    infos = InfosField(nullable=True)
    credentials = StringMap(nullable=True, load_only=True)
    current_state = fields.Nested(CurrentRemoteSchema)


class ActionsSchema(StrictSchema):
    """What to do with an identity."""

    actions = ListOf(fields.String(validate=validate.OneOf(["check"])), validate.Length(equal=1), required=True)


class RemotesQuery(PageSchema):
    """Filters of the list of remote identities."""

    status = fields.String(validate=validate.OneOf(_STATUSES))
    protocol = fields.String(validate=validate.OneOf(PROTOCOLS))


class ChecksQuery(PageSchema):
    """Which checks."""

    since = Timestamp()


class IdentityRoutes:
    """``/api/v2/identities`` and its second path ``/api/v2/remotes``."""

    def __init__(self, connect: Connect, checks: Checks) -> None:
        self._connect = connect
        self._checks = checks

    def operations(self) -> Sequence[Operation]:
        """Return the operations on identities."""
        one_local = f"{_LOCALS}/{{identity_id}}"
        one_remote = [f"{path}/{{identity_id}}" for path in _REMOTES]
        return [
            Operation(
                verb="GET",
                paths=[_LOCALS],
                handler=self._list_locals,
                summary="The user's local identities",
                query=PageSchema,
                answers={200: LocalsSchema},
            ),
            Operation(
                verb="GET",
                paths=[one_local],
                handler=self._get_local,
                summary="One local identity",
                answers={200: UserIdentitySchema},
                etag=True,
            ),
            Operation(
                verb="GET",
                paths=_REMOTES,
                handler=self._list_remotes,
                summary="The user's accounts at other providers",
                query=RemotesQuery,
                answers={200: RemotesSchema},
            ),
            Operation(
                verb="POST",
                paths=_REMOTES,
                handler=self._add_remote,
                summary="Add an account at another provider",
                description=(
                    "With `verify=true` both servers are tried first, and where one fails nothing is stored: 424,"
                    " whose `errors` say for `inserver` and `outserver` what is wrong. `credentials` are never"
                    " shown again."
                ),
                body=NewRemoteSchema,
                query=VerifyQuery,
                answers={201: CreatedRemoteSchema},
                refusals=[Conflict, CheckFailed, TooOften],
            ),
            Operation(
                verb="GET",
                paths=one_remote,
                handler=self._get_remote,
                summary="One remote identity",
                answers={200: UserIdentitySchema},
                etag=True,
            ),
            Operation(
                verb="PATCH",
                paths=one_remote,
                handler=self._change_remote,
                summary="Change an account",
                description=(
                    "Another `identifier` or `protocol` is 403: that is another account. A stored password or token"
                    " goes only to the servers that it was given for: with a server of another registrable domain,"
                    " or with `none` in place of TLS, send it again in the same patch, or null to remove it. Else"
                    " the patch is 422."
                ),
                body=RemotePatchSchema,
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale, TooOften],
                exists=self._remote,
            ),
            Operation(
                verb="DELETE",
                paths=one_remote,
                handler=self._delete_remote,
                summary="Delete an account; its credentials are destroyed at once",
                description="Drafts that name it can be read, and not sent.",
                answers={204: None},
                refusals=[Conflict, Stale],
            ),
            Operation(
                verb="POST",
                paths=[f"{path}/actions" for path in one_remote],
                handler=self._act,
                summary="Check the account now",
                description=(
                    "A check that fails is 200 as well: what is wrong stands in `infos`. One that succeeds makes"
                    " an identity active again that had become inactive because its checks failed."
                ),
                body=ActionsSchema,
                answers={200: UserIdentitySchema},
                refusals=[Conflict, TooOften],
                exists=self._remote,
            ),
            self._history([one_local], self._local),
            self._history(one_remote, self._remote),
        ]

    def _history(self, paths: Sequence[str], identity: Callable[[Call], Awaitable[UserIdentity]]) -> Operation:
        async def history(call: Call) -> Answer:
            page = Page(**page_arguments(call.query))
            total, checks = await self._checks.list(await identity(call), call.query.get("since"), page)
            return Answer({"total": total, "checks": [check_json(each) for each in checks]})

        return Operation(
            verb="GET",
            paths=[f"{path}/checks" for path in paths],
            handler=history,
            summary="How the checks of the last 30 days ended, newest first",
            query=ChecksQuery,
            answers={200: ChecksSchema},
            exists=identity,
        )

    async def _list_locals(self, call: Call) -> Answer:
        page = Page(**page_arguments(call.query))
        total, identities = await self._connect.list(call.user_id, IdentityType.LOCAL, {}, page)
        return Answer(listed("local_identities", total, identities, identity_json))

    async def _list_remotes(self, call: Call) -> Answer:
        filters = {key: call.query[key] for key in ("status", "protocol") if key in call.query}
        page = Page(**page_arguments(call.query))
        total, identities = await self._connect.list(call.user_id, IdentityType.REMOTE, filters, page)
        return Answer(listed("remote_identities", total, identities, identity_json))

    async def _local(self, call: Call) -> UserIdentity:
        return await self._connect.get(call.user_id, call.path["identity_id"], IdentityType.LOCAL)

    async def _get_local(self, call: Call) -> Answer:
        return Answer(identity_json(await self._local(call)))

    async def _remote(self, call: Call) -> UserIdentity:
        return await self._connect.get(call.user_id, call.path["identity_id"], IdentityType.REMOTE)

    async def _get_remote(self, call: Call) -> Answer:
        return Answer(identity_json(await self._remote(call)))

    async def _add_remote(self, call: Call) -> Answer:
        identity = await self._connect.add_remote(call.user_id, new_remote(call.body), verify=call.query["verify"])
        location = f"{_REMOTES[0]}/{identity.identity_id}"
        body = {
            "location": location,
            "identity_id": identity.identity_id,
            "remote_id": identity.identity_id,
        }
        return Answer(body, 201, {"Location": location})

    async def _change_remote(self, call: Call) -> Answer:
        await self._connect.change_remote(call.user_id, call.path["identity_id"], call.change(identity_json))
        return Answer(status=204)

    async def _delete_remote(self, call: Call) -> Answer:
        await self._connect.delete_remote(call.user_id, call.path["identity_id"], call.change(identity_json))
        return Answer(status=204)

    async def _act(self, call: Call) -> Answer:
        return Answer(identity_json(await self._connect.check_remote(call.user_id, call.path["identity_id"])))


def new_remote(body: Mapping[str, Any]) -> NewRemote:
    """Return the account of which NewRemoteSchema made this."""
    return NewRemote(
        protocol=body["protocol"],
        identifier=body["identifier"],
        display_name=body["display_name"],
        status=IdentityStatus(body["status"]),
        infos=body["infos"],
        credentials=Credentials(body["credentials"]),
    )


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


def check_json(check: PastCheck) -> dict[str, Any]:
    """Return a check of the past as clients see it."""
    return {"at": rfc3339(check.at), "ok": check.ok, "ms": check.ms, "server": check.server, "error": check.error}
