"""An invitation to manage a domain, as data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.roles import Role


@dataclass(frozen=True, slots=True)
class Invitation:
    """Who comes with its token, or with the address as a local identity, gets the role.

    ``email`` is normalised, as identifiers are. ``invited_by`` is a user_id.
    """

    invitation_id: str
    domain: str
    email: str
    role: Role
    invited_by: str
    date_insert: datetime
    expires_at: datetime
