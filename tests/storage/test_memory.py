"""Memory that has to be shared."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from storage.memory import Memory, SharedMemory

Taken = AbstractAsyncContextManager[None]


async def begun(taken: Taken, held: AsyncExitStack) -> asyncio.Task[None]:
    """Ask for memory, and let everybody run who can."""
    task = asyncio.create_task(held.enter_async_context(taken))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_in_turn() -> None:
    """Who finds too little waits, and whoever comes then waits behind; what is given back is given on."""
    memory = Memory(10)
    async with AsyncExitStack() as one, AsyncExitStack() as others:
        await one.enter_async_context(memory.taken(6))
        large, small = await begun(memory.taken(8), others), await begun(memory.taken(1), others)
        assert not large.done()
        assert not small.done()
        await one.aclose()
        await asyncio.gather(large, small)


async def test_more_than_there_is() -> None:
    """Who needs more than all of it gets all of it."""
    memory = Memory(10)
    for _ in range(2):
        async with memory.taken(11):
            pass


async def test_given_up() -> None:
    """A canceled wait takes nothing and holds up nobody."""
    memory = Memory(10)
    async with AsyncExitStack() as one, AsyncExitStack() as others:
        await one.enter_async_context(memory.taken(6))
        gone, waiting = await begun(memory.taken(10), others), await begun(memory.taken(10), others)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await one.aclose()
        await waiting


async def test_shares() -> None:
    """One user waits for what is over his share, and others do not."""
    memory = SharedMemory(10, 5)
    async with AsyncExitStack() as first, AsyncExitStack() as others:
        await first.enter_async_context(memory.taken("a", 4))
        more = await begun(memory.taken("a", 4), others)
        assert not more.done()
        await others.enter_async_context(memory.taken("b", 5))
        await first.aclose()
        await more
