"""Passwords that were right a short while ago, so that not every request of a program costs a slow hash.

What is kept is no password: an HMAC under a key that this process alone has, beside the stored hash that it fitted.
With another stored hash it means nothing.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta

from gateway.ports import Clock

_KNOWN_FOR = timedelta(minutes=10)
_MOST = 1000


class Proven:
    """What this process has seen proven."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._seen: dict[str, tuple[bytes, datetime]] = {}

    def remember(self, password_hash: str, password: str) -> None:
        """Keep in mind that the password fits this hash."""
        self._seen.pop(password_hash, None)
        while len(self._seen) >= _MOST:
            del self._seen[next(iter(self._seen))]  # the oldest
        self._seen[password_hash] = self._digest(password), self._clock() + _KNOWN_FOR

    def holds(self, password_hash: str, password: str) -> bool:
        """True when that was kept in mind a short while ago."""
        digest, until = self._seen.get(password_hash, (b"", self._clock()))
        return hmac.compare_digest(digest, self._digest(password)) and self._clock() < until

    def _digest(self, password: str) -> bytes:
        return hmac.digest(self._key, password.encode("utf-8", "surrogatepass"), "sha256")
