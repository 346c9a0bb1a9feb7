"""Accounts: register and sign in.

Registering: 1. check name and password; 2. hash the password; 3. store the user and its first local identity
together; the name is taken by a unique index, so of two at once one gets it.

Signing in: 1. look the name up; 2. verify the password, at the same cost when there is no such user; 3. make a pair
of tokens, of which only hashes are stored.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from gateway.address import normalise_identifier
from gateway.config import AccountsSection
from gateway.errors import Invalid, NotAuthenticated
from gateway.identity import IdentityStatus, IdentityType, UserIdentity
from gateway.ports import Clock, PasswordHasher, TokenStore, Users
from gateway.user import Tokens, User, password_fault, username_fault

_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Accounts:
    """Registration, sign-in, and whose request it is."""

    users: Users
    tokens: TokenStore
    hasher: PasswordHasher
    settings: AccountsSection
    clock: Clock

    async def register(
        self, username: str, password: str, display_name: str | None, recovery_email: str | None
    ) -> User:
        """Create a user with its first local identity. Raises Invalid, Conflict (the name is taken)."""
        if fault := username_fault(username):
            raise Invalid("The user name cannot be used.", {"username": [fault]})
        if fault := password_fault(password, username):
            raise Invalid("The password cannot be used.", {"password": [fault]})
        user = User(str(uuid4()), username, display_name or username, recovery_email, self.clock())
        await self.users.add(user, await self.hasher.hash(password), self._first_identity(user, display_name))
        return user

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
        )

    async def sign_in(self, username: str, password: str) -> tuple[User, Tokens]:
        """Return the user and a new pair of tokens. Raises NotAuthenticated, whichever of the two was wrong."""
        found = await self.users.find(username)
        user, password_hash = found or (None, None)
        if not await self.hasher.verify(password_hash, password) or user is None:
            raise NotAuthenticated("The user name or the password is wrong.")
        now = self.clock()
        tokens = Tokens(
            secrets.token_urlsafe(_TOKEN_BYTES),
            secrets.token_urlsafe(_TOKEN_BYTES),
            expires_at=now + timedelta(seconds=self.settings.access_token_s),
            refresh_expires_at=now + timedelta(seconds=self.settings.refresh_token_s),
        )
        await self.tokens.add(user.user_id, tokens)
        return user, tokens

    async def authenticate(self, access_token: str, claimed_user_id: str | None = None) -> str:
        """Return whose token that is; a user_id that comes with it has to be the same. Raises NotAuthenticated."""
        user_id = await self.tokens.user_of(access_token, self.clock())
        if user_id is None or (
            claimed_user_id is not None and not hmac.compare_digest(user_id.encode(), claimed_user_id.encode())
        ):
            raise NotAuthenticated("The access token is wrong, expired or revoked. Sign in again.")
        return user_id

    async def get(self, user_id: str) -> User:
        """Return a user. Raises NotFound."""
        return await self.users.get(user_id)
