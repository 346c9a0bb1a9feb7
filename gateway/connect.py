"""Connecting accounts: add an identity at another provider, verify, read, change and remove it.

Adding a remote identity: 1. normalise the identifier and fill in the defaults; 2. see that its servers are named
well; 3. where the client asks for it, see that they work; 4. store it with its credentials encrypted; a unique
index refuses a second one of the same identifier and protocol.

Changing one: 1. read it; 2. apply the patch and see that the outcome is whole, and that stored secrets go only to
servers that they were given for; 3. see that the client knew what it changes; 4. count the check that workers make
of it at once; 5. store it, if no client has changed it since it was read; else all again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from gateway.address import normalise_identifier
from gateway.check import Checks
from gateway.entrust import Account, check_entrusted
from gateway.errors import Conflict, Forbidden, Invalid, NotFound
from gateway.identity import (
    DEFAULT_POLL_INTERVAL,
    ERROR_KEYS,
    LOGIN_PASSWORD,
    MAX_KEYS,
    OAUTH2,
    WORKER_KEYS,
    Credentials,
    IdentityStatus,
    IdentityType,
    TLSMode,
    UserIdentity,
    endpoint,
)
from gateway.patch import Change, merge
from gateway.ports import Clock, History, Identities, Page, Portions
from gateway.quota import Quota
from gateway.throttle import Attempt, Throttle

_TRIES = 100  # of a change that others come before, each time
_TOKEN = "accesstoken"  # noqa: S105 - the key of one
_TOKENS = {_TOKEN, "refreshtoken"}
_DEFAULTED = 2  # keys of infos that are stored with a default, and do not count where the client left them out


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRemote:
    """What a client says of an account at another provider."""

    protocol: str
    identifier: str
    display_name: str | None = None
    status: IdentityStatus = IdentityStatus.ACTIVE
    infos: Mapping[str, str]
    credentials: Credentials


@dataclass(frozen=True)
class Connect:
    """The user's identities."""

    identities: Identities
    checks: Checks
    history: History
    throttle: Throttle
    quota: Quota
    clock: Clock
    allow_plaintext: bool

    async def add_remote(self, user_id: str, new: NewRemote, *, verify: bool = False) -> UserIdentity:
        """Store a remote identity; ``verify``: if a check of it succeeds.

        Raises Invalid, Conflict (identifier and protocol are there already), CheckFailed, TooOften, Full.
        """
        identifier = _identifier(new.identifier)
        infos = _with_defaults(_client_keys(new.infos), new.credentials)
        self._check_servers(new.protocol, infos)
        identity = UserIdentity(
            identity_id=str(uuid4()),
            user_id=user_id,
            type=IdentityType.REMOTE,
            protocol=new.protocol,
            identifier=identifier,
            display_name=new.display_name or identifier,
            status=new.status,
            infos=infos,
            last_check=None,
            check_at=self.clock() if new.status is IdentityStatus.ACTIVE else None,
        )
        if verify:
            await self._check_new(identity)
            attempt = await self._tried(identity)
            identity = await self.checks.verify(identity, new.credentials)
            await self.throttle.take_back(attempt)
        else:
            soon = identity.check_at is not None
            await self._to_be_tried(identity, new.credentials.values, soon=soon)
        most = self.quota.most(user_id, self.quota.limits.identities)
        await self.identities.add(identity, new.credentials, most=most)
        return identity

    async def _check_new(self, identity: UserIdentity) -> None:
        """Raise Conflict for an account that the store would refuse, before its servers are asked in vain."""
        same = {"protocol": identity.protocol, "identifier": identity.identifier}
        if (await self.identities.list(identity.user_id, same, Page(1)))[0]:
            raise Conflict(f"You have {identity.identifier} with the protocol {identity.protocol} already.")

    def _check_servers(self, protocol: str, infos: Mapping[str, str]) -> None:
        """Raise Invalid with every server setting that is missing, malformed or not allowed."""
        errors: dict[str, Sequence[str]] = {}
        for direction in ("in", "out") if protocol == "imap" or infos.get("inserver") else ("out",):
            try:
                server = endpoint(infos, Credentials({}), direction)
            except Invalid as error:
                errors |= error.errors
                continue
            if server.tls is TLSMode.NONE and not self.allow_plaintext:
                errors[f"infos.{direction}tls"] = ["Connections without TLS are not allowed here."]
        if errors:
            raise Invalid("The servers of this account are not usable.", errors)

    async def get(self, user_id: str, identity_id: str, kind: IdentityType) -> UserIdentity:
        """Return an identity of the user. Raises NotFound, also for one of the other type."""
        identity = await self.identities.get(user_id, identity_id)
        _require(identity, kind)
        return identity

    async def list(
        self, user_id: str, kind: IdentityType, filters: Mapping[str, str], page: Page
    ) -> tuple[int, Portions[UserIdentity]]:
        """Return how many identities of that type the user has and a page of them."""
        return await self.identities.list(user_id, {**filters, "type": kind}, page)

    async def change_remote(self, user_id: str, identity_id: str, change: Change[UserIdentity]) -> None:
        """Apply a merge patch to a remote identity. What workers manage is left out of it.

        Raises NotFound; Invalid; Forbidden (identifier and protocol cannot be changed); Conflict (``current_state``
        is not what is stored), Stale; TooOften (credentials, which are then checked).
        """
        change = replace(change, patch=_changeable(change.patch), current=_changeable(change.current))
        counted = False
        for _ in range(_TRIES):
            identity, stored = await self.identities.with_credentials(user_id, identity_id)
            _require(identity, IdentityType.REMOTE)
            credentials = _merged(stored, change.patch)
            after = self._changed(identity, change.patch, credentials)
            brought = change.patch.get("credentials") or {}
            check_entrusted(_account(identity, stored), _account(after, credentials), brought)
            if (after.identifier, after.protocol) != (identity.identifier, identity.protocol):
                raise Forbidden("Identifier and protocol of an identity cannot be changed. Add another identity.")
            change.check(identity, _seen(identity))
            written = credentials if "credentials" in change.patch else None
            if not counted:
                soon = after.check_at is not None and after.check_at != identity.check_at
                tried = brought if after.hosts == identity.hosts else credentials.values
                await self._to_be_tried(after, tried, soon=soon)
                counted = True
            exactly = change.precondition is not None
            if await self.identities.change(identity, after, written, exactly=exactly):
                return
        raise Conflict("The identity is being changed. Try again when that is done.")

    def _changed(self, identity: UserIdentity, patch: Mapping[str, Any], credentials: Credentials) -> UserIdentity:
        """Return the identity as it will be. Raises Invalid."""
        wanted = merge(_seen(identity), patch)
        infos = wanted.get("infos", {})
        if _TOKEN in (patch.get("credentials") or {}) and "authtype" not in (patch.get("infos") or {}):
            infos.pop("authtype", None)  # it follows from the credentials, as it did when the identity was added
        infos = _with_defaults(infos, credentials)
        if len(infos) > MAX_KEYS + _DEFAULTED:
            raise Invalid("Too many infos.", {"infos": [f"Must have at most {MAX_KEYS} keys."]})
        self._check_servers(identity.protocol, infos)
        managed = {key: value for key, value in identity.infos.items() if key in WORKER_KEYS}
        if "status" in patch:
            managed.pop("inactivereason", None)  # from here on the status is the user's decision
            if identity.status is IdentityStatus.INACTIVE:  # and what failed before counts no more
                managed = {key: value for key, value in managed.items() if key not in ERROR_KEYS}
        changed = replace(
            identity,
            identifier=_identifier(wanted.get("identifier", identity.identifier)),
            protocol=wanted.get("protocol", identity.protocol),
            display_name=wanted.get("display_name") or identity.identifier,
            status=IdentityStatus(wanted.get("status", IdentityStatus.ACTIVE)),
            infos=infos | managed,
        )
        return self._rescheduled(changed, patch)

    def _rescheduled(self, identity: UserIdentity, patch: Mapping[str, Any]) -> UserIdentity:
        """Return the changed identity with its next check: at once where the outcome may be another."""
        if identity.status is IdentityStatus.INACTIVE:
            return replace(identity, check_at=None)
        if patch.keys() & {"credentials", "status", "infos"}:
            return replace(identity, check_at=self.clock(), refusals=0)
        return identity

    async def check_remote(self, user_id: str, identity_id: str) -> UserIdentity:
        """Check a remote identity now; return it. Raises NotFound, Conflict (it keeps changing), TooOften."""
        identity = await self.get(user_id, identity_id, IdentityType.REMOTE)
        attempt = await self._tried(identity)
        checked = await self.checks.check(user_id, identity_id)
        if not checked.infos.keys() & ERROR_KEYS:
            await self.throttle.take_back(attempt)
        return checked

    async def _tried(self, identity: UserIdentity) -> Attempt:
        """Count what tries a password at servers, which may be somebody else's there.

        Returns what is taken back where they take it. Raises TooOften.
        """
        _, attempt = await self.throttle.spend_all(["probe", "verification"], _at(identity))
        return attempt

    async def _to_be_tried(self, identity: UserIdentity, values: Mapping[str, Any], *, soon: bool) -> None:
        """Count the check that a worker makes ``soon``, and credentials that are new there, but not tokens alone.

        Raises TooOften.
        """
        new = {key for key, value in values.items() if value} - _TOKENS
        costs = ["probe"] * soon + ["credentials"] * bool(new)
        if costs:
            await self.throttle.spend_all(costs, _at(identity))

    async def delete_remote(self, user_id: str, identity_id: str, change: Change[UserIdentity]) -> None:
        """Delete a remote identity; its credentials are destroyed at once. Raises NotFound, Conflict, Stale."""
        for _ in range(_TRIES):
            identity = await self.get(user_id, identity_id, IdentityType.REMOTE)
            change.check_version(identity)
            if await self.identities.delete(identity, exactly=change.precondition is not None):
                await self.history.forget(identity)
                return
        raise Conflict("The identity is being changed. Try again when that is done.")


