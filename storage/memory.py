"""Memory that a process gives to what is large, and that those who ask for it have to share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Memory:
    """So many bytes of memory: who finds too few free waits, in turn; who needs more than all waits for all."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Hold so many bytes."""
        size = min(size, self._size)
        async with self._turn:
            while self._free < size:
                self._freed.clear()
                await self._freed.wait()
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._freed.set()


class SharedMemory:
    """Memory of which one user has a share at most, so that nobody can keep all the others waiting."""

    def __init__(self, size: int, share: int) -> None:
        self._memory = Memory(size)
        self._share = share
        self._shares: WeakValueDictionary[str, Memory] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, user_id: str, size: int) -> AsyncIterator[None]:
        """Hold so many bytes for a user."""
        share = self._shares.setdefault(user_id, Memory(self._share))
        async with share.taken(size), self._memory.taken(size):
            yield
