"""Mailboxes, as clients of dimail see them.

No answer has a null in it: La Suite's People reads the list as a Python literal.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from marshmallow import ValidationError, fields, validate

from api.dimail.routing import DimailCall, DimailOperation, DimailSchema, SignIn
from api.fields import HeaderText
from api.routing import Answer
from gateway.address import ascii_mailbox
from gateway.dimail import Dimail
from gateway.domain import Domain, Feature
from gateway.errors import Invalid, NotFound, Unreachable
from gateway.mailbox import Mailbox, MailboxStatus
from gateway.pages import every
from gateway.patch import Change
from gateway.provision import NewMailbox, Provision

_MAX_NAME = 200
_MOST_USES = 1000
_CODE_LIFE_S, _LONGEST_CODE_LIFE_S = 3600, 30 * 24 * 3600
_NAMES = {"givenName": "first_name", "surName": "last_name", "displayName": "display_name"}


class Name(HeaderText):
    """A name of a person, possibly empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(max=_MAX_NAME), **kwargs)


class DimailMailboxSchema(DimailSchema):
    """Whose a new mailbox is."""

    givenName = Name(required=True)  # noqa: N815 - dimail's spelling, here and below
    surName = Name(required=True)  # noqa: N815
    displayName = Name(required=True)  # noqa: N815


def _unmovable(value: object) -> None:
    if value is not None:
        raise ValidationError("A mailbox cannot be renamed or moved.")


class DimailMailboxChangeSchema(DimailSchema):
    """What is to be otherwise of a mailbox; null is as good as nothing."""

    givenName = Name(allow_none=True)  # noqa: N815
    surName = Name(allow_none=True)  # noqa: N815
    displayName = Name(allow_none=True)  # noqa: N815
    active = fields.String(allow_none=True, validate=validate.OneOf(["yes", "no"]))
    user_name = fields.Raw(allow_none=True, validate=_unmovable)
    domain = fields.Raw(allow_none=True, validate=_unmovable)


class NewCodeSchema(DimailSchema):
    """A code to sign in with: its life in seconds, and how often it can be used."""

    expires_in = fields.Integer(
        strict=True, load_default=_CODE_LIFE_S, validate=validate.Range(min=1, max=_LONGEST_CODE_LIFE_S)
    )
    maxuse = fields.Integer(strict=True, load_default=1, validate=validate.Range(min=1, max=_MOST_USES))


