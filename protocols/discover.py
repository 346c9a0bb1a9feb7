"""Finding the servers of an address, in several ways at once.

Each way has the same time; one that hangs or fails hides nothing that the others find.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain

from gateway.errors import RemoteError
from gateway.proposal import Proposal

logger = logging.getLogger(__name__)

DEADLINE_S = 10.0

Way = Callable[[str], Awaitable[Sequence[Proposal]]]


class Finder:
    """The core's ServerFinder. ``deadline`` is in seconds."""

    def __init__(self, ways: Sequence[Way], deadline: float = DEADLINE_S) -> None:
        self._ways = ways
        self._deadline = deadline

    async def find(self, address: str) -> Sequence[Proposal]:
        """Return what all ways found in time."""
        return list(chain.from_iterable(await asyncio.gather(*(self._go(way, address) for way in self._ways))))

    async def _go(self, way: Way, address: str) -> Sequence[Proposal]:
        try:
            async with asyncio.timeout(self._deadline):
                return await way(address)
        except (RemoteError, TimeoutError):
            return []
        except Exception:
            logger.exception("a way to find servers failed unexpectedly")
            return []
