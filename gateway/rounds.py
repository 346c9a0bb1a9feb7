"""The rounds of checks: which identities a worker checks next, or an operator now, fair to all hosts.

Of one host only so many identities are checked at once, and what is due there beyond that is passed over. So a
provider that answers slowly, or not at all, holds up its own identities and no others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime, timedelta

from gateway.check import Checks
from gateway.identity import UserIdentity
from gateway.ports import DueChecks


class Rounds:
    """Queue and runner of the worker that checks; sets ``wake`` when there is room again."""

    def __init__(self, due: DueChecks, checks: Checks, *, per_host: int, wake: asyncio.Event) -> None:
        self._due = due
        self._checks = checks
        self._per_host = per_host
        self._wake = wake
        self._busy: Counter[str] = Counter()

    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[UserIdentity]:
        """Take due identities of hosts that have room, longest due first."""
        claimed = await self._due.claim(owner, now, lease, limit, self._room)
        self._busy.update(identity.host for identity in claimed)
        return claimed

    def _room(self, host: str) -> int:
        return self._per_host - self._busy[host]

    async def renew(self, held: Collection[tuple[str, UserIdentity]], until: datetime) -> None:
        """Extend the leases of these identities, each if its owner still holds it."""
        await self._due.renew(held, until)

    async def release(self, held: Collection[tuple[str, UserIdentity]], now: datetime) -> None:
        """Hand these identities back, due at once, each if its owner still holds it."""
        await self._due.renew(held, now)

    async def run(self, _: str, identity: UserIdentity, /) -> None:
        """Check an identity. Raises Unavailable."""
        try:
            await self._checks.of(identity)
        finally:
            self._busy[identity.host] -= 1
            self._wake.set()


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
    turn = asyncio.Lock()
    hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_host))

    async def take() -> UserIdentity | None:
        async with turn:
            return await anext(identities, None)

    async def go_round() -> None:
        while identity := await take():
            async with hosts[identity.host]:
                checked = await checks.of(identity)
            if checked:
                report(checked)

    tasks = [asyncio.create_task(go_round()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
