"""SMTP submission to servers that do what none should, at every stage of a session."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.delivery import Reply
from gateway.errors import Deferred, Insecure, Refused, RemoteError, SignInRefused, Unanswered, Unreachable
from gateway.identity import TLSMode
from tests.conftest import FRIEND
from tests.protocols.conftest import PASSWORD, Reach, at
from tests.protocols.scripted import (
    GARBAGE,
    Peer,
    Scripted,
    Step,
    close,
    drip,
    flood,
    hang,
    hear,
    reached,
    reset,
    say,
    send,
    stall,
)
from tests.protocols.smtp_dialogue import (
    CLEAR,
    MESSAGE,
    STAGES,
    clear,
    envelope,
    session,
    submit,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
async def faulty(server_tls: ssl.SSLContext, reach: Reach) -> Faulty:
    return Faulty(server_tls, reach)


class Faulty:
    """Submits to a server that goes wrong at some stage."""

    def __init__(self, tls: ssl.SSLContext, reach: Reach) -> None:
        self._tls = tls
        self._reach = reach

    async def error(self, stage: str, *then: Step, timeout_s: float = 5.0) -> RemoteError:
        """Return the error of a session in which that happens; the server has seen it closed, once."""
        async with Scripted(session(stage, *then), self._tls) as server:
            with pytest.raises(RemoteError) as caught:
                await submit(self._reach, at(server.port, TLSMode.STARTTLS), timeout_s=timeout_s)
            assert server.reached.is_set()
        assert server.connections == 1
        assert len([line for line in server.heard if line.startswith("AUTH")]) <= 1
        assert PASSWORD not in str(caught.value)
        return caught.value


def lost_at(stage: str) -> type[Unreachable]:
    """Return what a lost answer is: nobody knows whether a server that has all has taken it (RFC 1047)."""
    return Unanswered if stage == "final dot" else Unreachable


@pytest.mark.parametrize("fault", [close, reset], ids=["close", "reset"])
@pytest.mark.parametrize("stage", STAGES)
async def test_lost_connection(faulty: Faulty, stage: str, fault: Step) -> None:
    """A connection that ends at any stage is Unreachable, temporary; when the server has all, Unanswered."""
    error = await faulty.error(stage, fault)
    assert type(error) is lost_at(stage)
    assert error.temporary


@pytest.mark.parametrize("fault", [hang, drip(b"250-more of the same\r\n")], ids=["hang", "drip"])
@pytest.mark.parametrize("stage", STAGES)
async def test_slow_server(faulty: Faulty, stage: str, fault: Step) -> None:
    """A server that says nothing, or a byte now and then, is Unreachable when the time-out has passed."""
    error = await faulty.error(stage, fault, timeout_s=0.15)
    assert type(error) is lost_at(stage)
    assert error.temporary
    assert "in time" in str(error) or (stage == "handshake" and "No TLS connection" in str(error))


@pytest.mark.parametrize(
    "fault",
    [send(GARBAGE), say("", "", ""), say("+OK POP3 ready"), send(b"250-x\r\n" * 10_000), flood(b"x" * 1000)],
    ids=["garbage", "empty lines", "POP3", "endless reply", "endless line"],
)
@pytest.mark.parametrize("stage", STAGES)
async def test_no_smtp(faulty: Faulty, stage: str, fault: Step) -> None:
    """What is no reply, or no end of one, decides nothing: Unreachable, temporary, with printable text."""
    error = await faulty.error(stage, fault, hang)
    assert type(error) is lost_at(stage)
    assert error.temporary
    assert str(error).isprintable()


@pytest.mark.parametrize("stage", [s for s in STAGES if s not in ("handshake", "final dot", "DATA")])
async def test_service_closing(faulty: Faulty, stage: str) -> None:
    """421 at any stage is Deferred, with its text (RFC 5321 §3.8)."""
    error = await faulty.error(stage, say("421-4.3.2 we are", "421 closing"), close)
    assert type(error) is Deferred
    assert (error.code, error.reply, error.temporary) == (421, "4.3.2 we are closing", True)


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("greeting", Refused),
        ("EHLO", Refused),
        ("STARTTLS", Insecure),
        ("EHLO after TLS", Refused),
        ("AUTH", SignInRefused),
        ("MAIL", Refused),
    ],
)
async def test_permanent_refusal(faulty: Faulty, stage: str, kind: type[RemoteError]) -> None:
    """5yz refuses for good; at AUTH the credentials, and at STARTTLS, where anybody can say it, nothing."""
    error = await faulty.error(stage, say("554 5.7.1 no"), hear("QUIT$"), say("221 bye"), close)
    assert type(error) is kind
    assert error.temporary is (kind is Insecure)


@pytest.mark.parametrize("stage", ["STARTTLS", "AUTH"])
async def test_temporary_refusal(faulty: Faulty, stage: str) -> None:
    """454 to STARTTLS or AUTH is the server's trouble (RFC 3207 §4, RFC 4954 §6): Deferred."""
    error = await faulty.error(stage, say("454 4.7.0 not now"), hear("QUIT$"), say("221 bye"), close)
    assert type(error) is Deferred
    assert error.code == 454


@pytest.mark.parametrize("stage", ["EHLO", "AUTH", "MAIL", "RCPT", "DATA"])
async def test_reply_out_of_turn(faulty: Faulty, stage: str) -> None:
    """A positive reply that the command cannot have accepts nothing: Unreachable, temporary."""
    error = await faulty.error(stage, say("354 go ahead" if stage != "DATA" else "250 accepted"), hang)
    assert type(error) is Unreachable
    assert error.temporary


