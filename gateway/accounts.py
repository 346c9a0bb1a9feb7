"""Accounts: register, sign in, stay signed in, change, delete.

Registering: 1. check name and password; 2. hash the password; 3. store the user and its first local identity
together; the name is taken by a unique index, so of two at once one gets it.

Proving a password, to sign in or before what a stolen token must not do: 1. count the attempt; 2. look the name up;
3. verify, at the same cost when there is no such user; 4. when it was right, take the attempt back.

Signing in: 1. prove the password; 2. store hashes of a new pair of tokens, if the password is still that one.

Deleting: 1. prove the password; 2. remove the user with its roles, void the tokens and note what is to be erased,
all at once, unless a domain would be left without an owner; 3. erase it, see ``gateway/erase.py``.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from gateway.address import normalise_identifier
from gateway.config import AccountsSection
from gateway.erase import AGAIN_AFTER
from gateway.errors import Conflict, Forbidden, Invalid, NotAuthenticated, NotFound, Unavailable
from gateway.identity import IdentityStatus, IdentityType, UserIdentity
from gateway.patch import Change
from gateway.ports import Clock, Erasures, PasswordHasher, TokenStore, Users
from gateway.throttle import Throttle
from gateway.user import ROLE_NAMES, Tokens, User, password_fault, username_fault

logger = logging.getLogger(__name__)

_TOKEN_BYTES = 32
_TRIES = 100  # of a change that others come before, each time


@dataclass(frozen=True)
class Accounts:
    """The gateway's own users, and whose request it is."""

    users: Users
    tokens: TokenStore
    erasures: Erasures
    hasher: PasswordHasher
    throttle: Throttle
    settings: AccountsSection
    clock: Clock

    # -- registration --------------------------------------------------------------------------------------------

    async def register(
        self,
        username: str,
        password: str,
        display_name: str | None,
        recovery_email: str | None,
        *,
        source: str,
        by_operator: bool = False,
    ) -> User:
        """Create a user with its first local identity. ``source`` is the address from which somebody asks for it.

        The operator may give the name of a duty.

        Raises Invalid, Conflict (the name is or was taken), TooOften.
        """
        if fault := username_fault(username):
            raise Invalid("The user name cannot be used.", {"username": [fault]})
        self._check_password(password, username)
        await self.throttle.spend("registration", source)
        is_duty = username.lower() in ROLE_NAMES and not by_operator
        # Before the slow hash; two at once are told apart by the index.
        if is_duty or await self.users.is_taken(username):
            raise Conflict("This user name is taken.")
        user = User(str(uuid4()), username, display_name or username, recovery_email, self.clock())
        await self.users.add(user, await self.hasher.hash(password), self._first_identity(user, display_name))
        await self.throttle.registered(username, source)
        return user

    async def is_available(self, username: str) -> bool:
        """True when somebody could register with that name."""
        if username_fault(username) or username.lower() in ROLE_NAMES:
            return False
        return not await self.users.is_taken(username)

    def _check_password(self, password: str, username: str) -> None:
        if fault := password_fault(password, username):
            raise Invalid("The password cannot be used.", {"password": [fault]})

    def _first_identity(self, user: User, display_name: str | None) -> UserIdentity:
        identifier = normalise_identifier(f"{user.username}@{self.settings.local_domain}")
        return UserIdentity(
            identity_id=str(uuid4()),
            user_id=user.user_id,
            type=IdentityType.LOCAL,
            protocol="smtp",
            identifier=identifier,
            display_name=display_name or identifier,
            status=IdentityStatus.ACTIVE,
            infos={},
            last_check=None,
            check_at=user.date_insert,
        )

    # -- tokens --------------------------------------------------------------------------------------------------

    async def sign_in(self, username: str, password: str, source: str) -> tuple[User, Tokens]:
        """Return the user and a new pair of tokens. ``source`` is the address from which somebody tries it.

        Raises NotAuthenticated, whichever of the two was wrong, and TooOften.
        """
        wrong = NotAuthenticated("The user name or the password is wrong.")
        proven = await self._prove(username, password, source)
        if proven is None:
            raise wrong
        user, password_hash = proven
        tokens = self._new_tokens()
        if not await self.users.issue(user.user_id, password_hash, tokens, self.settings.sessions):
            raise wrong  # changed or deleted in the meantime
        return user, tokens

    async def refresh(self, refresh_token: str) -> tuple[User, Tokens]:
        """Return the user and a new pair of tokens; the old pair is void. Raises NotAuthenticated."""
        tokens = self._new_tokens()
        user = await self.users.renew(refresh_token, tokens, self.clock())
        if user is None:
            raise NotAuthenticated("The refresh token is wrong, used, expired or revoked. Sign in again.")
        return user, tokens

    async def sign_out(self, access_token: str) -> None:
        """Void the access token and its refresh token."""
        await self.tokens.revoke(access_token)

    async def authenticate(self, access_token: str, claimed_user_id: str | None = None) -> str:
        """Return whose token that is; a user_id that comes with it has to be the same. Raises NotAuthenticated."""
        user_id = await self.tokens.user_of(access_token, self.clock())
        if user_id is None or (
            claimed_user_id is not None and not hmac.compare_digest(user_id.encode(), claimed_user_id.encode())
        ):
            raise NotAuthenticated("The access token is wrong, expired or revoked. Sign in again.")
        return user_id

    def _new_tokens(self) -> Tokens:
        now = self.clock()
        return Tokens(
            secrets.token_urlsafe(_TOKEN_BYTES),
            secrets.token_urlsafe(_TOKEN_BYTES),
            expires_at=now + timedelta(seconds=self.settings.access_token_s),
            refresh_expires_at=now + timedelta(seconds=self.settings.refresh_token_s),
        )

    async def _prove(self, username: str, password: str, source: str) -> tuple[User, str] | None:
        """Return the user with its password hash if the password is right. Raises TooOften."""
        attempt = await self.throttle.begin(username, source)
        found = await self.users.find(username)
        if not await self.hasher.verify(found[1] if found else None, password):
            return None
        await self.throttle.succeeded(attempt)
        return found

    # -- the user ------------------------------------------------------------------------------------------------

    async def get(self, user_id: str, asked_by: str) -> User:
        """Return a user, to itself. Raises NotFound."""
        if user_id != asked_by:
            raise NotFound("There is no such user.")
        return await self.users.get(user_id)

    async def change(self, user_id: str, change: Change[User], *, access_token: str, source: str) -> None:
        """Apply a merge patch of ``display_name``, ``recovery_email`` and ``password``.

        A new password voids all tokens but the pair of ``access_token``. Raises Invalid, Forbidden (the user name
        cannot be changed), Conflict (``current_state`` or its password is not what is stored), Stale, TooOften.
        """
        user = await self.users.get(user_id)
        self._check_change(user, change)
        hashes = await self._new_password(user, change, source) if "password" in change.patch else None
        for _ in range(_TRIES):
            change.check(user, {"display_name": user.display_name, "recovery_email": user.recovery_email})
            after = _changed(user, change.patch)
            if hashes is None:
                done = await self.users.change(user, after)
            else:
                done = await self.users.change_password(user, after, hashes, access_token)
            if done:
                return
            user = await self.users.get(user_id)
        raise Conflict("The user is being changed. Try again when that is done.")

    def _check_change(self, user: User, change: Change[User]) -> None:
        if "password" in change.patch:
            self._check_password(change.patch["password"], user.username)
            if not (change.current or {}).get("password"):
                message = "To change the password, send the present one here."
                raise Invalid("The present password is missing.", {"current_state.password": [message]})
        if change.patch.get("username", user.username) != user.username:
            raise Forbidden("A user name cannot be changed.")

    async def _new_password(self, user: User, change: Change[User], source: str) -> tuple[str, str]:
        """Return the hashes of the present password and of the new one. Raises Conflict, TooOften."""
        proven = await self._prove(user.username, (change.current or {})["password"], source)
        if proven is None:
            raise Conflict("The present password is another.")
        return proven[1], await self.hasher.hash(change.patch["password"])

    async def delete(self, user_id: str, password: str, change: Change[User], *, source: str) -> None:
        """Delete a user with all that is theirs.

        Raises Forbidden (wrong password), Conflict (a domain would be left without an owner), Stale, TooOften.
        """
        user = await self.users.get(user_id)
        proven = await self._prove(user.username, password, source)
        if proven is None:
            raise Forbidden("The password is wrong.")
        await self._retire(*proven, change)

    async def _retire(self, user: User, password_hash: str, change: Change[User]) -> None:
        await self.users.check_leaving(user.user_id)  # told before what else is wrong; retire() has the last word
        for _ in range(_TRIES):
            change.check_version(user)
            if await self.users.retire(user, password_hash, self.clock() + AGAIN_AFTER):
                break
            user = await self.users.get(user.user_id)  # changed meanwhile, or gone
        else:
            raise Conflict("The user is being changed. Try again when that is done.")
        try:
            await self.erasures.erase(user.user_id)
            await self.throttle.attempts.forget(user.username.lower())
        except Unavailable:
            logger.warning("the database is away; a worker erases what is left")

    # -- what an operator does, without the password -------------------------------------------------------------

    async def named(self, username: str) -> User:
        """Return the user of that name. Raises NotFound."""
        return (await self._named(username))[0]

    async def set_password(self, username: str, password: str) -> None:
        """Give a user another password; all tokens are void. Raises NotFound, Invalid, Conflict."""
        user, password_hash = await self._named(username)
        self._check_password(password, user.username)
        hashes = password_hash, await self.hasher.hash(password)
        if not await self.users.change_password(user, user, hashes, access_token=""):
            raise Conflict("The user is being changed. Try again when that is done.")

    async def remove(self, username: str) -> None:
        """Delete a user with all that is theirs. Raises NotFound, Conflict as delete()."""
        await self._retire(*await self._named(username), Change({}))

    async def _named(self, username: str) -> tuple[User, str]:
        found = await self.users.find(username)
        if found is None:
            raise NotFound(f"There is no user {username}.")
        return found


def _changed(user: User, patch: Mapping[str, Any]) -> User:
    return replace(
        user,
        display_name=patch.get("display_name", user.display_name) or user.username,
        recovery_email=patch.get("recovery_email", user.recovery_email),
    )
