"""JSON Web Tokens: what is read is what was signed, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from api.dimail.tokens import JwtTokens
from gateway.api_client import ApiClient

NOW = datetime(2026, 7, 20, tzinfo=UTC)
SOMEBODY = ApiClient("some-body", "an-id", is_admin=False, perms=(), password_hash=None)


async def key() -> str:
    """Return a key."""
    return "k" * 32


async def test_signed() -> None:
    """A token names its account until it is over."""
    tokens = JwtTokens(key)
    token = await tokens.sign(SOMEBODY, NOW)
    assert await tokens.read(token, NOW - timedelta(milliseconds=1)) == ("some-body", SOMEBODY.stamp)
    assert await tokens.read(token, NOW) is None


async def test_changed() -> None:
    """A token of which anything is changed is none."""
    tokens = JwtTokens(key)
    token = await tokens.sign(SOMEBODY, NOW + timedelta(hours=1))
    for i in range(len(token) - 1):  # the last character has bits that mean nothing
        changed = token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :]
        assert await tokens.read(changed, NOW) is None


@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True))
async def test_any_text(text: str) -> None:
    """Whatever comes as a token, it is one or none."""
    assert await JwtTokens(key).read(text, NOW) is None
