"""Sweeping up bytes that no message names: people's mail that would stay for ever.

Bytes are stored before the message that names them, and removed after it no longer does; so death in between
leaves some. A round goes through the keys of all bytes there are, a batch at a time: 1. which does no message name?
2. those of three days ago and longer are removed, for no upload takes so long; 3. where the round goes on is
stored, and when. Of all workers one at a time has a round.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta

from gateway.ports import Clock, Leftovers, Round

logger = logging.getLogger(__name__)

LEFT_AFTER = timedelta(days=3)  # the largest message there may be takes 58 h, at 500 bytes a second
BETWEEN_BATCHES = timedelta(seconds=10)
BETWEEN_ROUNDS = timedelta(hours=6)


@dataclass(frozen=True)
class Sweep:
    """Runs batches that have become due."""

    leftovers: Leftovers
    clock: Clock

    async def run(self, owner: str, round_: Round, /) -> None:
        """Run a batch. Raises Unavailable; then the lease returns the round, and what was removed is removed."""
        removed, reached = await self.leftovers.remove(round_, self.clock() - LEFT_AFTER)
        if removed:
            logger.warning("bytes removed that no message names", extra={"kind": round_.kind, "count": removed})
        due_at = self.clock() + (BETWEEN_BATCHES if reached else BETWEEN_ROUNDS)
        await self.leftovers.go_on(owner, replace(round_, after=reached), due_at)
