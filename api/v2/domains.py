"""Domains that are hosted here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate

from api.answers import DomainSchema, DomainsSchema
from api.fields import ListOf, PageSchema, StrictSchema, page_arguments
from api.routing import Answer, Call, Operation
from gateway.domain import MAX_NAME, Domain, DomainCheck, DomainStatus, Feature
from gateway.errors import Conflict, Forbidden, Stale, TooOften
from gateway.host import Host
from gateway.patch import Change
from gateway.ports import Page
from gateway.timestamp import rfc3339

_DOMAINS = "/api/v2/domains"
_DOMAIN = f"{_DOMAINS}/{{name}}"
_MAX_FEATURES = 16  # there are fewer; one may be named twice


class DomainName(fields.String):
    """The name of a domain; :func:`gateway.domain.parse_domain` judges it."""

    def __init__(self, **kwargs: Any) -> None:
        final_dot = 1
        length = validate.Length(max=MAX_NAME + final_dot)
        super().__init__(validate=length, metadata={"format": "idn-hostname"}, **kwargs)


class ContextName(fields.String):
    """The name of a context; :func:`gateway.domain.parse_context` judges it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=1, max=MAX_NAME), **kwargs)


class FeatureList(ListOf):
    """What a domain is used for."""

    def __init__(self, **kwargs: Any) -> None:
        one = fields.String(validate=validate.OneOf(list(Feature)))
        super().__init__(one, validate.Length(min=1, max=_MAX_FEATURES), **kwargs)


class NewDomainSchema(StrictSchema):
    """A domain to host; ``context`` is its own name and ``features`` are all, where they are absent."""

    server_set = frozenset({"status", "last_check", "checks", "expected_config", "role"})

    name = DomainName(required=True)
    context = ContextName(load_default=None, allow_none=True)
    features = FeatureList(load_default=lambda: list(Feature))


class CurrentDomainSchema(StrictSchema):
    """What the client believes to be stored."""

    server_set = frozenset({"name", "context", "last_check", "checks", "expected_config", "role"})

    status = fields.String(allow_none=True)
    features = ListOf(fields.String(), validate.Length(max=_MAX_FEATURES), allow_none=True)


class DomainPatchSchema(StrictSchema):
    """A merge patch (RFC 7396) of a domain; ``name`` and ``context`` must stay as they are.

    ``status`` disabled disables it, pending enables it again and has it checked. With ``current_state`` the patch
    is applied only if the properties that it changes are stored with those values.
    """

    server_set = frozenset({"last_check", "checks", "expected_config", "role"})

    name = DomainName()
    context = ContextName()
    status = fields.String(validate=validate.OneOf(list(DomainStatus)))
    features = FeatureList()
    current_state = fields.Nested(CurrentDomainSchema)


class DomainActionsSchema(StrictSchema):
    """What to do with a domain."""

    actions = ListOf(fields.String(validate=validate.OneOf(["check"])), validate.Length(equal=1), required=True)


class DomainRoutes:
    """``/api/v2/domains``."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def operations(self) -> Sequence[Operation]:
        """Return the operations on domains."""
        return [
            Operation(
                verb="GET",
                paths=[_DOMAINS],
                handler=self._list,
                summary="The domains on which the user has a role",
                query=PageSchema,
                answers={200: DomainsSchema},
            ),
            Operation(
                verb="POST",
                paths=[_DOMAINS],
                handler=self._create,
                summary="Host a domain, and be its owner; expected_config says what to publish",
                description="It is pending until its first check, at once; then it is checked every hour.",
                body=NewDomainSchema,
                answers={201: DomainSchema},
                refusals=[Conflict, TooOften],
                located=True,
            ),
            Operation(
                verb="GET",
                paths=[_DOMAIN],
                handler=self._get,
                summary="One domain",
                answers={200: DomainSchema},
                etag=True,
            ),
            Operation(
                verb="PATCH",
                paths=[_DOMAIN],
                handler=self._change,
                summary="Change, disable or enable a domain",
                description="For its owners.",
                body=DomainPatchSchema,
                answers={204: None},
                refusals=[Forbidden, Conflict, Stale, TooOften],
                exists=self._domain,
            ),
            Operation(
                verb="POST",
                paths=[f"{_DOMAIN}/actions"],
                handler=self._act,
                summary="Check the domain now",
                description=(
                    "For its administrators. enabled: all is well. action_required: publish what `checks` miss."
                    " failed: the operator has to mend something."
                ),
                body=DomainActionsSchema,
                answers={200: DomainSchema},
                refusals=[Forbidden, Conflict, TooOften],
                exists=self._domain,
            ),
        ]

    async def _list(self, call: Call) -> Answer:
        total, domains = await self._host.list(call.user_id, Page(**page_arguments(call.query)))
        return Answer({"total": total, "domains": [domain_json(each, call.user_id) for each in domains]})

    async def _create(self, call: Call) -> Answer:
        domain = await self._host.create(call.user_id, **call.body)
        location = f"{_DOMAINS}/{domain.ascii_name}"
        return Answer(domain_json(domain, call.user_id), 201, {"Location": location})

    async def _domain(self, call: Call) -> Domain:
        return await self._host.get(call.user_id, call.path["name"])

    async def _get(self, call: Call) -> Answer:
        return Answer(domain_json(await self._domain(call), call.user_id))

    async def _change(self, call: Call) -> Answer:
        change: Change[Domain] = call.change(lambda domain: domain_json(domain, call.user_id))
        await self._host.change(call.user_id, call.path["name"], change)
        return Answer(status=204)

    async def _act(self, call: Call) -> Answer:
        return Answer(domain_json(await self._host.check(call.user_id, call.path["name"]), call.user_id))


def domain_json(domain: Domain, user_id: str | None) -> dict[str, Any]:
    """Return a domain as a user sees it who has a role on it; None: as the operator does, who has none."""
    return {
        "name": domain.name,
        "context": domain.context,
        "features": [feature.value for feature in domain.features],
        "status": domain.status.value,
        "last_check": rfc3339(domain.last_check) if domain.last_check else None,
        "checks": {name: _check_json(check) for name, check in domain.checks.items()},
        "expected_config": [
            {"target": record.target, "type": record.type, "value": record.value} for record in domain.records
        ],
        "role": domain.roles[user_id].value if user_id else None,
    }


def _check_json(check: DomainCheck) -> dict[str, Any]:
    errors = [{"code": fault.code, "detail": fault.detail} for fault in check.faults]
    return {"ok": check.ok, "internal": check.internal, "errors": errors}
