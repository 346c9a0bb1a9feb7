"""One check of one identity, to see that all that sending needs still works.

1. Find the identity's servers; 2. connect, TLS, sign in at each of them, both at once; 3. record ``last_check`` and
what was found, or what failed and since when.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import CheckFailed, GatewayError, Unavailable
from gateway.identity import ERROR_KEYS, Credentials, UserIdentity
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
        found: Mapping[str, str] = {}
        failures: Mapping[str, GatewayError] = {}
        try:
            route = await self.routing.of(identity)
        except Unavailable:
            raise
        except GatewayError as error:
            failures = {"outserver": error}
        else:
            found, failures = await self._probe(identity, route)
        now = self.clock()
        changes = _failed(identity, failures, rfc3339(now)) if failures else _worked(found, rfc3339(now))
        return await self.identities.record_check(identity, now, changes)

    async def verify(self, identity: UserIdentity, credentials: Credentials) -> UserIdentity:
        """Check a remote identity that is not stored yet; return it with ``last_check`` and what was found.

        Raises CheckFailed, Invalid.
        """
        found, failures = await self._probe(identity, self.routing.to(identity, credentials))
        if failures:
            raise CheckFailed({server: [str(error)] for server, error in sorted(failures.items())})
        now = self.clock()
        infos = {key: value for key, value in _worked(found, rfc3339(now)).items() if value is not None}
        return replace(identity, infos={**identity.infos, **infos}, last_check=now)

    async def _probe(
        self, identity: UserIdentity, route: Route
    ) -> tuple[Mapping[str, str], Mapping[str, GatewayError]]:
        """Return what the servers told, and which of them failed how."""
        started = time.monotonic()
        probes = _probes(route)
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
        self._report(identity, "failed" if failures else "ok", time.monotonic() - started)
        return found, failures

    def _report(self, identity: UserIdentity, outcome: str, seconds: float) -> None:
        self.meter.check(identity.protocol, outcome, seconds)
        logger.info(
            "check", extra={"identity_id": identity.identity_id, "outcome": outcome, "ms": round(seconds * 1000)}
        )


def _probes(route: Route) -> Mapping[str, Coroutine[Any, Any, Mapping[str, str]]]:
    probes = {"outserver": route.submitter.probe(route.outgoing)}
    if route.mailbox and route.incoming:
        probes["inserver"] = route.mailbox.probe(route.incoming)
    return probes


def _worked(found: Mapping[str, str], stamp: str) -> dict[str, str | None]:
    """Return the keys after a success."""
    return {**found, "lastsync": stamp, **dict.fromkeys(ERROR_KEYS)}


def _failed(identity: UserIdentity, failures: Mapping[str, GatewayError], stamp: str) -> dict[str, str | None]:
    """Return the error keys after one more failure."""
    return {
        "lastFetchError": " ".join(f"{server}: {error}" for server, error in sorted(failures.items())),
        "firstErrorDate": identity.infos.get("firstErrorDate", stamp),
        "lastErrorDate": stamp,
        "errorsCount": str(int(identity.infos.get("errorsCount", "0")) + 1),
    }
