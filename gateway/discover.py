"""Finding the servers of an address: what the finder proposes, each of them once, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.address import domain_of, normalise_identifier
from gateway.errors import Invalid
from gateway.ports import ServerFinder
from gateway.proposal import Proposal, best_first
from gateway.throttle import Throttle


@dataclass(frozen=True)
class Discover:
    """Proposes servers for a new identity."""

    finder: ServerFinder
    throttle: Throttle

    async def propose(self, user_id: str, identifier: str) -> Sequence[Proposal]:
        """Return what was found, the best first. Raises Invalid (the identifier is no mail address), TooOften."""
        try:
            address = normalise_identifier(identifier)
        except ValueError as error:
            raise Invalid("The identifier is no mail address.", {"identifier": [str(error)]}) from error
        await self.throttle.spend("discovery", user_id)
        if domain_of(address).startswith("["):  # an address literal: there is no domain to ask
            return []
        return best_first(await self.finder.find(address))
