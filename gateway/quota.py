"""How much one user may take up: messages and recipients in a time, room for what is kept, and how many things.

1. What is wanted is counted before it is done, by one atomic change of the user's counters, if that stays within
the limits; 2. what is then not done after all, or is deleted, is given back. Who dies in between leaves a counter
too high, and never too low; so 3. before somebody is refused, what is kept is counted anew, if the counters have
been at rest for a minute: what is under way has been counted, and cannot be seen yet.

What comes slowly, a file, is counted as soon as it is known that it comes: what its length is said to be at once,
else a step ahead of each of its pieces. As long as it comes the counters are kept moving.

Messages and recipients are leaky buckets: as many as a limit says at once, then one as often as makes as many in
its time. Such a counter is a time, in milliseconds: until then what was ordered weighs. An order counts once,
whenever it is to be sent and however often that is tried.

Identities, domains and what these have are few, and are counted when one more is stored. The gateway's own mails
are no user's, and whose ids are in ``limits.exempt`` may have all they want.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from gateway.config import LimitsSection
from gateway.errors import Full, Invalid, RequestError, TooOften, Unavailable
from gateway.message import Message
from gateway.notice import GATEWAY_ID
from gateway.ports import Clock, Demand, Usage

_NO_LIMIT = 2**62  # and one can add to it what the database counts with: 64 bits
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SKEW = 1000  # ms by which clocks of processes may differ: what one has just counted is no reason to refuse
_STEP = 256 * 1024  # bytes to count ahead of what comes without a length
_GIVE_BACK_S = 2.0  # where the database is away somebody has waited for it already
_MOVE_S = 20.0  # between signs that what was counted is still under way, of which one a minute is enough
_HOUR, _DAY = timedelta(hours=1) // _MILLISECOND, timedelta(days=1) // _MILLISECOND

Act = Callable[[], Awaitable[bool]]
"""Does what was counted; True when that was done."""


@dataclass(frozen=True)
class Quota:
    """The limits of users."""

    usage: Usage
    limits: LimitsSection
    clock: Clock

    def most(self, user_id: str | None, limit: int) -> int:
        """Return a limit as it is for this user."""
        return _NO_LIMIT if user_id in (None, GATEWAY_ID, *self.limits.exempt) else limit

    async def keep(self, user_id: str, more: int, store: Act) -> bool:
        """Do what makes the user's messages take up so many bytes more, or less; return whether it was done.

        Raises Full, and what ``store`` raises.
        """
        if more > 0:
            return await self._counted(user_id, {"bytes": self._bytes(user_id, more)}, store)
        done = await store()
        if done and more:
            await self._give_back(user_id, {"bytes": -more})
        return done

    @asynccontextmanager
    async def reserved(self, user_id: str, length: int | None, framing: int) -> AsyncIterator[Reservation]:
        """Count bytes that are stored before they are kept; what was not kept at the end is given back.

        ``length`` is how many come, if that is known, of which up to ``framing`` may not be stored. Raises Full.
        """
        reservation = Reservation(self, user_id)
        if length is not None:
            await reservation.grow(max(0, length - framing), length)
        moving = asyncio.create_task(self._keep_moving(user_id))
        try:
            yield reservation
        finally:
            moving.cancel()
            if reservation.size:
                await self._give_back(user_id, {"bytes": reservation.size})

    async def _keep_moving(self, user_id: str) -> None:
        """Let nobody take the counters for at rest, until canceled."""
        while True:
            await asyncio.sleep(_MOVE_S)
            with suppress(Unavailable):
                await self.usage.take(user_id, {"bytes": self._bytes(user_id, 0)}, self.clock())

    async def count(self, user_id: str, more: int) -> None:
        """Count so many bytes; who asks for it gives back what is not kept. Raises Full."""
        await self._take(user_id, {"bytes": self._bytes(user_id, more)})

    async def order(self, before: Message, after: Message, place: Act) -> bool:
        """Place an order to send; return whether it was placed. Raises TooOften, Full, Invalid, what place() does.

        ``after`` is the message as ordered, with the sender's copy.
        """
        user_id, recipients = after.user_id, len(after.envelope_recipients)
        most = self.most(user_id, self.limits.recipients_per_day)
        if recipients > most:
            told = f"A message has {most} recipients at most here (limits.recipients_per_day)."
            raise Invalid("The draft has too many recipients.", {"participants": [told]})
        demands = {
            "messages": self._in_time(user_id, 1, self.limits.messages_per_hour, _HOUR),
            "recipients": self._in_time(user_id, recipients, self.limits.recipients_per_day, _DAY),
            "bytes": self._bytes(user_id, after.size - before.size),
        }
        return await self._counted(user_id, demands, place)

    def _bytes(self, user_id: str, more: int) -> Demand:
        """Return the demand for so many bytes; what takes no more is done also where a limit was lowered."""
        return Demand(more, self.most(user_id, self.limits.storage_bytes) if more > 0 else _NO_LIMIT)

    def _in_time(self, user_id: str, count: int, limit: int, time: int) -> Demand:
        now = (self.clock() - _EPOCH) // _MILLISECOND
        full = now + time + min(_SKEW, time // limit - 1)
        return Demand(count * time // limit, ceiling=self.most(user_id, full), floor=now)

    async def _counted(self, user_id: str, demands: Mapping[str, Demand], act: Act) -> bool:
        """Count, act, and give back where nothing was done. Where nobody knows whether it was, it stays counted."""
        if user_id == GATEWAY_ID:
            return await act()
        await self._take(user_id, demands)
        amounts = {name: demand.amount for name, demand in demands.items()}
        try:
            done = await act()
        except RequestError:
            await self._give_back(user_id, amounts)
            raise
        if not done:
            await self._give_back(user_id, amounts)
        return done

    async def _take(self, user_id: str, demands: Mapping[str, Demand]) -> None:
        now = self.clock()
        if await self.usage.take(user_id, demands, now):
            return
        await self.usage.recount(user_id, now)
        if await self.usage.take(user_id, demands, now):
            return
        raise self._refusal(await self.usage.counters(user_id), demands)

    async def _give_back(self, user_id: str, amounts: Mapping[str, int]) -> None:
        if user_id != GATEWAY_ID:
            with suppress(Unavailable, TimeoutError):  # then it is counted anew some day
                async with asyncio.timeout(_GIVE_BACK_S):
                    await self.usage.give_back(user_id, amounts, self.clock())

    def _refusal(self, counters: Mapping[str, int], demands: Mapping[str, Demand]) -> TooOften:
        over = {
            name: max(counters.get(name, 0), demand.floor) + demand.amount - demand.ceiling
            for name, demand in demands.items()
        }
        if over["bytes"] > 0 or len(demands) == 1:
            return Full(
                f"There is no room for it: your drafts and messages may take up {self.limits.storage_bytes} bytes"
                " (limits.storage_bytes). Delete some of them first."
            )
        wait = max(1, ceil(max(over.values()) / 1000))  # where room was made a moment ago, that is a second
        return TooOften(
            f"You have sent as much as may be: {self.limits.messages_per_hour} messages in an hour and"
            f" {self.limits.recipients_per_day} recipients in a day. Try again in {wait} seconds.",
            wait,
        )


@dataclass(slots=True)
class Reservation:
    """Bytes of a user that are counted for what is being stored, ``size`` of them."""

    quota: Quota
    user_id: str
    size: int = 0

    async def grow(self, least: int, most: int) -> None:
        """Count ``most`` bytes more, or if there is no room for these, ``least``. Raises Full."""
        try:
            await self._take(most)
        except Full:
            await self._take(least)

    async def _take(self, more: int) -> None:
        await self.quota.count(self.user_id, more)
        self.size += more

    async def counted(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Yield what is to be stored, each piece as soon as it is counted. Raises Full."""
        came = 0
        async for piece in pieces:
            came += len(piece)
            if (short := came - self.size) > 0:
                await self.grow(short, max(short, _STEP))
            yield piece

    async def keep(self, more: int, store: Act) -> bool:
        """Do what keeps it, as :meth:`Quota.keep`: so many bytes, of which these are counted already."""
        size, self.size = self.size, 0  # where nobody knows whether it was done, it stays counted
        try:
            done = await self.quota.keep(self.user_id, more - size, store)
        except RequestError:
            self.size = size
            raise
        if not done:
            self.size = size
        return done
