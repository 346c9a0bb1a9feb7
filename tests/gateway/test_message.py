"""Messages: who shares a discussion, who gets one, what is a draft."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery import Delivery, DeliveryState
from gateway.message import Message, Participant, discussion_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER = "00000000-0000-4000-8000-000000000001"
OTHER_USER = "00000000-0000-4000-8000-000000000002"

participants = st.builds(
    Participant,
    address=st.sampled_from(["a@x.example", "b@x.example", "c@y.example", "B@x.example"]),
    label=st.sampled_from(["", "Jane"]),
    type=st.sampled_from(["To", "Cc", "Bcc", "From", "Reply-To", "Sender"]),
)


def message(*who: Participant) -> Message:
    return Message(
        message_id="m",
        user_id=USER,
        identity_id="i",
        subject="",
        body="",
        body_is_plain=True,
        excerpt="",
        participants=who,
        discussion_id="d",
        date_insert=NOW,
        date_sort=NOW,
    )


# -- the discussion ----------------------------------------------------------------------------------------------


@given(st.lists(participants, max_size=6))
def test_discussion_is_of_the_set_of_addresses(who: list[Participant]) -> None:
    """Order, repetition, labels and types do not matter: the same people share a discussion."""
    others = [replace(each, label="Somebody", type="Cc") for each in reversed([*who, *who[:2]])]
    assert discussion_id(USER, who) == discussion_id(USER, others)


@given(st.lists(participants, max_size=5), st.lists(participants, max_size=5))
def test_other_people_have_another_discussion(one: list[Participant], two: list[Participant]) -> None:
    """Two messages are of one discussion exactly when the same people take part."""
    same = {each.address.lower() for each in one} == {each.address.lower() for each in two}
    assert (discussion_id(USER, one) == discussion_id(USER, two)) is same


def test_discussion_counts_the_sender() -> None:
    """From belongs to the set: two identities that write to one person have two discussions."""
    to = Participant("you@x.example", "", "To")
    mine = Participant("me@x.example", "", "From")
    work = Participant("me@work.example", "", "From")
    assert discussion_id(USER, [mine, to]) != discussion_id(USER, [work, to])


def test_discussion_ignores_case() -> None:
    """An address is one person however it is written."""
    assert discussion_id(USER, [Participant("You@X.example", "", "To")]) == discussion_id(
        USER, [Participant("you@x.example", "", "To")]
    )


def test_discussion_is_of_one_user() -> None:
    """Two users who write to the same people have different discussions."""
    who = [Participant("you@x.example", "", "To")]
    assert discussion_id(USER, who) != discussion_id(OTHER_USER, who)


def test_discussion_is_a_derived_uuid() -> None:
    """A discussion's id is a UUID of version 5 in its text form."""
    text = discussion_id(USER, [Participant("you@x.example", "", "To")])
    assert UUID(text).version == 5
    assert str(UUID(text)) == text


# -- the envelope ------------------------------------------------------------------------------------------------


def test_envelope_has_each_recipient_once() -> None:
    """To, Cc and Bcc are recipients, in the order of the header; who stands twice gets one copy."""
    who = [
        Participant("me@x.example", "", "From"),
        Participant("c@x.example", "C", "To"),
        Participant("a@x.example", "", "Bcc"),
        Participant("answers@x.example", "", "Reply-To"),
        Participant("c@x.example", "", "Cc"),
        Participant("desk@x.example", "", "Sender"),
        Participant("b@x.example", "", "Cc"),
    ]
    assert message(*who).envelope_recipients == ["c@x.example", "a@x.example", "b@x.example"]


@given(st.lists(participants, max_size=8))
def test_envelope_is_the_recipients(who: list[Participant]) -> None:
    """Everybody who shall get the message is in the envelope once, and nobody else."""
    envelope = message(*who).envelope_recipients
    assert len(envelope) == len(set(envelope))
    assert set(envelope) == {each.address for each in who if each.type in ("To", "Cc", "Bcc")}


# -- draft or not ------------------------------------------------------------------------------------------------


def test_without_an_order_it_is_a_draft() -> None:
    """A message that nobody ordered to be sent can be edited."""
    assert message().is_draft


@pytest.mark.parametrize(
    ("state", "is_draft"),
    [
        (DeliveryState.QUEUED, False),
        (DeliveryState.SENDING, False),
        (DeliveryState.SENT, False),
        (DeliveryState.FAILED, True),
        (DeliveryState.CANCELED, True),
    ],
)
def test_is_draft(state: DeliveryState, *, is_draft: bool) -> None:
    """A canceled or refused message can be edited again, any other ordered one can not."""
    delivery = Delivery(state, ordered_at=NOW, due_at=None, recipients=())
    assert replace(message(), delivery=delivery).is_draft is is_draft
