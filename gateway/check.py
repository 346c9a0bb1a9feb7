"""One check of one identity, to see that all that sending needs still works.

1. Find the identity's servers; 2. connect, TLS, sign in at each of them, both at once; 3. record ``last_check`` and
what was found, or what failed and since when, and when to check next, see ``gateway/health.py``; 4. note it in the
history. Where a client has changed the identity during the check, the outcome is of servers or credentials that may
be no more: then nothing is recorded, and it is checked again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway import health
from gateway.errors import CheckFailed, Conflict, GatewayError, Invalid, NotFound, Unreachable
from gateway.health import Backlog, Finding, PastCheck
from gateway.identity import Credentials, UserIdentity
from gateway.ports import Clock, History, Identities, Meter, Page
from gateway.route import Route, Routing

logger = logging.getLogger(__name__)


_TRIES = 10
_RELAY_TRUSTED_S = 60.0
_DEADLINE_S = 120.0  # for all of a check; each command has its own, which a slow server can use up again and again
_MOST_COUNTED = 10_000


class RelayProbe:
    """The outcome of one probe of the relay, for all local identities that are checked within a minute of it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._at: float | None = None
        self._error: GatewayError | None = None

    async def __call__(self, route: Route) -> Mapping[str, str]:
        """Probe the relay, unless that was done. Raises RemoteError."""
        async with self._lock:
            if self._at is None or self._monotonic() - self._at >= _RELAY_TRUSTED_S:
                self._error = None
                try:
                    await route.submitter.probe(route.outgoing)
                except GatewayError as error:
                    self._error = error
                self._at = self._monotonic()
        if self._error:
            raise self._error.with_traceback(None)  # else it would keep the frames of all who got it
        return {}


@dataclass(frozen=True)
class Checks:
    """Checks identities and records what it finds."""

    identities: Identities
    history: History
    routing: Routing
    clock: Clock
    meter: Meter
    chance: Callable[[], float] = random.random
    relay: RelayProbe = field(default_factory=RelayProbe)

    async def check(self, user_id: str, identity_id: str) -> UserIdentity:
        """Check an identity now; return it with its fresh ``last_check``.

        That the check fails is no error: the failure stands in ``infos``. Raises NotFound (deleted meanwhile),
        Conflict (clients keep changing it), Unavailable.
        """
        for _ in range(_TRIES):
            identity = await self.identities.get(user_id, identity_id)
            if checked := await self.of(identity):
                return checked
        raise Conflict("The identity is being changed. Check it when that is done.")

    async def run(self, _: str, identity: UserIdentity, /) -> None:
        """Check an identity that is due, for a worker. Raises Unavailable."""
        await self.of(identity)

    async def of(self, identity: UserIdentity) -> UserIdentity | None:
        """Check an identity and record it; None where a client has changed it meanwhile. Raises Unavailable."""
        try:
            route = await self.routing.of(identity)
        except NotFound:
            return None
        except Invalid as error:
            finding = Finding(self.clock(), 0, {}, {"outserver": error})
        else:
            finding = await self._probe(identity, route)
        checked = health.after(identity, finding, self.chance())
        if not await self.identities.record_check(identity, checked):
            return None
        await self.history.add(identity, finding)
        return checked

    async def verify(self, identity: UserIdentity, credentials: Credentials) -> UserIdentity:
        """Check a remote identity that is not stored yet; return it with ``last_check`` and what was found.

        Raises CheckFailed, Invalid.
        """
        finding = await self._probe(identity, self.routing.to(identity, credentials))
        if finding.failures:
            raise CheckFailed({server: [str(error)] for server, error in sorted(finding.failures.items())})
        return health.after(identity, finding, self.chance())

    async def list(
        self, identity: UserIdentity, since: datetime | None, page: Page
    ) -> tuple[int, Sequence[PastCheck]]:
        """Return how many checks of an identity there were since then and a page of them, newest first."""
        return await self.history.list(identity.user_id, identity.identity_id, since, page)

    async def backlog(self) -> Backlog:
        """Return what is due now. Raises Unavailable."""
        now = self.clock()
        due, oldest = await self.identities.backlog(now, _MOST_COUNTED)
        if oldest is None or oldest.check_at is None:
            return Backlog()
        waited = now - oldest.check_at
        return Backlog(due, waited, late=waited > 2 * health.interval(oldest))

    async def _probe(self, identity: UserIdentity, route: Route) -> Finding:
        """Ask all servers; return what they told, and which of them failed how."""
        started = time.monotonic()
        probes = self._probes(route)
        outcomes = await asyncio.gather(*map(_in_time, probes.values()), return_exceptions=True)
        told: dict[str, str] = {}
        failures: dict[str, GatewayError] = {}
        for server, outcome in zip(probes, outcomes, strict=True):
            if isinstance(outcome, GatewayError):
                failures[server] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                told |= outcome
        seconds = time.monotonic() - started
        outcome_name = "failed" if failures else "ok"
        self.meter.check(identity.protocol, outcome_name, seconds)
        finding = Finding(self.clock(), round(seconds * 1000), told, failures)
        logger.info(
            "check",
            extra={"identity_id": identity.identity_id, "outcome": outcome_name, "ms": finding.ms},
        )
        return finding

    def _probes(self, route: Route) -> Mapping[str, Coroutine[Any, Any, Mapping[str, str]]]:
        if route.outgoing.operators:
            return {"outserver": self.relay(route)}
        probes = {"outserver": route.submitter.probe(route.outgoing)}
        if route.mailbox and route.incoming:
            probes["inserver"] = route.mailbox.probe(route.incoming)
        return probes


async def _in_time(probe: Coroutine[Any, Any, Mapping[str, str]]) -> Mapping[str, str]:
    try:
        async with asyncio.timeout(_DEADLINE_S):
            return await probe
    except TimeoutError as error:
        raise Unreachable("The server takes too long for its answers.") from error
