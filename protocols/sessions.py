"""The SMTP sessions that are open: lent for a message, kept for the next one, bounded per host and in all.

A session is kept for a few seconds for whoever has the same endpoint, sign-in included, so that a changed password
never meets an old session. Who finds all connections of a host, or all there may be, in use waits in turn; idle
ones are closed to make room. A session that is being left counts until its connection is closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from gateway.errors import RemoteError, Unreachable
from gateway.identity import Endpoint
from protocols.session import Session

IDLE_S = 5.0
MAX_MESSAGES = 100  # of one session: servers have limits of their own, and a new session may meet another machine
_CLOSE_S = 0.4  # for all goodbyes at the end; the gateway has to stop in less than 10 seconds
Host = tuple[str, int]


class Sessions:
    """Sessions that ``new`` makes, at most ``per_host`` to one host and port, at most ``in_all``."""

    def __init__(
        self, new: Callable[[Endpoint], Session], *, per_host: int, in_all: int, idle_s: float = IDLE_S
    ) -> None:
        self._new = new
        self._per_host = per_host
        self._in_all = in_all
        self._idle_s = idle_s
        # Semaphores serve in turn. Those of hosts that nobody uses go by themselves.
        self._hosts: WeakValueDictionary[Host, asyncio.Semaphore] = WeakValueDictionary()
        self._all = asyncio.Semaphore(in_all)
        self._connections: Counter[Host] = Counter()
        self._idle: dict[Session, asyncio.TimerHandle] = {}  # longest idle first
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def lend(self, endpoint: Endpoint, *, fresh: bool = False) -> AsyncIterator[Session]:
        """Yield a session that is signed in; ``fresh``: a new one. It is kept unless the user of it fails.

        Raises RemoteError.
        """
        host = _host(endpoint)
        turn = self._hosts.setdefault(host, asyncio.Semaphore(self._per_host))
        async with turn, self._all:
            session = None if fresh else self._waiting(endpoint)
            is_new = session is None
            session = session or await self._connection(endpoint)
            try:
                if is_new:
                    await session.start()
                yield session
            except RemoteError as error:
                if isinstance(error, Unreachable):  # it speaks no SMTP
                    await self._close(session)
                else:
                    self._leave(session)
                raise
            except BaseException:
                await self._close(session)
                raise
            self._keep(session)

    async def close(self) -> None:
        """Leave all idle sessions, and keep none from here on."""
        self._closed = True
        for session in list(self._idle):
            self._leave(session)
        if self._leaving:
            _, late = await asyncio.wait(self._leaving, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _waiting(self, endpoint: Endpoint) -> Session | None:
        """Return the idle session of that endpoint that was used last; leave those that the server has closed."""
        for session in [each for each in reversed(self._idle) if each.endpoint == endpoint]:
            if session.is_open:
                self._idle.pop(session).cancel()
                return session
            self._leave(session)
        return None

    async def _connection(self, endpoint: Endpoint) -> Session:
        """Return a session that may connect, when there is room for its connection.

        Others that are in use leave room, for their number is bounded too: what takes it is idle or being left.
        """
        host = _host(endpoint)
        while (host_full := self._connections[host] >= self._per_host) or self._is_full():
            idle = (each for each in self._idle if not host_full or _host(each.endpoint) == host)
            if session := next(idle, None):
                self._leave(session)
            await asyncio.wait(self._leaving, return_when=asyncio.FIRST_COMPLETED)
        self._connections[host] += 1
        return self._new(endpoint)

    def _is_full(self) -> bool:
        return self._connections.total() >= self._in_all

    def _keep(self, session: Session) -> None:
        if self._closed or not session.is_open or session.messages >= MAX_MESSAGES:
            self._leave(session)
        else:
            self._idle[session] = asyncio.get_running_loop().call_later(self._idle_s, self._leave, session)

    def _leave(self, session: Session) -> None:
        """Say goodbye without keeping anybody waiting: what the server said before has to be recorded at once."""
        if timer := self._idle.pop(session, None):
            timer.cancel()
        self._leaving.add(asyncio.create_task(self._say_goodbye(session)))

    async def _say_goodbye(self, session: Session) -> None:
        try:
            await session.leave()
        finally:
            self._forget(session)
            # Not by a callback, which would run after those who wait for this task.
            self._leaving.discard(asyncio.current_task())

    async def _close(self, session: Session) -> None:
        try:
            await session.close()
        finally:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        host = _host(session.endpoint)
        self._connections[host] -= 1
        if not self._connections[host]:
            del self._connections[host]


def _host(endpoint: Endpoint) -> Host:
    return endpoint.host, endpoint.port
