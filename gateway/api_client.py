"""A client of the dimail-compatible face: an account apart from the gateway's users. Data and rules, no I/O."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

_MAX_NAME = 128
_MAX_PASSWORD = 1024
_STAMP_BYTES = 16
NO_PASSWORD = "no"  # noqa: S105 - that is what it says
"""What clients of dimail send for an account that nobody is to sign in to."""


class Perm(StrEnum):
    """What an account may that is no administrator's."""

    NEW_DOMAIN = "new_domain"
    CREATE_USERS = "create_users"
    MANAGE_USERS = "manage_users"


@dataclass(frozen=True, slots=True)
class ApiClient:
    """An account. ``client_id``, a UUID, tells it from one that had its name before.

    ``password_hash`` is None where no password opens it.
    """

    name: str
    client_id: str
    is_admin: bool
    perms: Collection[Perm]
    password_hash: str | None = field(repr=False)

    @property
    def stamp(self) -> str:
        """What tells this account with this password from any other; it does not give the hash away."""
        text = f"{self.client_id} {self.password_hash}"
        return blake2b(text.encode(), digest_size=_STAMP_BYTES).hexdigest()

    def covers(self, other: ApiClient) -> bool:
        """True when it may all that the other may by perms: so it gains nothing where it signs in as the other."""
        return self.is_admin or (not other.is_admin and set(other.perms) <= set(self.perms))


@dataclass(frozen=True, slots=True)
class Allow:
    """That an account may manage a domain."""

    client: str
    domain: str


def name_fault(name: str) -> str | None:
    """Return what is wrong with a name, or None. A colon ends the name in HTTP Basic (RFC 7617 §2)."""
    if 1 <= len(name) <= _MAX_NAME and name.isprintable() and ":" not in name:
        return None
    return f"A name has 1 to {_MAX_NAME} printable characters and no colon."


def client_password_fault(password: str) -> str | None:
    """Return what is wrong with a password, or None."""
    if 1 <= len(password) <= _MAX_PASSWORD:
        return None
    return f"A password has 1 to {_MAX_PASSWORD} characters."
