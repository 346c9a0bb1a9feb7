"""The gateway's own mails, as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from gateway.invitation import Invitation
from gateway.mailbox import Mailbox
from gateway.notice import NoticeKind
from gateway.ports import SignInCode
from gateway.roles import Role

_MAY = {
    Role.VIEWER: "see its settings, its mailboxes and who manages it",
    Role.ADMINISTRATOR: "create and change its mailboxes, and invite others",
    Role.OWNER: "do everything with it",
}
_SIGN_IN = {
    NoticeKind.MAILBOX_CREATED: ("Your new mailbox {email}", "Your new mailbox {email} is ready."),
    NoticeKind.SIGN_IN_LINK: ("Sign in to {email}", "Here is the link to sign in to your mailbox {email}."),
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail to one address; ``body`` may hold a one-time secret."""

    to: str
    subject: str
    body: str = field(repr=False)


def invitation(invited: Invitation, inviter: str, token: str, public_url: str) -> Letter:
    """Tell of an invitation. ``inviter`` is a user name; without ``public_url`` the token stands without a link."""
    if public_url:
        how, what = "open this link and sign in", f"{public_url.rstrip('/')}/#invitation={token}"
    else:
        how, what = "sign in to the mail gateway and enter this token", token
    body = f"""Hello,

{inviter} invites you to manage the domain {invited.domain}, as {invited.role}: you may {_MAY[invited.role]}.

To accept, {how}:

{what}

It works once, until {_moment(invited.expires_at)}. Give it to nobody else.

If you do not want to accept, do nothing.
"""
    return Letter(invited.email, f"Invitation to manage {invited.domain}", body)


def sign_in(kind: NoticeKind, mailbox: Mailbox, to: str, code: SignInCode, url: str) -> Letter:
    """Tell of a mailbox with a link that signs in to it once; in its ``url`` stand {code} and perhaps {email}."""
    subject, news = (text.format(email=mailbox.email) for text in _SIGN_IN[kind])
    link = url.replace("{email}", quote(mailbox.email, safe="")).replace("{code}", quote(code.code, safe=""))
    body = f"""Hello {mailbox.first_name},

{news} This link signs you in:

{link}

It works once, until {_moment(code.expires_at)}. Give it to nobody else: whoever opens it can read your mail.
"""
    return Letter(to, subject, body)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
