"""The accounts of the dimail-compatible face: who an API client is, and what it may.

Signing in by name and password: 1. read the account; 2. where this process has seen the password proven a short
while ago, that is all; else 3. count the attempt, 4. verify, at the same cost when there is no such account, 5.
take the attempt back when it was right. By token: read the account that the token names, as it is now, with
the password for which the token was given.

Nobody but an administrator makes, changes or removes an account that may more than one's own. With allows it is
otherwise, as with dimail: whoever has ``manage_users`` gives them on every domain, to the own account too. So that
perm is as good as an allow on each of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hmac import compare_digest
from uuid import uuid4

from gateway.api_client import NO_PASSWORD, Allow, ApiClient, Perm, client_password_fault, name_fault
from gateway.domain import Domain, parse_domain
from gateway.errors import Conflict, Forbidden, Invalid, NotAuthenticated, NotFound
from gateway.ports import ApiClients, ApiTokens, Clock, Domains, PasswordHasher
from gateway.proven import Proven
from gateway.throttle import Throttle

_TOKEN_LIFE = timedelta(hours=1)
_DENIED = "Permission denied"

FIRST_COMER = ApiClient("", "", is_admin=True, perms=(), password_hash=None)
"""Who asks while there is no account at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an account is to have; None leaves that as it is."""

    password: str | None = None
    is_admin: bool | None = None
    perms: Collection[Perm] | None = None


@dataclass(frozen=True)
class Dimail:
    """API clients. ``by`` is who asks, with the perm for it, see :func:`require`."""

    clients: ApiClients
    domains: Domains
    hasher: PasswordHasher
    tokens: ApiTokens
    throttle: Throttle
    proven: Proven
    clock: Clock

    # -- who it is -------------------------------------------------------------------------------------------------

    async def sign_in(self, name: str, password: str, source: str) -> ApiClient:
        """Return the account. ``source`` is the address that it comes from. Raises Forbidden, TooOften."""
        client = await self.clients.find(name)
        stored = client.password_hash if client else None
        if client and stored and self.proven.holds(stored, password):
            return client
        attempt = await self.throttle.begin(f"dimail {name}", source)
        if not await self.hasher.verify(stored, password) or client is None or stored is None:
            raise Forbidden(_DENIED)
        await self.throttle.succeeded(attempt)
        self.proven.remember(stored, password)
        return client

    async def is_open(self) -> bool:
        """True while there is no account at all: then whoever is on the gateway's machine makes the first one."""
        return await self.clients.is_empty()

    async def token(self, client: ApiClient) -> str:
        """Return a token that stands for name and password for an hour."""
        return await self.tokens.sign(client, self.clock() + _TOKEN_LIFE)

    async def of_token(self, token: str) -> ApiClient:
        """Return the account whose token that is. Raises Forbidden."""
        named = await self.tokens.read(token, self.clock())
        client = await self.clients.find(named[0]) if named else None
        if client is None or named is None or not compare_digest(client.stamp, named[1]):
            raise Forbidden(_DENIED)
        return client

    # -- accounts --------------------------------------------------------------------------------------------------

    async def register(self, by: ApiClient, name: str, wanted: Wanted) -> ApiClient:
        """Make an account.

        Raises Invalid; Forbidden (it may more than ``by``); Conflict (the name is taken); NotAuthenticated (another
        first comer was faster).
        """
        blank = _blank(name)
        _require(by.covers(_described(blank, wanted)))
        client = await self._with(blank, wanted)
        if by is not FIRST_COMER:
            await self.clients.add(client)
        elif not await self.clients.add_first(client):
            raise NotAuthenticated("Somebody else was first. Send name and password of an account.")
        return client

    async def make_admin(self, name: str, password: str) -> bool:
        """Let there be an administrator of that name and password; True where there was no such account.

        For the operator. Raises Invalid, Conflict (it is being changed).
        """
        wanted = Wanted(password=password, is_admin=True)
        before = await self.clients.find(name)
        if before is None:
            await self.clients.add(await self._with(_blank(name), wanted))
        elif not before.is_admin or not await self.hasher.verify(before.password_hash, password):
            await self._store(before, await self._with(before, wanted))
        return before is None

    async def _with(self, client: ApiClient, wanted: Wanted) -> ApiClient:
        """Return the account as it is wanted. Raises Invalid."""
        described = _described(client, wanted)
        if wanted.password is None:
            return described
        return replace(described, password_hash=await self._hash(wanted.password))

    async def _hash(self, password: str) -> str | None:
        if password == NO_PASSWORD:
            return None
        if fault := client_password_fault(password):
            raise Invalid("The password cannot be used.", {"password": [fault]})
        return await self.hasher.hash(password)

    async def _store(self, before: ApiClient, after: ApiClient) -> None:
        if not await self.clients.change(before, after):
            raise Conflict("The account is being changed. Try again when that is done.")

    async def list(self) -> Sequence[ApiClient]:
        """Return all accounts, by name."""
        return await self.clients.list()

    async def get(self, name: str) -> ApiClient:
        """Return an account. Raises NotFound."""
        client = await self.clients.find(name)
        if client is None:
            raise NotFound("User not found")
        return client

    async def change(self, by: ApiClient, name: str, wanted: Wanted) -> ApiClient:
        """Change an account; return it.

        Raises NotFound, Invalid, Forbidden (it may more than ``by``), Conflict (no administrator would be left).
        """
        before = await self.get(name)
        _require(by.covers(before) and by.covers(_described(before, wanted)))
        after = await self._with(before, wanted)
        await self._store(before, after)
        return after

    async def delete(self, by: ApiClient, name: str) -> None:
        """Delete an account with its allows; its tokens are void. Raises as change()."""
        client = await self.get(name)
        _require(by.covers(client))
        if not await self.clients.delete(client):
            raise Conflict("The account is being changed. Try again when that is done.")

    # -- allows ----------------------------------------------------------------------------------------------------

    async def allow(self, name: str, domain: str) -> Allow:
        """Let an account manage a domain. Raises NotFound (no such account, no such domain), Conflict."""
        allow = Allow(name, (await self.known(domain)).name)
        await self.clients.allow(allow)
        return allow

    async def allows(self, name: str | None, domain: str | None) -> Sequence[Allow]:
        """Return the allows, of one account or on one domain where given."""
        return await self.clients.allows(name, None if domain is None else _spelled(domain))

    async def disallow(self, name: str, domain: str) -> None:
        """Let an account manage a domain no more. Raises NotFound."""
        await self.clients.disallow(Allow(name, _spelled(domain)))

    # -- domains ---------------------------------------------------------------------------------------------------

    async def known(self, name: str) -> Domain:
        """Return a domain, by either spelling of its name. Raises NotFound."""
        return await self.domains.get(_spelled(name))

    async def manages(self, client: ApiClient, domain: str) -> bool:
        """True when the account may manage a domain; it need not be there."""
        return client.is_admin or await self.clients.is_allowed(Allow(client.name, _spelled(domain)))

    async def managed(self, client: ApiClient, name: str) -> Domain:
        """Return a domain that the account manages. Raises Forbidden, then NotFound."""
        _require(await self.manages(client, name))
        return await self.known(name)


def require(client: ApiClient, perm: Perm | None) -> None:
    """Raise Forbidden unless the account has the perm, or is an administrator's; None: unless it is that."""
    _require(client.is_admin or (perm is not None and perm in client.perms))


def _blank(name: str) -> ApiClient:
    """Return a new account that may nothing. Raises Invalid."""
    if fault := name_fault(name):
        raise Invalid("This is no name for an account.", {"name": [fault]})
    return ApiClient(name, str(uuid4()), is_admin=False, perms=frozenset(), password_hash=None)


def _described(client: ApiClient, wanted: Wanted) -> ApiClient:
    """Return the account with all that is wanted but the password."""
    return replace(
        client,
        is_admin=client.is_admin if wanted.is_admin is None else wanted.is_admin,
        perms=client.perms if wanted.perms is None else frozenset(wanted.perms),
    )


def _require(allowed: bool) -> None:
    if not allowed:
        raise Forbidden(_DENIED)


def _spelled(domain: str) -> str:
    """Return the one spelling of a domain's name; what is no name stays as it is, and is of no domain."""
    try:
        return parse_domain(domain)
    except ValueError:
        return domain
