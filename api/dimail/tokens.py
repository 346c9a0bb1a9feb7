"""The tokens of the dimail-compatible face: JSON Web Tokens (RFC 7519), signed with HMAC-SHA-256."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import jwt

from gateway.api_client import ApiClient

_ALGORITHM = "HS256"  # RFC 8725 §3.1: no other one is taken, whatever a token says of itself
_ACCOUNT = "account"


class JwtTokens:
    """The core's ApiTokens. ``read_key`` is asked once."""

    def __init__(self, read_key: Callable[[], Awaitable[str]]) -> None:
        self._read_key = read_key
        self._key = ""

    async def sign(self, client: ApiClient, until: datetime) -> str:
        """Return a token of this account that is good until then."""
        claims = {"sub": client.name, "exp": until, _ACCOUNT: client.stamp}
        return jwt.encode(claims, await self._signing_key(), _ALGORITHM)

    async def read(self, token: str, now: datetime) -> tuple[str, str] | None:
        """Return name and stamp of the account whose token it is; None where it is no good, or no more."""
        try:
            claims = jwt.decode(
                token,
                await self._signing_key(),
                [_ALGORITHM],
                options={"require": ["sub", "exp", _ACCOUNT], "verify_exp": False},
            )
        except (jwt.PyJWTError, ValueError, RecursionError):  # the last of JSON that is nested too deep
            return None
        return (claims["sub"], claims[_ACCOUNT]) if now.timestamp() < claims["exp"] else None

    async def _signing_key(self) -> str:
        self._key = self._key or await self._read_key()
        return self._key
