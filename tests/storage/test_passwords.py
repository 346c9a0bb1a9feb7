"""Password hashes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.passwords import Argon2Hasher


@pytest.fixture
def hasher() -> Iterator[Argon2Hasher]:
    """The hasher under test."""
    hasher = Argon2Hasher()
    yield hasher
    hasher.close()


async def test_verify(hasher: Argon2Hasher) -> None:
    """The right password fits its hash, another does not."""
    hashed = await hasher.hash("correct horse 🐎")
    assert hashed.startswith("$argon2id$")
    assert await hasher.verify(hashed, "correct horse 🐎")
    assert not await hasher.verify(hashed, "correct horse")


async def test_salt(hasher: Argon2Hasher) -> None:
    """One password has another hash each time."""
    assert await hasher.hash("a password") != await hasher.hash("a password")


async def test_nobody(hasher: Argon2Hasher) -> None:
    """No password fits where there is no user, not even the empty one; a damaged hash fits nothing."""
    assert not await hasher.verify(None, "")
    assert not await hasher.verify("damaged", "a password")
