"""Password hashes: argon2id (RFC 9106), off the event loop, a few at a time.

Cost: 19 MiB, 2 passes, 1 lane; the first of the settings that OWASP's password storage guide gives. Two threads
bound what hashing may take of memory and of the processor.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

_MEMORY_KIB = 19 * 1024
_PASSES = 2
_LANES = 1
_THREADS = 2


class Argon2Hasher:
    """The core's PasswordHasher."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="argon2")
        # What a password is held against when there is no such user, so that it takes as long.
        self._nobody = self._hasher.hash("")

    async def hash(self, password: str) -> str:
        """Return a hash to store, with its parameters and a random salt in it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """True when the password fits. None (no such user) takes as long and is never true."""
        matches = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._matches, password_hash or self._nobody, password
        )
        return matches and password_hash is not None

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
