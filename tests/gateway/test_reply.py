"""What an answer takes from the message that it answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway import reply
from gateway.message import Message, Participant

NOW = datetime(2026, 7, 20, tzinfo=UTC)
PARENT = Message(
    message_id="m",
    user_id="u",
    identity_id="i",
    subject="Lunch",
    body="",
    body_is_plain=True,
    excerpt="",
    participants=(),
    discussion_id="d",
    date_insert=NOW,
    date_sort=NOW,
    internet_message_id="last@example.org",
)


@pytest.mark.parametrize(
    ("subject", "answer"),
    [
        ("Lunch", "Re: Lunch"),
        ("Re: Lunch", "Re: Lunch"),
        ("RE: re:Re : Lunch", "Re: Lunch"),
        ("Re[2]: Lunch", "Re: Lunch"),
        ("  Re: Lunch", "Re: Lunch"),
        ("Regarding lunch", "Re: Regarding lunch"),
        ("Lunch Re: dinner", "Re: Lunch Re: dinner"),
        ("", "Re:"),
    ],
)
def test_subject(subject: str, answer: str) -> None:
    """An answer has one Re: before what the parent was called."""
    assert reply.subject(replace(PARENT, subject=subject)) == answer


def test_recipients() -> None:
    """Who wrote gets the answer, others a copy, each once, without Bcc and without the user."""
    people = (
        Participant("Writer@example.org", "W", "From"),
        Participant("one@example.org", "One", "To"),
        Participant("ME@example.org", "", "To"),
        Participant("two@example.org", "", "Cc"),
        Participant("ONE@example.org", "", "Cc"),
        Participant("writer@example.org", "", "Cc"),
        Participant("hidden@example.org", "", "Bcc"),
    )
    assert reply.recipients(replace(PARENT, participants=people), {"me@example.org"}) == [
        Participant("Writer@example.org", "W", "To"),
        Participant("one@example.org", "One", "Cc"),
        Participant("two@example.org", "", "Cc"),
    ]


def test_reply_to() -> None:
    """Those whom the writer named in Reply-To get the answer in his place."""
    people = (
        Participant("writer@example.org", "", "From"),
        Participant("list@example.org", "", "Reply-To"),
        Participant("archive@example.org", "", "Reply-To"),
        Participant("archive@example.org", "", "To"),
    )
    assert reply.recipients(replace(PARENT, participants=people), set()) == [
        Participant("list@example.org", "", "To"),
        Participant("archive@example.org", "", "To"),
    ]


def test_ancestors() -> None:
    """An answer refers to its parent last; of very many messages to the first and the latest."""
    assert reply.ancestors(PARENT) == ["last@example.org"]
    assert reply.ancestors(replace(PARENT, ancestors=("first",))) == ["first", "last@example.org"]
    many = reply.ancestors(replace(PARENT, ancestors=tuple(map(str, range(200)))))
    assert (len(many), many[0], many[1], many[-1]) == (50, "0", "152", "last@example.org")
