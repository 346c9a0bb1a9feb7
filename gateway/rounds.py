"""A round: checks of many identities, which an operator wants now."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

from gateway.check import Checks
from gateway.identity import UserIdentity

_WAITING = 20  # times as many as run: those of a slow host that wait for their turn leave others room


async def check_all(
    checks: Checks,
    identities: AsyncIterator[UserIdentity],
    report: Callable[[UserIdentity], None],
    *,
    concurrency: int,
    per_host: int,
) -> None:
    """Check these identities now; ``report`` gets each as it is after that.

    Left out are those that somebody changes or deletes meanwhile. Raises Unavailable.
    """
    turn, everywhere = asyncio.Lock(), asyncio.Semaphore(concurrency)
    hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_host))

    async def take() -> UserIdentity | None:
        async with turn:
            return await anext(identities, None)

    async def go_round() -> None:
        while identity := await take():
            async with AsyncExitStack() as turns:
                for host in identity.hosts:  # in their order, so that no two wait for each other
                    await turns.enter_async_context(hosts[host])
                await turns.enter_async_context(everywhere)
                checked = await checks.of(identity)
            if checked:
                report(checked)

    tasks = [asyncio.create_task(go_round()) for _ in range(_WAITING * concurrency)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
