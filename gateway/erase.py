"""Erasing what belonged to a user who has deleted the account.

1. The deletion notes the erasure in the same transaction that removes the user; 2. the data is erased before the
client is answered; 3. five minutes later a worker erases once more, for what requests and workers that were under
way have written meanwhile, and forgets the user. Who dies in between leaves a note that is due.

Nothing is under way that long: who asks is known anew when the body has come (``api/routing.py``), and what follows
takes seconds, or two minutes where an account is checked. What may not stay even so long, an identity with its
credentials or a domain, is added only while its user is there (``storage/holding.py``).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from gateway.ports import Erasure, Erasures

logger = logging.getLogger(__name__)

AGAIN_AFTER = timedelta(minutes=5)


@dataclass(frozen=True)
class Erase:
    """Runs erasures that have become due."""

    erasures: Erasures

    async def run(self, owner: str, erasure: Erasure, /) -> None:
        """Erase what is left of a user. Raises Unavailable."""
        await self.erasures.erase(erasure.user_id)
        await self.erasures.done(owner, erasure)
        logger.info("erased")
