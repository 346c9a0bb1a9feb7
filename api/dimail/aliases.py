"""Aliases, and what an address stands for, as clients of dimail see them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from http import HTTPStatus

from marshmallow import fields, validate

from api.dimail.routing import DimailCall, DimailOperation, DimailSchema, SignIn
from api.routing import Answer
from gateway.address import ascii_host, ascii_mailbox
from gateway.dimail import Dimail
from gateway.domain import Domain
from gateway.errors import NotFound
from gateway.forward import Forward
from gateway.mailbox import Alias, Mailbox
from gateway.pages import every
from gateway.provision import Provision

_ALL = "all"
_MAX_ADDRESS = 320  # a local part, the sign, a domain: RFC 3696, erratum 1690


class NewAliasSchema(DimailSchema):
    """Where mail to an address is to go."""

    user_name = fields.String(required=True, validate=validate.Length(max=_MAX_ADDRESS))
    destination = fields.String(required=True, validate=validate.Length(max=_MAX_ADDRESS))


class DimailAliasRoutes:
    """``/domains/{name}/aliases`` and ``/domains/{name}/address``."""

    def __init__(self, dimail: Dimail, provision: Provision, forward: Forward) -> None:
        self._dimail = dimail
        self._provision = provision
        self._forward = forward

    def operations(self) -> Sequence[DimailOperation]:
        """Return the operations on aliases and addresses."""
        every_one = "/domains/{name}/aliases"
        one, address = f"{every_one}/{{user_name}}/{{destination}}", "/domains/{name}/address/{user_name}"
        return [
            DimailOperation("GET", every_one, SignIn.BEARER, self._list),
            DimailOperation("POST", every_one, SignIn.BEARER, self._create),
            DimailOperation("DELETE", one, SignIn.BEARER, self._delete),
            DimailOperation("GET", address, SignIn.BEARER, self._address),
        ]

    async def _domain(self, call: DimailCall) -> Domain:
        return await self._dimail.managed(call.client, call.path("name"))

    async def _list(self, call: DimailCall) -> Answer:
        domain = await self._domain(call)
        user_name, destination = call.query("user_name"), call.query("destination")
        if destination is None:
            return Answer([_alias_json(alias) for alias in await self._of(domain, user_name)])
        if user_name is None:
            detail = "A destination can be asked for together with a user_name only."
            return Answer({"detail": detail}, HTTPStatus.PRECONDITION_FAILED)
        return Answer([_alias_json(await self._forward.get(domain.name, user_name, destination))])

    async def _of(self, domain: Domain, local_part: str | None) -> list[Alias]:
        """Return all aliases of a domain, or of one address."""
        wanted = local_part.lower() if local_part else None
        return [
            alias async for alias in every(functools.partial(self._forward.list, domain.name, local_part=wanted))
        ]

    async def _create(self, call: DimailCall) -> Answer:
        domain = await self._domain(call)
        body = await call.body(NewAliasSchema(), self._domain)
        alias = await self._forward.add(domain.name, body["user_name"], body["destination"])
        return Answer(_alias_json(alias), 201)

    async def _delete(self, call: DimailCall) -> Answer:
        domain, user_name = await self._domain(call), call.path("user_name")
        if call.path("destination") != _ALL:
            await self._forward.delete(domain.name, user_name, call.path("destination"))
            return Answer(status=204)
        aliases = await self._of(domain, user_name)
        if not aliases:
            raise NotFound("Alias not found")
        for alias in aliases:
            await self._forward.delete(alias.domain, alias.local_part, alias.destination)
        return Answer(status=204)

    async def _address(self, call: DimailCall) -> Answer:
        domain, user_name = await self._domain(call), call.path("user_name")
        mailbox = await self._mailbox(domain, user_name)
        aliases = await self._of(domain, user_name)
        if mailbox is None and not aliases:
            raise NotFound("Address not found")
        email = f"{user_name.lower()}@{domain.ascii_name}"
        return Answer(
            {
                "email": email,
                "ox_primary_email": email if mailbox else None,
                "aliases": [ascii_mailbox(alias.destination) for alias in aliases],
            }
        )

    async def _mailbox(self, domain: Domain, user_name: str) -> Mailbox | None:
        try:
            return await self._provision.get(domain.name, user_name)
        except NotFound:
            return None


def _alias_json(alias: Alias) -> dict[str, str]:
    return {
        "username": alias.local_part,
        "domain": ascii_host(alias.domain),
        "destination": ascii_mailbox(alias.destination),
    }
