"""For operators and their machines: does the process live, can it work, what does it count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from api import metrics
from api.answers import StatusSchema
from api.routing import Answer, Call, Operation
from gateway.errors import Unavailable
from gateway.ports import Health


class HealthRoutes:
    """``/healthz``, ``/readyz``, ``/metrics``. ``workers`` tells of each whether it is alive."""

    def __init__(
        self, database: Health, workers: Mapping[str, Callable[[], bool]], counted: metrics.Metrics
    ) -> None:
        self._database = database
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
                summary="The database answers and the workers are alive",
                answers={200: StatusSchema},
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
        for name, alive in self._workers.items():
            if not alive():
                raise Unavailable(f"The worker {name} is not running.")
        return Answer({"status": "ready"})

    async def _count(self, _: Call) -> Answer:
        return Answer(self._metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})
