"""Aliases of the domains that are hosted here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.answers import AliasesSchema, AliasSchema
from api.fields import MailboxField, PageSchema, StrictSchema, page_arguments
from api.routing import Answer, Call, Operation
from api.v2.mailboxes import LocalPart
from gateway.errors import Conflict, Forbidden, RemoteError, TooOften
from gateway.mailbox import Alias
from gateway.ports import Page
from gateway.postmaster import Postmaster

_ALIASES = "/api/v2/domains/{name}/aliases"
_ALIAS = f"{_ALIASES}/{{local_part}}/{{destination}}"


class NewAliasSchema(StrictSchema):
    """Mail to ``local_part`` at the domain shall go to ``destination``."""

    local_part = LocalPart(required=True)
    destination = MailboxField(required=True)


class AliasRoutes:
    """``/api/v2/domains/{name}/aliases``."""

    def __init__(self, postmaster: Postmaster) -> None:
        self._postmaster = postmaster

    def operations(self) -> Sequence[Operation]:
        """Return the operations on aliases."""
        return [
            Operation(
                verb="GET",
                paths=[_ALIASES],
                handler=self._list,
                summary="The aliases of a domain, in order",
                query=PageSchema,
                answers={200: AliasesSchema},
                exists=self._domain,
            ),
            Operation(
                verb="POST",
                paths=[_ALIASES],
                handler=self._add,
                summary="Let mail to an address of the domain go to a mailbox",
                description="For administrators of the domain.",
                body=NewAliasSchema,
                answers={201: AliasSchema},
                refusals=[Forbidden, Conflict, RemoteError, TooOften],
                exists=self._domain,
            ),
            Operation(
                verb="DELETE",
                paths=[_ALIAS],
                handler=self._delete,
                summary="Delete an alias",
                answers={204: None},
                refusals=[Forbidden, RemoteError],
            ),
        ]

    async def _domain(self, call: Call) -> object:
        return await self._postmaster.domain(call.user_id, call.path["name"])

    async def _list(self, call: Call) -> Answer:
        page = Page(**page_arguments(call.query))
        total, aliases = await self._postmaster.aliases(call.user_id, call.path["name"], page)
        return Answer({"total": total, "aliases": [alias_json(each) for each in aliases]})

    async def _add(self, call: Call) -> Answer:
        alias = await self._postmaster.add_alias(call.user_id, call.path["name"], **call.body)
        return Answer(alias_json(alias), 201)

    async def _delete(self, call: Call) -> Answer:
        path = call.path
        await self._postmaster.delete_alias(call.user_id, path["name"], path["local_part"], path["destination"])
        return Answer(status=204)


def alias_json(alias: Alias) -> dict[str, Any]:
    """Return an alias as clients see it."""
    return {"local_part": alias.local_part, "destination": alias.destination}
