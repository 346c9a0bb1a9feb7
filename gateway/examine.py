"""One check of one domain, to see that its mail can come and go.

1. Have the mail backend host the domain, where it does not yet, and ask it for the records to publish; 2. look at
the DNS and at the backend, both at once; 3. where the backend is at fault, have it repair what it can, once, and
look again; 4. record what was found and when to check next, see ``gateway/domain.py``. Where people have changed
the domain during the check, or another check was recorded, the outcome is of what may be no more: then all again.

What a backend hosts is somebody's, who need not come from here. So before the first time that it is asked to host
a domain it has to have none of that name, and that is noted: what is there at a later time is ours.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.domain import Domain, DomainCheck, Fault, Record, after_check
from gateway.errors import Conflict, Refused, RemoteError, Unreachable
from gateway.ports import Clock, DomainProbe, Domains, MailBackend, Meter

logger = logging.getLogger(__name__)

_TRIES = 10
_BACKEND_S = 60.0  # for hosting, and for checks with a repair between them
_OF_BACKEND = "postfix"
"""The check that shows a backend which does not answer."""


@dataclass(frozen=True)
class Examine:
    """Checks domains and records what it finds."""

    domains: Domains
    backend: MailBackend
    probe: DomainProbe
    clock: Clock
    meter: Meter
    chance: Callable[[], float] = random.random

    async def check(self, name: str) -> Domain:
        """Check a domain now; return it with its fresh ``last_check``.

        That checks fail is no error: it stands in ``checks``. Raises NotFound, Conflict (others keep changing or
        checking the domain), Unavailable.
        """
        for _ in range(_TRIES):
            domain = await self.domains.get(name)
            checked = await self._checked(domain)
            if await self.domains.record_check(domain, checked):
                return checked
        raise Conflict("The domain is being changed or checked. Check it when that is done.")

    async def run(self, _: str, domain: Domain, /) -> None:
        """Check a domain that is due, for a worker. Raises as check()."""
        await self.check(domain.name)

    async def is_hosted(self, name: str, seconds: float) -> bool:
        """True when the backend hosts a domain of that name. Raises RemoteError, also where that takes longer."""
        async with _at_most(seconds):
            return await self.backend.has_domain(name)

    async def host(self, domain: Domain, seconds: float = _BACKEND_S) -> Sequence[Record]:
        """Have the backend host a domain, as it is; return the records to publish.

        Raises RemoteError, also where that takes longer; Refused where it hosts one that is not ours.
        """
        async with _at_most(seconds):
            await put_domain(self.domains, self.backend, domain)
            return await self.backend.records(domain)

    async def _checked(self, domain: Domain) -> Domain:
        """Return the domain as it is after a check."""
        started = time.monotonic()
        records, checks = await self._look(domain)
        seconds = time.monotonic() - started
        outcome = "ok" if all(check.ok for check in checks.values()) else "failed"
        self.meter.check("domain", outcome, seconds)
        logger.info("domain check", extra={"domain": domain.name, "outcome": outcome, "ms": round(seconds * 1000)})
        return after_check(domain, checks, records, self.clock(), self.chance())

    async def _look(self, domain: Domain) -> tuple[Sequence[Record], Mapping[str, DomainCheck]]:
        """Return the records to publish and how all checks end."""
        try:
            records = await self.host(domain)
        except RemoteError as error:
            # Whether the last known records are published can be seen all the same.
            external = await self.probe.check(domain, domain.records) if domain.records else {}
            return domain.records, {**external, **_away(error)}
        external, internal = await asyncio.gather(self.probe.check(domain, records), self._internal(domain))
        return records, {**external, **internal}

    async def _internal(self, domain: Domain) -> Mapping[str, DomainCheck]:
        checks: Mapping[str, DomainCheck] = {}
        try:
            async with _at_most(_BACKEND_S):
                checks = await self.backend.check(domain)
                if not all(check.ok for check in checks.values()):
                    await self.backend.repair(domain)
                    checks = await self.backend.check(domain)
        except RemoteError as error:
            return {**checks, **_away(error)}
        return checks


async def put_domain(domains: Domains, backend: MailBackend, domain: Domain) -> None:
    """Have the backend host a domain, unless it has one of that name that is not ours. Raises RemoteError."""
    if not domain.ours:
        if await backend.has_domain(domain.name):
            raise Refused(f"{domain.name} is taken there. Their operator can hand it over.")
        await domains.make_ours(domain.name)
    await backend.add_domain(domain)


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Unreachable("The mail servers take too long for their answers.") from error


def _away(error: RemoteError) -> Mapping[str, DomainCheck]:
    code = "backend_unreachable" if error.temporary else "backend_refused"
    fault = Fault(code, f"The mail servers did not do what was asked of them: {error}")
    return {_OF_BACKEND: DomainCheck(internal=True, faults=(fault,))}
