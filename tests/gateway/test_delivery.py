"""The life of a delivery: every transition, and any course of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery import (
    Delivery,
    DeliveryState,
    Patience,
    Recipient,
    RecipientState,
    Reply,
    after_error,
    after_replies,
    before_data,
    copy_failed,
    copy_filed,
    got_through,
    order,
)
from gateway.errors import (
    Deferred,
    GatewayError,
    HostRefused,
    Insecure,
    Invalid,
    Refused,
    SignInRefused,
    Unanswered,
    Unavailable,
    Unreachable,
    Untrusted,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAYS = timedelta(days=5)

TAKEN = Reply(250, "2.0.0 OK")
LATER = Reply(451, "4.7.1 Greylisted")
NEVER = Reply(550, "5.1.1 No such user")

ACCEPTED, QUEUED, REJECTED = RecipientState.ACCEPTED, RecipientState.QUEUED, RecipientState.REJECTED


def patience(now: datetime = NOW, retry_in: timedelta = MINUTE, give_up_after: timedelta = DAYS) -> Patience:
    return Patience(now, retry_in, give_up_after)


def ordered(*addresses: str) -> Delivery:
    """Return an order of which an attempt runs."""
    return replace(order(addresses, NOW, None), state=DeliveryState.SENDING, attempts=1)


def replied(delivery: Delivery, replies: Mapping[str, Reply], *, files_copy: bool = False) -> Delivery:
    return after_replies(delivery, replies, patience(), files_copy=files_copy)


def states(delivery: Delivery) -> list[RecipientState]:
    return [recipient.state for recipient in delivery.recipients]


# -- ordering ----------------------------------------------------------------------------------------------------


def test_order_is_due_at_once() -> None:
    """An order without a time is due now, and nobody has got it yet."""
    delivery = order(["a@x.example", "b@x.example"], NOW, None)
    assert (delivery.state, delivery.due_at, delivery.attempts) == (DeliveryState.QUEUED, NOW, 0)
    assert delivery.open_recipients == ["a@x.example", "b@x.example"]
    assert (delivery.ordered_at, delivery.send_at, delivery.last_error) == (NOW, None, None)


def test_order_for_later() -> None:
    """A scheduled order is due at its time."""
    delivery = order(["a@x.example"], NOW, NOW + DAYS)
    assert (delivery.due_at, delivery.send_at) == (NOW + DAYS, NOW + DAYS)


def test_order_for_the_past() -> None:
    """A time in the past means now; what the client asked for is kept."""
    delivery = order(["a@x.example"], NOW, NOW - DAYS)
    assert (delivery.due_at, delivery.send_at) == (NOW, NOW - DAYS)


# -- replies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (200, ACCEPTED),
        (250, ACCEPTED),
        (251, ACCEPTED),
        (299, ACCEPTED),
        (400, QUEUED),
        (421, QUEUED),
        (452, QUEUED),
        (499, QUEUED),
        (500, REJECTED),
        (550, REJECTED),
        (554, REJECTED),
        (354, REJECTED),
    ],
)
def test_reply_codes(code: int, state: RecipientState) -> None:
    """2yz accepts, 4yz asks to come back, all else refuses (RFC 5321 §4.2.1)."""
    assert Reply(code, "").state is state


@pytest.mark.parametrize(
    ("replies", "state", "recipients"),
    [
        ([TAKEN, TAKEN], DeliveryState.SENT, [ACCEPTED, ACCEPTED]),
        ([TAKEN, NEVER], DeliveryState.SENT, [ACCEPTED, REJECTED]),
        ([NEVER, NEVER], DeliveryState.FAILED, [REJECTED, REJECTED]),
        ([TAKEN, LATER], DeliveryState.QUEUED, [ACCEPTED, QUEUED]),
        ([NEVER, LATER], DeliveryState.QUEUED, [REJECTED, QUEUED]),
        ([LATER, LATER], DeliveryState.QUEUED, [QUEUED, QUEUED]),
    ],
)
def test_replies(replies: Sequence[Reply], state: DeliveryState, recipients: list[RecipientState]) -> None:
    """The server decides for every recipient; who is to be tried again keeps the order open."""
    addresses = ["a@x.example", "b@x.example"]
    after = replied(ordered(*addresses), dict(zip(addresses, replies, strict=True)))
    assert after.state is state
    assert states(after) == recipients
    assert after.due_at == (NOW + MINUTE if state is DeliveryState.QUEUED else None)


def test_reply_is_kept() -> None:
    """Each recipient keeps the code and the words of the server."""
    after = replied(ordered("a@x.example", "b@x.example"), {"a@x.example": TAKEN, "b@x.example": NEVER})
    assert after.recipients == (
        Recipient("a@x.example", ACCEPTED, 250, "2.0.0 OK"),
        Recipient("b@x.example", REJECTED, 550, "5.1.1 No such user"),
    )


def test_recipient_without_reply_stays_open() -> None:
    """Who is missing among the replies is tried again, and a reply for somebody else changes nothing."""
    after = replied(ordered("a@x.example", "b@x.example"), {"a@x.example": TAKEN, "other@x.example": NEVER})
    assert after.open_recipients == ["b@x.example"]
    assert (after.state, after.last_error) == (DeliveryState.QUEUED, "b@x.example: no answer")


def test_last_error_names_who_waits() -> None:
    """While somebody waits, the last error tells for whom and what the server said."""
    after = replied(
        ordered("a@x.example", "b@x.example", "c@x.example"),
        {"a@x.example": TAKEN, "b@x.example": LATER, "c@x.example": LATER},
    )
    assert after.last_error == "b@x.example: 451 4.7.1 Greylisted; c@x.example: 451 4.7.1 Greylisted"


def test_last_error_names_who_is_refused() -> None:
    """When everybody was refused, the last error tells it of each."""
    after = replied(ordered("a@x.example"), {"a@x.example": NEVER})
    assert after.last_error == "a@x.example: 550 5.1.1 No such user"


def test_last_error_goes_with_success() -> None:
    """A message that was sent has no error, also when earlier attempts had."""
    waiting = replied(ordered("a@x.example", "b@x.example"), {"a@x.example": NEVER, "b@x.example": LATER})
    assert waiting.last_error
    assert replied(waiting, {"b@x.example": TAKEN}).last_error is None


def test_accepted_first_and_the_rest_later() -> None:
    """Recipients of one message may be served by different attempts; nobody is offered it twice."""
    first = replied(ordered("a@x.example", "b@x.example"), {"a@x.example": TAKEN, "b@x.example": LATER})
    assert first.open_recipients == ["b@x.example"]
    second = replied(first, {"b@x.example": NEVER})
    assert second.state is DeliveryState.SENT
    assert states(second) == [ACCEPTED, REJECTED]


@pytest.mark.parametrize("files_copy", [True, False])
def test_copy_is_due_when_sent(files_copy: bool) -> None:
    """Where the protocol keeps mail, a sent message has still to be filed."""
    after = replied(ordered("a@x.example"), {"a@x.example": TAKEN}, files_copy=files_copy)
    assert after.copy_due is files_copy


@pytest.mark.parametrize("reply", [LATER, NEVER])
def test_no_copy_of_what_is_not_sent(reply: Reply) -> None:
    """A message that nobody got is not filed."""
    assert not replied(ordered("a@x.example"), {"a@x.example": reply}, files_copy=True).copy_due


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unreachable, Untrusted, Insecure, Deferred, Unavailable])
def test_temporary_error(error: type[GatewayError]) -> None:
    """After a temporary error everybody waits for the next attempt, with the reason."""
    after = after_error(ordered("a@x.example"), error("No answer."), patience(), files_copy=True)
    assert (after.state, after.due_at, after.last_error) == (DeliveryState.QUEUED, NOW + MINUTE, "No answer.")
    assert after.open_recipients == ["a@x.example"]


@pytest.mark.parametrize("error", [Refused, SignInRefused, HostRefused, Invalid])
def test_permanent_error(error: type[GatewayError]) -> None:
    """After a permanent error everybody is refused, with the reason."""
    after = after_error(ordered("a@x.example"), error("Not for you."), patience(), files_copy=True)
    assert (after.state, after.due_at, after.last_error) == (DeliveryState.FAILED, None, "Not for you.")
    assert states(after) == [REJECTED]
    assert not after.copy_due


def test_error_keeps_the_reply_of_the_server() -> None:
    """Where a server's reply is behind the error, every recipient gets its code and its words."""
    error = Refused("smtp.example.org refused it.", code=552, reply="5.3.4 Too big")
    after = after_error(ordered("a@x.example"), error, patience(), files_copy=False)
    assert after.recipients == (Recipient("a@x.example", REJECTED, 552, "5.3.4 Too big"),)
    assert after.last_error == "smtp.example.org refused it."