@pytest.mark.parametrize("stage", ["DATA", "final dot"])
@pytest.mark.parametrize("reply", ["421 closing", "452 disk full", "554 5.7.1 spam"])
async def test_refused_message(reach: Reach, server_tls: ssl.SSLContext, stage: str, reply: str) -> None:
    """A refusal of the message itself is the answer for all who were accepted, 421 included."""
    async with Scripted(session(stage, say(reply)), server_tls) as server:
        replies = await submit(reach, at(server.port, TLSMode.STARTTLS))
    code, _, text = reply.partition(" ")
    assert replies == {FRIEND.address: Reply(int(code), text)}


@pytest.mark.parametrize("goodbye", [close, reset, hang, send(GARBAGE), say("500 what?")])
async def test_a_bad_goodbye_changes_nothing(reach: Reach, goodbye: Step) -> None:
    """Whatever happens at QUIT, the message is accepted."""
    async with Scripted(clear(QUIT=[hear("QUIT"), goodbye])) as server:
        replies = await submit(reach, at(server.port), timeout_s=0.5)
    assert replies == {FRIEND.address: Reply(250, "accepted")}
    assert server.messages == [MESSAGE]


async def test_the_answer_waits_for_no_goodbye(reach: Reach) -> None:
    """What a server said of a message is known before it answers QUIT, and the connection is closed after that."""
    async with Scripted(clear(QUIT=[hear("QUIT"), stall, say("221 bye")])) as server:
        async with asyncio.timeout(1):  # the goodbye alone would get 2 seconds
            replies = await submit(reach, at(server.port), timeout_s=60)
        assert replies == {FRIEND.address: Reply(250, "accepted")}
        server.resume.set()


@pytest.mark.parametrize("stage", STAGES)
async def test_cancellation(reach: Reach, server_tls: ssl.SSLContext, stage: str) -> None:
    """A submission that is canceled at any stage ends at once and leaves no connection behind."""
    async with Scripted(session(stage, hang), server_tls) as server:
        task = asyncio.create_task(submit(reach, at(server.port, TLSMode.STARTTLS)))
        await server.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("stage", ["greeting", "EHLO after TLS", "AUTH", "MAIL", "RCPT"])
async def test_cancellation_that_comes_with_a_reply(reach: Reach, stage: str) -> None:
    """A cancellation in the very moment of a reply is not lost, as it would be in Python 3.11."""
    dialogue = clear(**{stage: [*CLEAR[stage], reached, hang]})
    async with Scripted(dialogue) as server:
        task = asyncio.create_task(submit(reach, at(server.port)))
        await server.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cancellation_amid_implicit_tls(reach: Reach) -> None:
    """A submission that is canceled while TLS is negotiated leaves no connection behind."""
    async with Scripted([reached, hang]) as server:
        task = asyncio.create_task(submit(reach, at(server.port, TLSMode.IMPLICIT)))
        await server.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("fault", [hang, close, reset, drip(b"\x16\x03\x03"), send(GARBAGE)])
async def test_implicit_tls_with_a_faulty_server(reach: Reach, fault: Step) -> None:
    """A TLS handshake that fails, or does not end, is Unreachable."""
    async with Scripted([fault]) as server:
        with pytest.raises(Unreachable):
            await submit(reach, at(server.port, TLSMode.IMPLICIT), timeout_s=0.15)


async def test_slow_recipients(reach: Reach) -> None:
    """A server that takes almost the time-out for each of many recipients does not hold a session for ever."""

    async def slow(peer: Peer) -> None:
        while True:
            await peer.line()
            await asyncio.sleep(0.08)
            await peer.write(b"250 OK\r\n")

    recipients = [f"r{number}@elsewhere.example" for number in range(1000)]
    async with Scripted(clear(RCPT=[slow])) as server:
        with pytest.raises(Unreachable, match="in time"):
            await submit(reach, at(server.port), envelope(*recipients), timeout_s=0.15)
    assert len(server.heard) < 100


@pytest.mark.parametrize("implicit", [False, True], ids=["plain", "TLS"])
async def test_a_server_that_does_not_read(reach: Reach, server_tls: ssl.SSLContext, implicit: bool) -> None:
    """A message that a server does not read is given up, and the connection with it: the rest is not sent."""
    size = 30 * 1024 * 1024
    line = b"x" * 1022 + b"\r\n"
    dialogue = clear(**{"final dot": [reached, stall]})
    async with Scripted(dialogue, server_tls, implicit=implicit) as server:
        tls = TLSMode.IMPLICIT if implicit else TLSMode.NONE
        with pytest.raises(Unreachable, match="in time"):
            await submit(reach, at(server.port, tls), data=line * (size // 1024), timeout_s=0.15)
        assert server.reached.is_set()
        server.resume.set()
    assert server.unread < size


FRAGMENTS = st.sampled_from(
    [b"220 ready\r\n", b"250 OK\r\n", b"250-more\r\n", b"354 go\r\n", b"421 bye\r\n", b"550 no\r\n", b"\r\n", b"-1"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(FRAGMENTS | st.binary(max_size=50), max_size=12))
async def test_any_bytes_as_session(reach: Reach, pieces: list[bytes]) -> None:
    """Whatever a server answers, a session ends, with an answer for every recipient or a RemoteError."""

    async def answer(peer: Peer) -> None:
        for piece in pieces:
            await peer.write(piece)
            if piece.endswith(b"\r\n"):
                await peer.line()

    async with Scripted([answer]) as server:
        with suppress(RemoteError):
            replies = await submit(reach, at(server.port, sign_in=None), timeout_s=0.1)
            assert set(replies) == {FRIEND.address}
