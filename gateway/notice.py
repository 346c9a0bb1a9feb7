"""A mail that the gateway itself is to send, and as whom it sends, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import NAMESPACE_DNS, UUID, uuid5

from gateway.address import normalise_identifier
from gateway.identity import IdentityStatus, IdentityType, UserIdentity

GATEWAY_ID = str(uuid5(NAMESPACE_DNS, "mail-identity-gateway.invalid"))
"""The user_id of the gateway itself, as which nobody can sign in."""

SENDER_ID = str(uuid5(UUID(GATEWAY_ID), "sender"))


class NoticeKind(StrEnum):
    """What the mail is about."""

    MAILBOX_CREATED = "mailbox created"
    SIGN_IN_LINK = "sign-in link"
    INVITATION = "invitation"


@dataclass(frozen=True, slots=True)
class Notice:
    """A mail that is to go out once. ``notice_id``, a UUID, is its message_id too.

    ``domain`` is what it is about, and ``subject`` the local part of a mailbox or the id of an invitation there.
    ``attempts`` counts how often a worker looked at it, except when its recipient got too many; ``over``: nothing
    is left to do but to clear away the mail.
    """

    notice_id: str
    kind: NoticeKind
    domain: str
    subject: str
    attempts: int = 0
    over: bool = False


def sender(address: str) -> UserIdentity:
    """Return the identity that the gateway's own mails come from; always the same one, whatever its address."""
    return UserIdentity(
        identity_id=SENDER_ID,
        user_id=GATEWAY_ID,
        type=IdentityType.LOCAL,
        protocol="smtp",
        identifier=normalise_identifier(address),
        display_name="Mail gateway",
        status=IdentityStatus.ACTIVE,
        infos={},
        last_check=None,
    )
