"""Whose request it is: HTTP Basic with user_id and access token, or Bearer with the access token alone."""

from __future__ import annotations

import base64
import binascii

from gateway.accounts import Accounts
from gateway.errors import NotAuthenticated

_MISSING = "Sign in: send 'Authorization: Basic' with user_id and access_token, or 'Bearer' with the access_token."


async def authenticate(accounts: Accounts, header: str | None) -> str:
    """Return the user_id behind an Authorization header (RFC 7617, RFC 6750). Raises NotAuthenticated."""
    scheme, _, value = (header or "").partition(" ")
    match scheme.lower():
        case "bearer":
            return await accounts.authenticate(value.strip())
        case "basic":
            user_id, token = _basic(value.strip())
            return await accounts.authenticate(token, user_id)
    raise NotAuthenticated(_MISSING)


def _basic(value: str) -> tuple[str, str]:
    try:
        decoded = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise NotAuthenticated(_MISSING) from error
    user_id, separator, token = decoded.partition(":")
    if not separator:
        raise NotAuthenticated(_MISSING)
    return user_id, token
