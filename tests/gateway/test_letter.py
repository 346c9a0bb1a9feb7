"""The words of the gateway's own mails."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import letter
from gateway.invitation import Invitation
from gateway.mailbox import Mailbox, MailboxStatus
from gateway.notice import NoticeKind
from gateway.ports import SignInCode
from gateway.roles import Role

AT = datetime(2026, 7, 20, 15, 56, tzinfo=UTC)
MAILBOX = Mailbox(
    mailbox_id="6f2b0a52-9f4e-4c9c-9e4e-0b3c1a5d7e11",
    domain="bücher.example",
    local_part="a+b",
    first_name="Ada",
    last_name="B",
    display_name="Ada B",
    secondary_email="ada@elsewhere.example",
    user_id=None,
    status=MailboxStatus.ENABLED,
    date_insert=AT,
    hosted=True,
)
URL = "https://webmail.example/login/{code}?user={email}"
SIGN_IN_KINDS = [NoticeKind.MAILBOX_CREATED, NoticeKind.SIGN_IN_LINK]


@pytest.mark.parametrize("role", list(Role))
def test_invitation(role: Role) -> None:
    """It says who invites to what, and until when the link works."""
    invitation = Invitation("id", "example.org", "friend@elsewhere.example", role, "user_id", AT, AT)
    mail = letter.invitation(invitation, "someone", "t0ken", "https://mail.example/gateway/")
    assert (mail.to, mail.subject) == ("friend@elsewhere.example", "Invitation to manage example.org")
    assert f"someone invites you to manage the domain example.org, as {role}: " in mail.body
    assert "\nhttps://mail.example/gateway/#invitation=t0ken\n" in mail.body
    assert "once, until 2026-07-20 15:56 UTC." in mail.body


def test_invitation_without_a_link() -> None:
    """Where nobody knows how people reach the gateway the token stands for itself."""
    invitation = Invitation("id", "example.org", "friend@elsewhere.example", Role.VIEWER, "user_id", AT, AT)
    mail = letter.invitation(invitation, "someone", "t0ken", "")
    assert "\nt0ken\n" in mail.body
    assert "#invitation" not in mail.body


@pytest.mark.parametrize("kind", SIGN_IN_KINDS)
def test_sign_in(kind: NoticeKind) -> None:
    """It has a link with the code and the mailbox, and says until when that works."""
    mail = letter.sign_in(kind, MAILBOX, "ada@elsewhere.example", SignInCode("a/b {email}", AT, 1), URL)
    assert mail.to == "ada@elsewhere.example"
    assert "a+b@bücher.example" in mail.subject
    assert mail.body.startswith("Hello Ada,\n")
    link = "https://webmail.example/login/a%2Fb%20%7Bemail%7D?user=a%2Bb%40b%C3%BCcher.example"
    assert f"\n{link}\n" in mail.body
    assert "once, until 2026-07-20 15:56 UTC." in mail.body


@pytest.mark.parametrize("kind", SIGN_IN_KINDS)
@given(code=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_code(kind: NoticeKind, code: str) -> None:
    """Whatever the mail backend gives for a code, the link is one word on a line of its own."""
    mail = letter.sign_in(kind, MAILBOX, "ada@elsewhere.example", SignInCode(code, AT, 1), URL)
    (link,) = (line for line in mail.body.split("\n") if line.startswith("https:"))
    assert link.isascii()
    assert len(link.split()) == 1
    assert repr(mail) == repr(letter.Letter(mail.to, mail.subject, "another body"))
