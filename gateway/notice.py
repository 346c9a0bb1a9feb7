"""A mail that the gateway itself is to send, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NoticeKind(StrEnum):
    """What the mail is about."""

    MAILBOX_CREATED = "mailbox created"
    SIGN_IN_LINK = "sign-in link"
    INVITATION = "invitation"


@dataclass(frozen=True, slots=True)
class Notice:
    """A mail that is to go out once. ``notice_id``, a UUID, is its message_id too.

    ``domain`` is what it is about, and ``subject`` the local part of a mailbox or the id of an invitation there.
    """

    notice_id: str
    kind: NoticeKind
    domain: str
    subject: str
