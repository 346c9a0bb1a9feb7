"""Invitations to manage domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate

from api.answers import AcceptedSchema, InvitationSchema, InvitationsSchema
from api.fields import PageSchema, StrictSchema, page_arguments
from api.routing import Answer, Call, Operation
from gateway.errors import Conflict, Forbidden, NotFound, TooOften
from gateway.invitation import Invitation
from gateway.invite import Invite
from gateway.ports import Page
from gateway.roles import Role
from gateway.timestamp import rfc3339

_ALL = "/api/v2/domains/{name}/invitations"


class NewInvitationSchema(StrictSchema):
    """Whom to invite, and to which role."""

    server_set = frozenset({"id", "expires_at"})

    email = fields.String(required=True, validate=validate.Length(max=320), metadata={"format": "idn-email"})
    role = fields.String(required=True, validate=validate.OneOf([role.value for role in Role]))


class TokenSchema(StrictSchema):
    """The token of the mail."""

    token = fields.String(required=True, validate=validate.Length(max=128), load_only=True)


class InvitationRoutes:
    """``/api/v2/domains/{name}/invitations`` and ``/api/v2/invitations``."""

    def __init__(self, invite: Invite) -> None:
        self._invite = invite

    def operations(self) -> Sequence[Operation]:
        """Return the operations on invitations."""
        return [
            Operation(
                verb="GET",
                paths=[_ALL],
                handler=self._list,
                summary="The invitations to a domain, oldest first",
                query=PageSchema,
                answers={200: InvitationsSchema},
                refusals=[Forbidden],
                exists=self._domain,
            ),
            Operation(
                verb="POST",
                paths=[_ALL],
                handler=self._create,
                summary="Invite somebody to manage a domain; who has the address here has the role at once",
                description="For administrators of the domain. A mail with a token goes out, which serves once.",
                body=NewInvitationSchema,
                answers={201: InvitationSchema},
                refusals=[Forbidden, Conflict, TooOften],
                exists=self._domain,
            ),
            Operation(
                verb="DELETE",
                paths=[f"{_ALL}/{{invitation_id}}"],
                handler=self._revoke,
                summary="Take an invitation back",
                answers={204: None},
                refusals=[Forbidden],
            ),
            Operation(
                verb="POST",
                paths=["/api/v2/invitations/accept"],
                handler=self._accept,
                summary="Accept an invitation with the token of its mail",
                body=TokenSchema,
                answers={200: AcceptedSchema},
                refusals=[NotFound, Conflict, TooOften],
            ),
        ]

    async def _domain(self, call: Call) -> object:
        return await self._invite.access.seen(call.path["name"], call.user_id)

    async def _list(self, call: Call) -> Answer:
        page = Page(**page_arguments(call.query))
        total, invitations = await self._invite.list(call.user_id, call.path["name"], page)
        return Answer({"total": total, "invitations": [invitation_json(each) for each in invitations]})

    async def _create(self, call: Call) -> Answer:
        role = Role(call.body["role"])
        invitation = await self._invite.create(call.user_id, call.path["name"], call.body["email"], role)
        return Answer(invitation_json(invitation), 201)

    async def _revoke(self, call: Call) -> Answer:
        await self._invite.revoke(call.user_id, call.path["name"], call.path["invitation_id"])
        return Answer(status=204)

    async def _accept(self, call: Call) -> Answer:
        domain, role = await self._invite.accept(call.user_id, call.body["token"])
        return Answer({"domain": domain, "role": role.value})


def invitation_json(invitation: Invitation) -> dict[str, Any]:
    """Return an invitation as clients see it."""
    return {
        "id": invitation.invitation_id,
        "email": invitation.email,
        "role": invitation.role.value,
        "expires_at": rfc3339(invitation.expires_at),
    }
