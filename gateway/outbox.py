"""The queue of messages as one worker sees it: no server gets more of the worker's attempts than its share.

A server that hangs, or takes its time, would else draw in one message after the other until all attempts of the
worker wait for it. What there is no room for stays in the queue, for when there is, or for another worker.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from gateway.message import Message
from gateway.ports import Messages, Room
from gateway.work import Runner


class Outbox:
    """A Queue and a Runner of messages, of which at most ``per_server`` run for one server."""

    def __init__(self, messages: Messages, runner: Runner[Message], per_server: int, wake: asyncio.Event) -> None:
        """``wake`` is set whenever there is room again, for what was passed over."""
        self._messages = messages
        self._runner = runner
        self._per_server = per_server
        self._wake = wake
        self._busy: Counter[str] = Counter()

    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Message]:
        """Take up to ``limit`` due messages of servers that there is room for."""
        claimed = await self._messages.claim(owner, now, lease, limit, Room(self._per_server, dict(self._busy)))
        self._busy.update(_server(message) for message in claimed)
        return claimed

    async def renew(self, held: Collection[tuple[str, Message]], until: datetime) -> None:
        """Extend the leases of these messages."""
        await self._messages.renew(held, until)

    async def release(self, held: Collection[tuple[str, Message]], now: datetime) -> None:
        """Hand these messages back."""
        await self._messages.release(held, now)

    async def run(self, owner: str, message: Message, /) -> None:
        """Run a claimed message."""
        try:
            await self._runner.run(owner, message)
        finally:
            self._end(_server(message))

    def _end(self, server: str) -> None:
        self._busy[server] -= 1
        if not self._busy[server]:
            del self._busy[server]
        self._wake.set()


def _server(message: Message) -> str:
    return message.delivery.server if message.delivery else ""
