"""Hosting domains: create, read, check, change.

Creating one: 1. normalise name and context, and see that both can be had, here and at the mail backend; where that
does not answer, 4 sees to it; 2. make its DKIM key; 3. store it with that key encrypted and with the creator as its
owner, or allowed on it; of two at once one gets the name, or the new context; 4. have the mail backend host it, so
that the owner learns at once what to publish; 5. have a worker check it. Where 4 is cut off, it is checked all the
same, a minute later, and a check does what 4 does.

Changing one: 1. read it; 2. see that the outcome is allowed, that who asks may do so, and knows what is changed;
3. store it, if nobody has changed it since it was read, else all again; 4. and 5. as above.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from gateway.access import Access
from gateway.domain import DkimKey, Domain, DomainStatus, Feature, features_of, parse_context, parse_domain
from gateway.errors import Conflict, Forbidden, Invalid, NotFound, RemoteError
from gateway.examine import Examine
from gateway.patch import Change
from gateway.ports import Clock, DkimKeys, Domains, Page
from gateway.quota import Quota
from gateway.roles import Action, Role, require
from gateway.throttle import Throttle
from gateway.work import LEASE

logger = logging.getLogger(__name__)

_TRIES = 100  # of a change that others come before, each time
_HOSTING_S = 10.0  # for which a client waits
_ASKING_S = 5.0  # before that
_PARSERS: Mapping[str, Callable[[str], str]] = {"name": parse_domain, "context": parse_context}


@dataclass(frozen=True)
class Host:
    """The domains. ``local_domain`` is the operator's own; ``wake`` wakes the worker that checks."""

    domains: Domains
    access: Access
    examine: Examine
    make_key: DkimKeys
    throttle: Throttle
    quota: Quota
    local_domain: str
    clock: Clock
    wake: asyncio.Event

    async def create(
        self,
        owner: str | None,
        name: str,
        context: str | None,
        features: Sequence[str],
        *,
        client: str | None = None,
    ) -> Domain:
        """Host a new domain of this user's; None: of nobody but the operator, who may put it into any context.

        ``context`` is its own name where it is None. ``client`` is the API client that is allowed on it.

        Raises Invalid, Conflict (the name is taken, or the context is others'), NotFound (no such client),
        TooOften, Full.
        """
        name = _parsed("name", name)
        context = name if context is None else _parsed("context", context)
        founding = await self._check_free(owner, name, context)
        if owner:
            await self.throttle.spend("domain", owner)
        ours = await self._is_new(name)
        key, private_key = await self.make_key()
        domain = self._described(owner, name, context, features, key, ours=ours)
        most = self.quota.most(owner, self.quota.limits.domains)
        if not await self.domains.add(domain, private_key, founding=founding, client=client, most=most):
            await self._check_free(owner, name, context)  # by now it is the context of whoever was first
            await self.domains.add(domain, private_key, client=client, most=most)
        return await self._hosted(domain)

    def _described(
        self, owner: str | None, name: str, context: str, features: Sequence[str], key: DkimKey, *, ours: bool
    ) -> Domain:
        now = self.clock()
        return Domain(
            name=name,
            context=context,
            features=features_of(features),
            status=DomainStatus.PENDING,
            dkim=key,
            roles={owner: Role.OWNER} if owner else {},
            date_insert=now,
            checks={},
            check_at=now + LEASE,  # until then this hosts it, and no worker
            ours=ours,
        )

    async def _check_free(self, owner: str | None, name: str, context: str) -> bool:
        """Return whether no domain is in the context yet.

        Raises Conflict where the name is taken, or the context is of domains that the user does not manage.
        """
        self._refuse_own(name, context)
        with suppress(NotFound):  # before the slow making of a key; two at once are told apart by the store
            await self.domains.get(name)
            raise Conflict(f"The domain {name} is taken.")
        sharing = await self.domains.of_context(context)
        managed = (Role.ADMINISTRATOR, Role.OWNER)
        if owner and sharing and not any(domain.roles.get(owner) in managed for domain in sharing):
            raise Conflict(f"The name {context} is mapped to another's context. Choose another one.")
        return not sharing

    def _refuse_own(self, *names: str) -> None:
        own = parse_context(self.local_domain)
        if own in names:
            raise Conflict(f"The name {own} is the operator's.")

    async def _is_new(self, name: str) -> bool:
        """Return whether the mail backend is known to have no domain of that name. Raises Conflict where it has."""
        try:
            hosted = await self.examine.is_hosted(name, _ASKING_S)
        except RemoteError:
            return False
        if hosted:
            raise Conflict(f"{name} is taken at the mail servers. Their operator can hand it over.")
        return True

    async def adopt(self, name: str, context: str | None = None) -> Domain:
        """Host a domain that the mail backend has already, for the operator, who answers for whose it is.

        ``context`` is the one that it has there. A new one has all features, and no managers; one that is here
        stays as it is, but for its context while it is not known whose the backend's is.

        Raises Invalid, NotFound (the backend has none), Conflict (it is the operator's own, or its context is; it
        is hosted from here in another one; it is being changed), RemoteError.
        """
        name = _parsed("name", name)
        context = None if context is None else _parsed("context", context)
        if not await self.examine.is_hosted(name, _ASKING_S):
            raise NotFound(f"The mail servers have no domain {name}.")
        try:
            domain = await self.domains.get(name)
        except NotFound:
            return await self._adopt_new(name, context or name)
        return await self._adopt_known(domain, context or domain.context)

    async def _adopt_new(self, name: str, context: str) -> Domain:
        founding = await self._check_free(None, name, context)
        key, private_key = await self.make_key()
        domain = await self._at_backend(self._described(None, name, context, list(Feature), key, ours=True))
        if not await self.domains.add(domain, private_key, founding=founding):
            await self.domains.add(domain, private_key)  # the operator may share the context of who was first
        self.wake.set()
        return domain

    async def _adopt_known(self, domain: Domain, context: str) -> Domain:
        self._refuse_own(context)
        if domain.ours and context != domain.context:
            raise Conflict(f"{domain.name} is hosted from here in the context {domain.context}, and stays there.")
        adopted = await self._at_backend(replace(domain, context=context, ours=True))
        if not await self.domains.save(domain, adopted):
            raise _busy()
        self.wake.set()
        return adopted

    async def _at_backend(self, domain: Domain) -> Domain:
        """Have a domain hosted; return it with the records to publish, due to be checked. Raises RemoteError."""
        records = await self.examine.host(domain, _HOSTING_S)
        return replace(domain, records=records, check_at=self.clock())

    async def _hosted(self, domain: Domain) -> Domain:
        """Have a stored domain hosted and then checked; return it with the records to publish."""
        try:
            hosted = await self._at_backend(domain)
        except RemoteError as error:
            logger.warning("domain not hosted yet", extra={"domain": domain.name, "error": str(error)})
            hosted = replace(domain, check_at=self.clock())
        await self.domains.save(domain, hosted)
        self.wake.set()
        return hosted

    async def list(self, user_id: str, page: Page) -> tuple[int, Sequence[Domain]]:
        """Return how many domains the user has a role on and a page of them, by name."""
        await self.access.settle(user_id)
        return await self.domains.list(user_id, page)

    async def get(self, user_id: str, name: str, action: Action = Action.SEE_DOMAIN) -> Domain:
        """Return a domain, by either spelling of its name, on which the user may do that.

        Raises NotFound, Forbidden.
        """
        return await self.access.permitted(name, user_id, action)

    async def check(self, user_id: str, name: str) -> Domain:
        """Check a domain now; return it.

        Raises NotFound, Forbidden, Conflict (people keep changing it), TooOften.
        """
        domain = await self.get(user_id, name, Action.CHECK)
        await self.throttle.spend("domain check", domain.name)
        await self.examine.check(domain.name)
        return await self.get(user_id, domain.name)  # roles may have been taken away meanwhile

    async def change(self, user_id: str, name: str, change: Change[Domain]) -> None:
        """Apply a merge patch of ``status``, to disabled or to pending, which has it checked, and of ``features``.

        Raises NotFound; Invalid; Forbidden (a role too low; name and context cannot be changed); Conflict
        (``current_state`` is not what is stored), Stale; TooOften.
        """
        for _ in range(_TRIES):
            domain = await self.get(user_id, name)
            renamed, after = _is_renamed(domain, change.patch), _changed(domain, change.patch)
            require(domain.roles.get(user_id), Action.CHANGE_DOMAIN)
            if renamed:
                raise Forbidden("Name and context of a domain cannot be changed.")
            _comparable(change).check(domain, _seen(domain))
            anew = after.features != domain.features or change.patch.get("status") == DomainStatus.PENDING
            if anew:
                await self.throttle.spend("domain check", domain.name)
                after = replace(after, check_at=self.clock() + LEASE)
            if await self.domains.save(domain, after):
                if anew:
                    await self._hosted(replace(after, version=domain.version + 1))
                return
        raise _busy()


