"""What the database says of itself, for those who look after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta

from gateway.ports import Clock
from storage.mongo import Mongo, translating
from storage.secrets import KEYS


@dataclass(frozen=True, slots=True)
class Condition:
    """``members`` of the replica set, 0 of a sharded cluster; ``ahead``: of its clock, before ours."""

    version: tuple[int, ...]
    members: int
    ahead: timedelta
    has_keys: bool


class Database:
    """Asks the database."""

    def __init__(self, mongo: Mongo, clock: Clock) -> None:
        self.operation_s = mongo.operation_s
        self._mongo = mongo
        self._clock = clock

    @translating
    async def condition(self) -> Condition:
        """Return its condition; the difference of the clocks is right to half of the time that asking takes.

        Raises Unavailable.
        """
        admin = self._mongo.client.admin
        version = (await admin.command("buildInfo"))["versionArray"]
        before = self._clock()
        hello = await admin.command("hello")
        middle = before + (self._clock() - before) / 2
        return Condition(
            version=tuple(version[:3]),
            members=len(hello.get("hosts", ())),
            ahead=hello["localTime"].replace(tzinfo=UTC) - middle,
            has_keys=await self._mongo.collection(KEYS).find_one({}, {"_id": 1}) is not None,
        )
