"""Mailboxes as data: local parts, states, the identity that goes with one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import normalise_identifier
from gateway.identity import IdentityStatus
from gateway.mailbox import (
    Mailbox,
    MailboxStatus,
    begun,
    created,
    not_created,
    parse_local_part,
    postponed,
    settled,
)

NOW = datetime(2026, 7, 20, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
MAILBOX = Mailbox(
    mailbox_id=str(uuid4()),
    domain="bücher.example",
    local_part="me",
    first_name="Ada",
    last_name="Grüße",
    display_name="Ada Grüße",
    secondary_email=None,
    user_id=str(uuid4()),
    status=MailboxStatus.PENDING,
    date_insert=NOW,
)


@pytest.mark.parametrize(
    "text", ["me", "a.b", "a-b_c+d", "o'neil", "1", "x" * 64, "a/b", "{x}", "!#$%&'*+-/=?^_`{|}~"]
)
def test_local_part(text: str) -> None:
    """A dot-string (RFC 5321 §4.1.2) is a local part, in lower case."""
    assert parse_local_part(text.upper()) == text
    assert normalise_identifier(f"{text}@example.org") == f"{text}@example.org"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        ".a",
        "a.",
        "a..b",
        "a b",
        '"a b"',
        "a@b",
        "a,b",
        "é",
        "\u212a",
        "\u017f",
        "a\n",
        "\0",
        "x" * 65,
        "a(b)",
    ],
)
def test_no_local_part(text: str) -> None:
    """Quoted strings, letters of other scripts, marks in a row and what is too long are none."""
    with pytest.raises(ValueError, match="is no local part"):
        parse_local_part(text)


@given(st.text(max_size=70) | st.text("aB9.-_+'/%", max_size=70))
def test_any_local_part(text: str) -> None:
    """Whatever text comes: it is refused, or a local part that stays what it is and makes an address."""
    with suppress(ValueError):
        local_part = parse_local_part(text)
        assert parse_local_part(local_part) == local_part == text.lower()
        assert normalise_identifier(f"{local_part}@example.org") == f"{local_part}@example.org"


def test_attempts() -> None:
    """An attempt is counted and held; what ends it lets go."""
    first = begun(MAILBOX, NOW)
    second = begun(postponed(first, "Later.", LATER, nothing_done=False), NOW)
    assert (first.attempts, first.held, first.due_at) == (1, True, NOW)
    assert (second.attempts, second.failures, second.held, second.error) == (2, 0, True, "Later.")
    in_vain = postponed(second, "Who?", LATER, nothing_done=True)
    assert (in_vain.attempts, in_vain.failures, in_vain.held) == (1, 1, False)
    assert settled(in_vain, MailboxStatus.FAILED).failures == 0
    failed = not_created(second, MailboxStatus.FAILED, "Never.")
    for ended in (created(second), settled(second, MailboxStatus.DISABLED), failed):
        assert (ended.held, ended.due_at) == (False, None)
    assert (failed.attempts, failed.status, failed.error) == (1, MailboxStatus.FAILED, "Never.")
    assert (created(second).attempts, created(second).error, created(second).hosted) == (0, None, True)


def test_waits() -> None:
    """A pending mailbox for which no time is set waits for its domain."""
    assert MAILBOX.waits
    assert not_created(begun(MAILBOX, NOW), MailboxStatus.PENDING).waits
    for other in (begun(MAILBOX, NOW), created(MAILBOX), settled(MAILBOX, MailboxStatus.DISABLED)):
        assert not other.waits


def test_identity() -> None:
    """Its user has an identity of it when it is at the backend, active while it is in use."""
    assert MAILBOX.identity is None
    assert replace(created(MAILBOX), user_id=None).identity is None
    identity = created(MAILBOX).identity
    assert identity is not None
    assert (identity.identifier, identity.status) == ("me@bücher.example", IdentityStatus.ACTIVE)
    assert identity.display_name == "Ada Grüße"
    disabled = settled(created(MAILBOX), MailboxStatus.DISABLED).identity
    assert disabled == replace(identity, status=IdentityStatus.INACTIVE)
    other = replace(created(MAILBOX), user_id=str(uuid4())).identity
    assert other is not None
    assert other.identity_id != identity.identity_id