def test_error_without_reply_is_told_in_our_words() -> None:
    """Where no server replied, the recipients get the reason."""
    after = after_error(ordered("a@x.example"), Unreachable("No answer."), patience(), files_copy=False)
    assert after.recipients == (Recipient("a@x.example", QUEUED, None, "No answer."),)


@pytest.mark.parametrize("files_copy", [True, False])
def test_permanent_error_after_partial_acceptance(files_copy: bool) -> None:
    """What some recipients have got is sent, whatever becomes of the others, and it is filed."""
    first = replied(ordered("a@x.example", "b@x.example"), {"a@x.example": TAKEN, "b@x.example": LATER})
    after = after_error(first, SignInRefused("Wrong password."), patience(), files_copy=files_copy)
    assert (after.state, after.last_error, after.copy_due) == (DeliveryState.SENT, None, files_copy)
    assert states(after) == [ACCEPTED, REJECTED]


# -- giving up ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("send_at", [None, NOW - DAYS, NOW + DAYS])
@pytest.mark.parametrize(("early", "state"), [(timedelta(0), "queued"), (-timedelta(milliseconds=1), "failed")])
def test_gives_up(send_at: datetime | None, early: timedelta, state: str) -> None:
    """An order is given up when the next attempt would come too late, counted from when it was to be sent."""
    started = max(NOW, send_at or NOW)
    delivery = replace(order(["a@x.example"], NOW, send_at), state=DeliveryState.SENDING)
    at_last = patience(started + DAYS - MINUTE - early)
    by_reply = after_replies(delivery, {"a@x.example": LATER}, at_last, files_copy=False)
    by_error = after_error(delivery, Unreachable("No answer."), at_last, files_copy=False)
    assert (by_reply.state, by_error.state) == (state, state)


