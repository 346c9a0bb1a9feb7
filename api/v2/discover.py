"""Discovery: which servers an address probably has, as identities can be made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate

from api.answers import AnswerSchema
from api.fields import StrictSchema
from api.routing import Answer, Call, Operation
from gateway.discover import Discover
from gateway.errors import TooOften
from gateway.identity import PROTOCOLS
from gateway.proposal import Password, Proposal, Source


class AddressSchema(StrictSchema):
    """The address whose servers to find."""

    identifier = fields.String(required=True, validate=validate.Length(max=320), metadata={"format": "idn-email"})


class ProposalSchema(AnswerSchema):
    """Servers that the address probably has.

    ``infos`` are as a new remote identity takes them; the user names are suggestions. ``source`` says how the
    servers were found; ``password`` whether they take the normal one of the account or one made for an app, null
    where that is not known or, with ``authtype`` oauth2, none. Where ``confirm`` is true, nothing but
    unauthenticated DNS leads to these servers of another domain: ask the user whether they are the right ones.
    """

    protocol = fields.String(validate=validate.OneOf(PROTOCOLS))
    infos = fields.Dict(keys=fields.String(), values=fields.String())
    inusername = fields.String(allow_none=True)
    outusername = fields.String()
    source = fields.String(validate=validate.OneOf(list(Source)))
    password = fields.String(allow_none=True, validate=validate.OneOf(list(Password)))
    confirm = fields.Boolean()


class ProposalsSchema(AnswerSchema):
    """What was found, best first."""

    proposals = fields.List(fields.Nested(ProposalSchema))


class DiscoverRoutes:
    """``/api/v2/identities/discover``."""

    def __init__(self, discover: Discover) -> None:
        self._discover = discover

    def operations(self) -> Sequence[Operation]:
        """Return the one operation."""
        return [
            Operation(
                verb="POST",
                paths=["/api/v2/identities/discover"],
                handler=self._find,
                summary="Find the servers of an address",
                description=(
                    "What is proposed can be sent as it is to add the account. An empty list: nothing was found,"
                    " ask the user."
                ),
                body=AddressSchema,
                answers={200: ProposalsSchema},
                refusals=[TooOften],
            )
        ]

    async def _find(self, call: Call) -> Answer:
        proposals = await self._discover.propose(call.user_id, call.body["identifier"])
        return Answer({"proposals": [_proposal_json(each) for each in proposals]})


def _proposal_json(proposal: Proposal) -> dict[str, Any]:
    return {
        "protocol": proposal.protocol,
        "infos": dict(proposal.infos),
        "inusername": proposal.inusername,
        "outusername": proposal.outusername,
        "source": proposal.source,
        "password": proposal.password,
        "confirm": proposal.confirm,
    }