class DimailMailboxRoutes:
    """``/domains/{name}/mailboxes``."""

    def __init__(self, dimail: Dimail, provision: Provision) -> None:
        self._dimail = dimail
        self._provision = provision

    def operations(self) -> Sequence[DimailOperation]:
        """Return the operations on mailboxes."""
        every_one = "/domains/{name}/mailboxes"
        one = f"{every_one}/{{user_name}}"
        return [
            DimailOperation("GET", every_one, SignIn.BEARER, self._list),
            DimailOperation("GET", f"/v2{every_one}", SignIn.BEARER, self._list_v2),
            DimailOperation("GET", one, SignIn.BEARER, self._get),
            DimailOperation("POST", one, SignIn.BEARER, self._create),
            DimailOperation("PATCH", one, SignIn.BEARER, self._change),
            DimailOperation("DELETE", one, SignIn.BEARER, self._delete),
            # People sends name and password here, as it does to no other of these.
            DimailOperation("POST", f"{one}/reset_password", SignIn.EITHER, self._reset_password),
            DimailOperation("POST", f"{one}/code", SignIn.BEARER, self._code),
        ]

    async def _domain(self, call: DimailCall) -> Domain:
        domain = await self._dimail.managed(call.client, call.path("name"))
        if Feature.MAILBOX not in domain.features:
            raise Invalid("The domain does not have the feature mailbox.")
        return domain

    async def _every(self, call: DimailCall) -> AsyncIterator[Mailbox]:
        domain = await self._domain(call)
        async for mailbox in every(functools.partial(self._provision.list, domain.name)):
            yield mailbox

    async def _list(self, call: DimailCall) -> Answer:
        return Answer([_mailbox_json(mailbox) async for mailbox in self._every(call)])

    async def _list_v2(self, call: DimailCall) -> Answer:
        return Answer([_mailbox_v2_json(mailbox) async for mailbox in self._every(call)])

    async def _get(self, call: DimailCall) -> Answer:
        domain = await self._domain(call)
        with _mailbox_not_found():
            return Answer(_mailbox_json(await self._provision.get(domain.name, call.path("user_name"))))

    async def _create(self, call: DimailCall) -> Answer:
        domain = await self._domain(call)
        names = _names(await call.body(DimailMailboxSchema(), self._domain))
        new = NewMailbox(local_part=call.path("user_name"), **names)
        mailbox, password = await self._provision.create(domain.name, new, at_once=True)
        email = ascii_mailbox(mailbox.email)
        if password is None:
            raise Unreachable(
                f"The mail servers do not answer. {email} is created when they do; reset its password then."
            )
        return Answer({"email": email, "password": password, "uuid": mailbox.mailbox_id}, 201)

    async def _change(self, call: DimailCall) -> Answer:
        domain, user_name = await self._domain(call), call.path("user_name")
        body = await call.body(DimailMailboxChangeSchema(), self._domain)
        with _mailbox_not_found():
            mailbox = await self._provision.get(domain.name, user_name)
            if names := _names(body):
                mailbox = await self._provision.change(domain.name, user_name, Change(names))
            if active := body.get("active"):
                switch = self._provision.enable if active == "yes" else self._provision.disable
                mailbox = await switch(domain.name, user_name)
        return Answer(_mailbox_json(mailbox))

    async def _delete(self, call: DimailCall) -> Answer:
        domain = await self._domain(call)
        with _mailbox_not_found():
            await self._provision.delete(domain.name, call.path("user_name"))
        return Answer(status=204)

    async def _reset_password(self, call: DimailCall) -> Answer:
        domain, user_name = await self._domain(call), call.path("user_name")
        with _mailbox_not_found():
            password = await self._provision.reset_password(domain.name, user_name)
        return Answer({"email": _email(domain, user_name), "password": password})

    async def _code(self, call: DimailCall) -> Answer:
        domain, user_name = await self._domain(call), call.path("user_name")
        schema = NewCodeSchema()
        body = await call.body(schema, self._domain) if call.request.body_exists else schema.load({})
        life = timedelta(seconds=body["expires_in"])
        with _mailbox_not_found():
            code = await self._provision.sign_in_code(domain.name, user_name, life, body["maxuse"])
        return Answer(
            {
                "email": _email(domain, user_name),
                "code": code.code,
                "expires_at": int(code.expires_at.timestamp()),
                "expires_in": body["expires_in"],
                "maxuse": code.max_uses,
                "nbuse": 0,
            }
        )


@contextmanager
def _mailbox_not_found() -> Iterator[None]:
    """Say it in dimail's words."""
    try:
        yield
    except NotFound as error:
        raise NotFound("Mailbox not found") from error


def _email(domain: Domain, user_name: str) -> str:
    return f"{user_name.lower()}@{domain.ascii_name}"


def _names(body: dict[str, Any]) -> dict[str, str]:
    return {ours: body[theirs] for theirs, ours in _NAMES.items() if body.get(theirs) is not None}


def _mailbox_json(mailbox: Mailbox) -> dict[str, str]:
    return {
        "type": "mailbox",
        "status": "ok" if mailbox.hosted else "broken",
        "email": ascii_mailbox(mailbox.email),
        "givenName": mailbox.first_name,
        "surName": mailbox.last_name,
        "displayName": mailbox.display_name,
    }


def _mailbox_v2_json(mailbox: Mailbox) -> dict[str, Any]:
    return {
        "email": ascii_mailbox(mailbox.email),
        "features": ["ox"],
        "extras": {"ox": {"given_name": mailbox.first_name, "sur_name": mailbox.last_name}},
        "active": "yes" if mailbox.status is MailboxStatus.ENABLED else "no",
    }
