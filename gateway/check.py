"""One check of one identity, to see that all that sending needs still works.

1. Find the identity's servers; 2. connect, TLS, sign in at each of them, both at once; 3. record ``last_check`` and
what was found, or what failed and since when.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError, Unavailable
from gateway.identity import ERROR_KEYS, UserIdentity
from gateway.ports import Clock, Identities, Meter
from gateway.route import Route, Routing
from gateway.timestamp import rfc3339

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checks:
    """Checks identities and records what it finds."""

    identities: Identities
    routing: Routing
    clock: Clock
    meter: Meter

    async def check(self, identity: UserIdentity) -> UserIdentity:
        """Check an identity now; return it with its fresh ``last_check``.

        Raises NotFound (deleted meanwhile), Unavailable.

        That the check fails is no error: the failure stands in ``infos``.
        """
        started = time.monotonic()
        found, failures = await self._probe(identity)
        now = self.clock()
        stamp = rfc3339(now)
        changes: dict[str, str | None]
        if failures:
            changes = _failed(identity, failures, stamp)
        else:
            changes = {**found, "lastsync": stamp, **dict.fromkeys(ERROR_KEYS)}
        seconds = time.monotonic() - started
        outcome = "failed" if failures else "ok"
        self.meter.check(identity.protocol, outcome, seconds)
        logger.info(
            "check", extra={"identity_id": identity.identity_id, "outcome": outcome, "ms": round(seconds * 1000)}
        )
        return await self.identities.record_check(identity, now, changes)

    async def _probe(self, identity: UserIdentity) -> tuple[dict[str, str], dict[str, GatewayError]]:
        """Return what the servers told, and which of them failed how."""
        try:
            probes = _probes(await self.routing.of(identity))
        except Unavailable:
            raise
        except GatewayError as error:
            return {}, {"outserver": error}
        outcomes = await asyncio.gather(*probes.values(), return_exceptions=True)
        found: dict[str, str] = {}
        failures: dict[str, GatewayError] = {}
        for server, outcome in zip(probes, outcomes, strict=True):
            if isinstance(outcome, GatewayError):
                failures[server] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                found |= outcome
        return found, failures


def _probes(route: Route) -> Mapping[str, Coroutine[Any, Any, Mapping[str, str]]]:
    probes = {"outserver": route.submitter.probe(route.outgoing)}
    if route.mailbox and route.incoming:
        probes["inserver"] = route.mailbox.probe(route.incoming)
    return probes


def _failed(identity: UserIdentity, failures: Mapping[str, GatewayError], stamp: str) -> dict[str, str | None]:
    """Return the error keys after one more failure."""
    return {
        "lastFetchError": " ".join(f"{server}: {error}" for server, error in sorted(failures.items())),
        "firstErrorDate": identity.infos.get("firstErrorDate", stamp),
        "lastErrorDate": stamp,
        "errorsCount": str(int(identity.infos.get("errorsCount", "0")) + 1),
    }
