"""A user of the gateway, and the rules for names and passwords."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

RESERVED_NAMES = frozenset({"postmaster", "abuse"})
"""Where the operator is reached (RFC 5321 §4.5.1, RFC 2142 §2): no people's names."""

ROLE_NAMES = frozenset(
    {
        *("noc", "security", "hostmaster", "webmaster"),  # RFC 2142 §§4, 5
        *("admin", "administrator", "root", "mailer-daemon", "noreply", "no-reply"),
    }
)
"""Names of duties, which nobody but the operator gives, and to whom the duty is.

Who reads the mail of five of them gets certificates for the whole domain: CA/Browser Forum, Baseline Requirements
§3.2.2.4.4. Mail from the others is believed.
"""

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", re.IGNORECASE | re.ASCII)
_NAME_LENGTH = range(3, 43)
_PASSWORD_LENGTH = range(8, 1025)


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account here. ``username`` is kept as written and compared without case."""

    user_id: str
    username: str
    display_name: str
    recovery_email: str | None
    date_insert: datetime


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair of tokens as the client gets it once; stored are only hashes. Times are absolute, UTC."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: datetime
    refresh_expires_at: datetime


def username_fault(username: str) -> str | None:
    """Return what is wrong with a user name, or None. It becomes the local part of an address."""
    if len(username) not in _NAME_LENGTH or not _NAME.fullmatch(username):
        return (
            "A user name has 3 to 42 letters, digits, '.', '-' or '_', begins and ends with a letter or digit,"
            " and has no two marks in a row."
        )
    return None


def password_fault(password: str, username: str) -> str | None:
    """Return what is wrong with a new password, or None."""
    if len(password) not in _PASSWORD_LENGTH:
        return "A password has 8 to 1,024 characters."
    if password.casefold() == username.casefold():
        return "The password must not be the user name."
    return None
