"""Domains, as clients of dimail see them: with their names in A-labels (RFC 5890)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import fields, validate

from api.dimail.routing import DimailCall, DimailOperation, DimailSchema, SignIn
from api.routing import Answer
from api.v2.domains import ContextName, DomainName, FeatureList
from gateway.address import ascii_host
from gateway.api_client import Perm
from gateway.dimail import Dimail, require
from gateway.domain import Domain, DomainCheck, Feature
from gateway.errors import Conflict, Invalid, NotAuthenticated
from gateway.examine import Examine
from gateway.host import Host
from gateway.pages import every

_DELIVERY = "virtual"
_EXTERNAL = ("domain_exist", "mx", "cname_imap", "cname_smtp", "cname_webmail", "spf", "dkim")
_INTERNAL = ("postfix", "ox", "cert")
_PASSED: Mapping[str, DomainCheck] = {
    **dict.fromkeys(_EXTERNAL, DomainCheck(internal=False)),
    **dict.fromkeys(_INTERNAL, DomainCheck(internal=True)),
}
"""All that a client looks for; a check that does not apply to a domain is none that fails."""


class DimailDomainSchema(DimailSchema):
    """A domain to host; where it has the feature webmail, ``context_name`` has to be there."""

    name = DomainName(required=True)
    features = FeatureList(required=True)
    context_name = ContextName(allow_none=True)
    delivery = fields.String(
        allow_none=True, validate=validate.OneOf([_DELIVERY], error="Mail is delivered to mailboxes here: virtual.")
    )


class DimailDomainRoutes:
    """``/domains``."""

    def __init__(self, dimail: Dimail, host: Host, examine: Examine) -> None:
        self._dimail = dimail
        self._host = host
        self._examine = examine

    def operations(self) -> Sequence[DimailOperation]:
        """Return the operations on domains."""
        one = "/domains/{name}"
        create, administrate = (functools.partial(require, perm=perm) for perm in (Perm.NEW_DOMAIN, None))
        return [
            DimailOperation("POST", "/domains", SignIn.BASIC, self._create, create),
            DimailOperation("GET", "/domains", SignIn.BASIC, self._list, administrate),
            DimailOperation("GET", one, SignIn.BEARER, self._get),
            DimailOperation("GET", f"{one}/check", SignIn.BASIC, self._check),
            # A check has the backend repair what it can: that is what fix does.
            DimailOperation("GET", f"{one}/fix", SignIn.BASIC, self._check),
            DimailOperation("GET", f"{one}/spec", SignIn.BASIC, self._spec),
        ]

    async def _create(self, call: DimailCall) -> Answer:
        body = await call.body(DimailDomainSchema())
        client = None if call.client.is_admin else call.client.name
        domain = await self._host.create(None, body["name"], _context(body), body["features"], client=client)
        return Answer(_domain_json(domain), 201)

    async def _list(self, _: DimailCall) -> Answer:
        read = functools.partial(self._dimail.domains.list, None)
        return Answer([_domain_json(domain) async for domain in every(read)])

    async def _get(self, call: DimailCall) -> Answer:
        domain = await self._dimail.known(call.path("name"))
        if not await self._dimail.manages(call.client, domain.name):
            raise NotAuthenticated("Not authorized.")
        return Answer(_domain_json(domain))

    async def _check(self, call: DimailCall) -> Answer:
        domain = await self._dimail.managed(call.client, call.path("name"))
        return Answer(_checked_json(await self._examine.check(domain.name)))

    async def _spec(self, call: DimailCall) -> Answer:
        domain = await self._dimail.managed(call.client, call.path("name"))
        records = domain.records or await self._examine.host(domain)
        return Answer([{"target": record.target, "type": record.type, "value": record.value} for record in records])


def _context(body: Mapping[str, Any]) -> str | None:
    """Return the context that is asked for. Raises Invalid, Conflict."""
    if Feature.WEBMAIL in body["features"]:
        if "context_name" not in body:
            raise Invalid("The feature webmail takes a context.", {"context_name": ["Field required"]})
        if body["context_name"] is None:
            raise Conflict("The feature webmail takes a context: context_name must not be null.")
    return body.get("context_name")


def _domain_json(domain: Domain) -> dict[str, Any]:
    return {
        "name": domain.ascii_name,
        "features": [feature.value for feature in domain.features],
        "mailbox_domain": None,
        "webmail_domain": None,
        "imap_domains": None,
        "smtp_domains": None,
        "context_name": _ascii_context(domain.context),
    }


def _ascii_context(context: str) -> str:
    try:
        return ascii_host(context)
    except ValueError:  # it need not be named like a domain
        return context


def _checked_json(domain: Domain) -> dict[str, Any]:
    checks = {**_PASSED, **domain.checks}
    valid = all(check.ok for check in checks.values())
    return {
        **_domain_json(domain),
        "delivery": _DELIVERY,
        "transport": None,
        "state": "ok" if valid else "broken",
        "valid": valid,
        **{name: _check_json(check) for name, check in checks.items()},
    }


def _check_json(check: DomainCheck) -> dict[str, Any]:
    errors = [{"code": fault.code, "detail": fault.detail} for fault in check.faults]
    return {"ok": check.ok, "internal": check.internal, "errors": errors}
