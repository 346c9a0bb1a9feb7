"""For operators and their machines: does the process live, can it work, what does it count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from api import metrics
from api.answers import ReadySchema, StatusSchema
from api.routing import Answer, Call, Operation
from gateway.check import Checks
from gateway.errors import Unavailable
from gateway.ports import Health
from gateway.work import Worker

_FULL = "The disk of the database is nearly full: nothing new is stored. See docs/backup.md."


class HealthRoutes:
    """``/healthz``, ``/readyz``, ``/metrics``. ``workers`` tells of each whether it is alive."""

    def __init__(
        self, database: Health, workers: Mapping[str, Worker[Any]], checks: Checks, counted: metrics.Metrics
    ) -> None:
        self._database = database
        self._checks = checks
        self._workers = workers
        self._metrics = counted

    def operations(self) -> Sequence[Operation]:
        """Return the operations."""
        return [
            Operation(
                verb="GET",
                paths=["/healthz"],
                handler=self._healthz,
                summary="The process lives",
                answers={200: StatusSchema},
                public=True,
            ),
            Operation(
                verb="GET",
                paths=["/readyz"],
                handler=self._readyz,
                summary="The database answers and the workers are alive; warnings tell where they do not keep up",
                answers={200: ReadySchema},
                refusals=[Unavailable],
                public=True,
            ),
            Operation(
                verb="GET",
                paths=["/metrics"],
                handler=self._count,
                summary="Prometheus metrics",
                answers={200: "text/plain"},
                public=True,
            ),
        ]

    async def _healthz(self, _: Call) -> Answer:
        return Answer({"status": "ok"})

    async def _readyz(self, _: Call) -> Answer:
        await self._database.ping()
        for name, worker in self._workers.items():
            if not worker.alive:
                raise Unavailable(f"The worker {name} is not running.")
        # Told, but no reason to be taken out of service: one user with a slow server can bring it about.
        backlog = await self._checks.backlog()
        minutes = backlog.oldest // timedelta(minutes=1)
        late = f"Checks do not keep up: one has been due for {minutes} minutes. See docs/scale.md."
        warnings = ([late] if backlog.late else []) + ([] if self._database.has_room() else [_FULL])
        return Answer({"status": "ready", "warnings": warnings})

    async def _count(self, _: Call) -> Answer:
        with suppress(Unavailable):  # all else is counted in this process
            backlog = await self._checks.backlog()
            self._metrics.checks_due.set(backlog.due)
            self._metrics.checks_oldest.set(backlog.oldest.total_seconds())
        return Answer(self._metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})