def test_given_up_tells_the_last_answer() -> None:
    """A recipient given up is refused, with what the server said last; the others stay as they are."""
    delivery = replied(
        ordered("a@x.example", "b@x.example", "c@x.example"), {"a@x.example": TAKEN, "b@x.example": NEVER}
    )
    after = after_replies(delivery, {"c@x.example": LATER}, patience(NOW + DAYS), files_copy=True)
    assert (after.state, after.due_at, after.last_error, after.copy_due) == (DeliveryState.SENT, None, None, True)
    assert after.recipients[:2] == delivery.recipients[:2]
    assert after.recipients[2] == Recipient(
        "c@x.example", REJECTED, 451, "Given up: no server took it in time. Last answer: 4.7.1 Greylisted"
    )


def test_given_up_without_an_answer() -> None:
    """Where no server ever said anything, the order says so."""
    after = after_replies(ordered("a@x.example"), {}, patience(NOW + DAYS), files_copy=False)
    assert after.state is DeliveryState.FAILED
    assert after.last_error == "a@x.example: Given up: no server took it in time. Last answer: none"


# -- the sent copy -----------------------------------------------------------------------------------------------


def sent() -> Delivery:
    return replied(
        ordered("a@x.example", "b@x.example"), {"a@x.example": TAKEN, "b@x.example": NEVER}, files_copy=True
    )


def test_copy_filed() -> None:
    """When the copy is filed nothing is left to do, and an earlier failure is forgotten."""
    failed = copy_failed(sent(), Unreachable("No answer."), patience())
    after = copy_filed(failed)
    assert (after.state, after.copy_due, after.due_at, after.last_error) == (DeliveryState.SENT, False, None, None)
    assert after.recipients == sent().recipients


@pytest.mark.parametrize("error", [Unreachable("No answer."), Refused("No such folder.")])
def test_copy_failed(error: GatewayError) -> None:
    """A message whose copy could not be filed stays sent; the failure is told, and filing is tried again."""
    after = copy_failed(sent(), error, patience())
    assert (after.state, after.copy_due, after.due_at) == (DeliveryState.SENT, True, NOW + MINUTE)
    assert after.last_error == f"Sent, but no copy could be put into the Sent folder: {error}"
    assert after.recipients == sent().recipients