def _busy() -> Conflict:
    return Conflict("The domain is being changed. Try again when that is done.")


def _parsed(field: str, text: str) -> str:
    try:
        return _PARSERS[field](text)
    except ValueError as error:
        raise Invalid(f"The {field} cannot be used: it {error}.", {field: [f"This {error}."]}) from error


def _is_renamed(domain: Domain, patch: Mapping[str, Any]) -> bool:
    """Return whether name or context would be others. Raises Invalid."""
    named = {field: _parsed(field, patch[field]) for field in _PARSERS if field in patch}
    return any(getattr(domain, field) != name for field, name in named.items())


def _changed(domain: Domain, patch: Mapping[str, Any]) -> Domain:
    """Return the domain as it will be. Raises Invalid."""
    return replace(
        domain,
        status=_status(domain.status, patch.get("status", domain.status)),
        features=features_of(patch.get("features", domain.features)),
    )


def _status(stored: DomainStatus, wanted: str) -> DomainStatus:
    """Return the status as it will be; what is not disabled is pending by a check alone. Raises Invalid."""
    if wanted not in (stored, DomainStatus.DISABLED, DomainStatus.PENDING):
        raise Invalid("A domain is enabled by its checks.", {"status": ["Must be disabled or pending."]})
    if wanted == DomainStatus.PENDING and stored is not DomainStatus.DISABLED:
        return stored
    return DomainStatus(wanted)


def _seen(domain: Domain) -> dict[str, Any]:
    """Return what a client can see of a domain, and change."""
    return {"status": domain.status.value, "features": sorted(domain.features)}


def _comparable(change: Change[Domain]) -> Change[Domain]:
    """Return a change whose ``current_state`` has the features as _seen() has them."""
    features = (change.current or {}).get("features")
    if not features:
        return change
    return replace(change, current={**(change.current or {}), "features": sorted(set(features))})