def _require(identity: UserIdentity, kind: IdentityType) -> None:
    """Raise NotFound for an identity of the other type."""
    if identity.type is not kind:
        raise NotFound("There is no such identity.")


def _identifier(text: str) -> str:
    try:
        return normalise_identifier(text)
    except ValueError as error:
        raise Invalid("The identifier is no mail address.", {"identifier": [str(error)]}) from error


def _merged(stored: Credentials, patch: Mapping[str, Any]) -> Credentials:
    """Return the credentials as they will be. Raises Invalid."""
    values = merge(stored.values, patch.get("credentials", {})) or {}
    if len(values) > MAX_KEYS:
        raise Invalid("Too many credentials.", {"credentials": [f"Must have at most {MAX_KEYS} keys."]})
    return Credentials(values)


def _account(identity: UserIdentity, credentials: Credentials) -> Account:
    return Account(identity.protocol, identity.infos, credentials)


def _at(identity: UserIdentity) -> Sequence[str]:
    """Return who is at which hosts, for the throttle."""
    return [f"{identity.user_id} {host}" for host in identity.hosts]


def _seen(identity: UserIdentity) -> dict[str, Any]:
    """Return what a client can see of an identity, and change or believe to change."""
    return {
        "protocol": identity.protocol,
        "identifier": identity.identifier,
        "display_name": identity.display_name,
        "status": identity.status.value,
        "infos": _client_keys(identity.infos),
    }


def _changeable(document: Mapping[str, Any] | None) -> Any:
    """Return a patch or a current state without what only workers set, and with the identifier's one spelling."""
    if not document:
        return document
    changeable = dict(document)
    if isinstance(document.get("infos"), Mapping):
        changeable["infos"] = _client_keys(document["infos"])
    if identifier := document.get("identifier"):
        with suppress(ValueError):  # malformed, a patch is refused for it, and a current state fits nothing
            changeable["identifier"] = normalise_identifier(identifier)
    return changeable


def _client_keys(infos: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in infos.items() if key not in WORKER_KEYS}


def _with_defaults(infos: Mapping[str, str], credentials: Credentials) -> dict[str, str]:
    """Fill in what is stored with its default."""
    authtype = OAUTH2 if "accesstoken" in credentials.values else LOGIN_PASSWORD
    return {"pollinterval": DEFAULT_POLL_INTERVAL, "authtype": authtype, **infos}