def test_copy_given_up() -> None:
    """Filing is given up like sending, and the failure stays to be seen."""
    after = copy_failed(sent(), Unreachable("No answer."), patience(NOW + DAYS))
    assert (after.state, after.copy_due, after.due_at) == (DeliveryState.SENT, False, None)
    assert "No answer." in (after.last_error or "")


# -- any course of things ----------------------------------------------------------------------------------------

ADDRESSES = ["a@x.example", "b@x.example", "c@x.example"]

attempts = st.one_of(
    st.dictionaries(
        st.sampled_from([*ADDRESSES, "other@x.example"]),
        st.builds(Reply, st.sampled_from([250, 354, 421, 451, 550, 554]), st.text(max_size=5)),
    ),
    st.sampled_from([Unreachable("No answer."), Refused("No.", code=554, reply="No"), SignInRefused("Who?")]),
)


def attempted(delivery: Delivery, attempt: Mapping[str, Reply] | GatewayError, waits: Patience) -> Delivery:
    if isinstance(attempt, GatewayError):
        return after_error(delivery, attempt, waits, files_copy=True)
    return after_replies(delivery, attempt, waits, files_copy=True)


@given(
    st.lists(st.sampled_from(ADDRESSES), min_size=1, unique=True),
    st.lists(st.tuples(attempts, st.timedeltas(timedelta(0), timedelta(days=2))), max_size=8),
)
def test_any_course(
    addresses: list[str], course: list[tuple[Mapping[str, Reply] | GatewayError, timedelta]]
) -> None:
    """Who is decided on stays so, and the order's state is always that of its recipients."""
    delivery, now = ordered(*addresses), NOW
    for attempt, later in course:
        now += later
        after = attempted(delivery, attempt, patience(now))
        assert [recipient.address for recipient in after.recipients] == addresses
        for old, new in zip(delivery.recipients, after.recipients, strict=True):
            assert new == old or old.state is QUEUED
        assert_consistent(after, now)
        delivery = after


def assert_consistent(delivery: Delivery, now: datetime) -> None:
    found = set(states(delivery))
    if QUEUED in found:
        assert delivery.state is DeliveryState.QUEUED
        assert delivery.due_at == now + MINUTE
        assert delivery.last_error
    elif ACCEPTED in found:
        assert delivery.state is DeliveryState.SENT
        assert (delivery.last_error, delivery.due_at) == (None, None)
    else:
        assert delivery.state is DeliveryState.FAILED
        assert delivery.due_at is None
        assert delivery.last_error
    assert delivery.copy_due is (delivery.state is DeliveryState.SENT)


@given(st.lists(attempts, min_size=10, max_size=10))
def test_every_order_ends(course: list[Mapping[str, Reply] | GatewayError]) -> None:
    """However the attempts go, in the end the message is sent or it is a draft again."""
    delivery, now = ordered(*ADDRESSES), NOW
    for attempt in course:
        now += timedelta(hours=13)
        delivery = attempted(delivery, attempt, patience(now))
    assert delivery.state in (DeliveryState.SENT, DeliveryState.FAILED)
    assert delivery.open_recipients == []


def test_got_through() -> None:
    """An attempt that was cut off and got through brought the message to all who were left, with nothing to do."""
    before = replied(ordered("a@x.example", "b@x.example"), {"b@x.example": NEVER})
    after = got_through(replace(before, state=DeliveryState.SENDING), NOW)
    assert (after.state, after.due_at, after.last_error, after.copy_due) == (DeliveryState.SENT, None, None, False)
    assert [(r.state, r.smtp_code) for r in after.recipients] == [(ACCEPTED, None), (REJECTED, 550)]


# -- attempts that were cut off ----------------------------------------------------------------------------------

GOOD, LATE, NO = "good@x.example", "later@x.example", "never@x.example"
CUT = Unanswered("Cut off.")


def begun(delivery: Delivery, replies: Mapping[str, Reply]) -> Delivery:
    """Return what is stored when the message itself goes out."""
    return before_data(replace(delivery, state=DeliveryState.SENDING), replies)


def failed(delivery: Delivery, error: GatewayError) -> Delivery:
    return after_error(delivery, error, patience(), files_copy=True)


def cut() -> Delivery:
    """Return an order of which one recipient was taken, one put off, one refused, before the answer was lost."""
    return failed(begun(ordered(GOOD, LATE, NO), {GOOD: TAKEN, LATE: LATER, NO: NEVER}), CUT)


