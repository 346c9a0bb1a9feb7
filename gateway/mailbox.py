"""A mailbox and an alias of a hosted domain. Data and rules, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from gateway.errors import Conflict
from gateway.identity import IdentityStatus, IdentityType, UserIdentity

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")  # RFC 5321 §4.1.2, lower case
_MAX_LOCAL_PART = 64  # octets, RFC 5321 §4.5.3.1.1


class MailboxStatus(StrEnum):
    """``pending``: to be created at the mail backend when the domain is enabled; ``failed``: it refused to."""

    PENDING = "pending"
    ENABLED = "enabled"
    FAILED = "failed"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox of a hosted domain.

    ``hosted``: it is at the mail backend. Until then ``attempts`` counts how often its creation there was begun
    and may have got through, ``failures`` how often it certainly did not, ``due_at`` is when that is begun again,
    None where it is not, and ``held``: somebody is at it now, or died of it. ``error`` is what the backend said
    last; ``version`` counts changes and claims.
    """

    mailbox_id: str
    domain: str
    local_part: str
    first_name: str
    last_name: str
    display_name: str
    secondary_email: str | None
    user_id: str | None
    status: MailboxStatus
    date_insert: datetime
    hosted: bool = False
    attempts: int = 0
    failures: int = 0
    due_at: datetime | None = None
    held: bool = False
    error: str | None = None
    version: int = 0

    @property
    def email(self) -> str:
        """Its address, with the domain in its Unicode form."""
        return f"{self.local_part}@{self.domain}"

    @property
    def waits(self) -> bool:
        """True when it is created as soon as its domain is enabled."""
        return self.status is MailboxStatus.PENDING and self.due_at is None

    @property
    def identity(self) -> UserIdentity | None:
        """The local identity that its user has of it; None where nobody has one.

        It comes when the mailbox is at the backend, and its id follows from mailbox and user.
        """
        if self.user_id is None or not self.hosted:
            return None
        active = self.status is MailboxStatus.ENABLED
        return UserIdentity(
            identity_id=str(uuid5(UUID(self.mailbox_id), self.user_id)),
            user_id=self.user_id,
            type=IdentityType.LOCAL,
            protocol="smtp",
            identifier=self.email,
            display_name=self.display_name or self.email,
            status=IdentityStatus.ACTIVE if active else IdentityStatus.INACTIVE,
            infos={},
            last_check=None,
        )


def begun(mailbox: Mailbox, until: datetime) -> Mailbox:
    """Return a mailbox whose creation at the backend begins; it is held until then."""
    return replace(mailbox, held=True, due_at=until, attempts=mailbox.attempts + 1)


def postponed(mailbox: Mailbox, error: str, due_at: datetime, *, nothing_done: bool) -> Mailbox:
    """Return a mailbox whose creation did not end well and begins again then; see RemoteError.nothing_done."""
    return replace(
        mailbox,
        held=False,
        attempts=mailbox.attempts - nothing_done,
        failures=mailbox.failures + nothing_done,
        due_at=due_at,
        error=error,
    )


def settled(mailbox: Mailbox, status: MailboxStatus, *, attempts: int = 0, error: str | None = None) -> Mailbox:
    """Return a mailbox that has come to that status, nothing due; ``attempts`` of them may have got through."""
    return replace(mailbox, status=status, held=False, attempts=attempts, failures=0, due_at=None, error=error)


def not_created(mailbox: Mailbox, status: MailboxStatus, error: str | None = None) -> Mailbox:
    """Return a mailbox whose last attempt is known not to have got through; earlier ones may have."""
    return settled(mailbox, status, attempts=mailbox.attempts - 1, error=error)


def created(mailbox: Mailbox) -> Mailbox:
    """Return a mailbox that is at the backend now."""
    return replace(settled(mailbox, MailboxStatus.ENABLED), hosted=True)


def taken(mailbox: Mailbox) -> Conflict:
    """Return what a backend raises that has a mailbox of that address which is another's, or may be."""
    return Conflict(
        f"The mail servers have a mailbox {mailbox.email} already, and it is not known to come from here."
        " Their operator can hand it over, or remove it."
    )


@dataclass(frozen=True, slots=True)
class Alias:
    """Mail to ``local_part`` at the domain goes to ``destination``, a mail address."""

    domain: str
    local_part: str
    destination: str

    @property
    def email(self) -> str:
        """The address that is the alias."""
        return f"{self.local_part}@{self.domain}"


def parse_local_part(text: str) -> str:
    """Return a local part in its one spelling, lower case. Raises ValueError with a sentence for the user.

    Quoted strings (RFC 5321 §4.1.2) are no names to give to people: hosts are warned of them there, too.
    """
    local_part = text.lower()
    if len(local_part) > _MAX_LOCAL_PART or not text.isascii() or not _DOT_STRING.fullmatch(local_part):
        raise ValueError(
            "is no local part: 1 to 64 letters a-z, digits and !#$%&'*+-/=?^_`{|}~, with single dots between them"
        )
    return local_part