def test_nothing_to_note_before_the_data() -> None:
    """Where the server takes everybody there is nothing to be known before its answer."""
    delivery = ordered(GOOD, LATE)
    assert begun(delivery, {GOOD: TAKEN, LATE: TAKEN}) == delivery


def test_refusals_outlive_a_cut() -> None:
    """Who was refused stays so, and who was put off keeps the server's words, whatever became of the others."""
    after = cut()
    assert (after.state, after.in_doubt, after.last_error) == (DeliveryState.QUEUED, True, "Cut off.")
    assert after.recipients == (
        Recipient(GOOD, QUEUED, None, "Cut off."),
        Recipient(LATE, QUEUED, 451, "4.7.1 Greylisted", deferred=True),
        Recipient(NO, REJECTED, 550, "5.1.1 No such user"),
    )


def test_sent_tells_of_those_who_were_taken() -> None:
    """That a message is in Sent tells nothing of who was refused or put off; the latter is tried again, at once."""
    after = got_through(cut(), NOW)
    assert (after.state, after.due_at, after.in_doubt) == (DeliveryState.QUEUED, NOW, False)
    assert states(after) == [ACCEPTED, QUEUED, REJECTED]
    assert after.last_error == f"{LATE}: 451 4.7.1 Greylisted"
    assert not after.recipients[1].deferred
    assert states(replied(after, {LATE: TAKEN})) == [ACCEPTED, ACCEPTED, REJECTED]


@pytest.mark.parametrize("error", [Unreachable("Away."), Deferred("Busy.", code=421), Unavailable("Ours."), CUT])
def test_a_doubt_outlives_failures(error: GatewayError) -> None:
    """An attempt that failed tells nothing of the one before, nor of whom it had put off."""
    after = failed(cut(), error)
    assert after.in_doubt
    assert states(got_through(after, NOW)) == [ACCEPTED, QUEUED, REJECTED]


def test_a_doubt_outlives_a_later() -> None:
    """Who may have got the message still may when the server puts him off; who certainly has not stays apart."""
    after = replied(begun(cut(), {GOOD: LATER, LATE: LATER}), {GOOD: LATER, LATE: LATER})
    assert after.in_doubt
    assert [recipient.deferred for recipient in after.recipients] == [False, True, False]


def test_a_doubt_is_told() -> None:
    """Where nobody will know any more, whoever may have got the message is told apart from who has not."""
    refused = failed(cut(), Refused("The identity is deleted."))
    given_up = after_error(cut(), Unreachable("Away."), patience(NOW + 2 * DAYS), files_copy=False)
    perhaps = "An attempt was cut off, and may have got through. "
    for after in (refused, given_up):
        assert (after.state, states(after)) == (DeliveryState.FAILED, [REJECTED] * 3)
        assert [(r.smtp_reply or "").startswith(perhaps) for r in after.recipients] == [True, False, False]
    assert refused.last_error == f"{perhaps}The identity is deleted."


@pytest.mark.parametrize("reply", [TAKEN, NEVER])
def test_a_doubt_ends_with_an_answer(reply: Reply) -> None:
    """When the server has decided on those who may have got it, nothing is in doubt."""
    after = replied(cut(), {GOOD: reply, LATE: LATER})
    assert (after.in_doubt, after.open_recipients) == (False, [LATE])
    assert not any(recipient.deferred for recipient in after.recipients)


def test_a_second_cut() -> None:
    """Who was put off before and is taken now may have got it too."""
    again = begun(cut(), {GOOD: TAKEN, LATE: TAKEN})
    assert states(got_through(failed(again, CUT), NOW)) == [ACCEPTED, ACCEPTED, REJECTED]


def test_a_cut_without_a_doubt_before() -> None:
    """Where Sent has told that the attempt before failed, only those who are taken now may have the message."""
    again = begun(replace(cut(), in_doubt=False), {GOOD: LATER, LATE: TAKEN})
    assert states(got_through(failed(again, CUT), NOW)) == [QUEUED, ACCEPTED, REJECTED]


def test_a_doubt_that_is_given_up() -> None:
    """An order in doubt is given up in the end, as any other."""
    after = after_error(cut(), Unreachable("Away."), patience(NOW + DAYS), files_copy=True)
    assert (after.state, states(after)) == (DeliveryState.FAILED, [REJECTED] * 3)
