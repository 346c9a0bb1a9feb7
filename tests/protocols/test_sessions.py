"""SMTP sessions that are kept for the next message: who gets them, when they end, how many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery import Reply
from gateway.errors import Deferred, RemoteError, Unreachable
from gateway.identity import Endpoint, SignIn, TLSMode
from protocols.session import Answer, take_reply
from protocols.smtp import SmtpAdapter
from tests.conftest import FRIEND
from tests.protocols.conftest import Reach, at
from tests.protocols.scripted import Peer, Scripted, Step, close, hang, hear, hear_message, reached, reset, say
from tests.protocols.smtp_dialogue import CLEAR, MESSAGE, clear, envelope, offered, submitter

pytestmark = pytest.mark.usefixtures("nothing_left")

ACCEPTED = {FRIEND.address: Reply(250, "accepted")}
LETTER = [step for stage in ("MAIL", "RCPT", "DATA", "final dot") for step in CLEAR[stage]]
START = [step for stage in ("greeting", "EHLO after TLS", "AUTH") for step in CLEAR[stage]]
GOODBYE = CLEAR["QUIT"]
PIPELINING = [hear("EHLO"), say("250-here", "250-PIPELINING", "250-SIZE", "250 AUTH PLAIN")]


def pipelined(*steps: Step) -> list[Step]:
    """Return a session with PIPELINING up to its first transaction, and what happens then."""
    return [*CLEAR["greeting"], *PIPELINING, *CLEAR["AUTH"], *steps]


async def test_kept_for_the_next_message(reach: Reach) -> None:
    """Messages of one account go in one session, which is left at the end."""
    async with Scripted([*START, *LETTER, *LETTER, *GOODBYE]) as server:
        async with submitter(reach, server.port) as adapter:
            for _ in range(2):
                assert await offered(adapter, at(server.port)) == ACCEPTED
        assert server.heard[-1] == "QUIT"
    assert (server.connections, len(server.messages)) == (1, 2)


@pytest.mark.parametrize("other", [SignIn("me@elsewhere.example", "changed"), SignIn("you@elsewhere.example", "x")])
async def test_not_for_other_credentials(reach: Reach, other: SignIn) -> None:
    """Another password or account never gets a session that was signed in before."""
    async with Scripted(clear()) as server, submitter(reach, server.port) as adapter:
        await offered(adapter, at(server.port))
        await offered(adapter, at(server.port, sign_in=other))
    assert server.connections == 2


@pytest.mark.parametrize("end", [close, reset], ids=["close", "reset"])
@pytest.mark.parametrize("said", [[], [say("421 idle")], [hear("MAIL|QUIT"), say("421 idle")], [hear("MAIL|QUIT")]])
async def test_session_that_has_ended(reach: Reach, said: Sequence[Step], end: Step) -> None:
    """A kept session that the server has ended, noticed or not, is replaced, and the message goes out once."""
    async with Scripted([*START, *LETTER, *said, end]) as server, submitter(reach, server.port) as adapter:
        for _ in range(3):
            assert await offered(adapter, at(server.port)) == ACCEPTED
    assert len(server.messages) == server.connections == 3


async def test_not_again_after_mail(reach: Reach) -> None:
    """A kept session that is lost when the server has begun to take the message is not replaced: it may have it."""
    lost = [*START, *LETTER, *CLEAR["MAIL"], *CLEAR["RCPT"], *CLEAR["DATA"], hear_message, close]
    async with Scripted(lost) as server, submitter(reach, server.port) as adapter:
        await offered(adapter, at(server.port))
        with pytest.raises(Unreachable):
            await offered(adapter, at(server.port))
    assert server.connections == 1


async def test_a_new_session_is_not_tried_twice(reach: Reach) -> None:
    """421 in a new session is Deferred, after one attempt."""
    busy = [*START, hear("MAIL"), say("421 busy"), close]
    async with Scripted(busy) as server, submitter(reach, server.port) as adapter:
        with pytest.raises(Deferred):
            await offered(adapter, at(server.port))
    assert server.connections == 1


async def test_reset_after_an_unfinished_transaction(reach: Reach) -> None:
    """What was refused for all is forgotten by RSET before the next message (RFC 5321 §4.1.1.5)."""
    refused = [*CLEAR["MAIL"], hear("RCPT"), say("550 no")]
    dialogue = [*START, *refused, hear("RSET$"), say("250 OK"), *LETTER, *GOODBYE]
    async with Scripted(dialogue) as server, submitter(reach, server.port) as adapter:
        assert (await offered(adapter, at(server.port)))[FRIEND.address].code == 550
        assert await offered(adapter, at(server.port)) == ACCEPTED
    assert server.connections == 1


async def test_bounds(reach: Reach) -> None:
    """To one host there are never more connections than allowed, idle ones included; who waits gets his turn."""
    open_now = most = 0

    async def count(_: Peer) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)

    async def leave(_: Peer) -> None:
        nonlocal open_now
        open_now -= 1

    dialogue = [count, *START, *LETTER, hear("QUIT"), leave, say("221 bye")]
    accounts = [at(0, sign_in=SignIn(f"user{number}", "x")) for number in range(9)]
    async with Scripted(dialogue) as server, submitter(reach, server.port, per_host=2) as adapter:
        endpoints = [Endpoint(a.host, server.port, TLSMode.NONE, a.sign_in) for a in accounts]
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(offered(adapter, e) for e in endpoints))
    assert answers == [ACCEPTED] * len(accounts)
    assert most == 2


async def test_a_hanging_host_holds_up_no_other(reach: Reach) -> None:
    """While all connections to one host hang, another is served."""
    async with Scripted([reached, hang]) as hanging, Scripted(clear()) as quick:
        network = reach(hanging.port, quick.port)
        adapter = SmtpAdapter(network, "gateway.example", per_host=1, in_all=2)
        stuck = [asyncio.create_task(offered(adapter, at(hanging.port))) for _ in range(3)]
        await hanging.reached.wait()
        assert await offered(adapter, at(quick.port)) == ACCEPTED
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await adapter.close()


# -- PIPELINING (RFC 2920) ---------------------------------------------------------------------------------------


async def test_pipelined(reach: Reach) -> None:
    """MAIL, RCPT and DATA go at once where the server offers it; the replies are read in their order."""
    group = [hear("MAIL"), hear("RCPT"), hear("RCPT"), hear("DATA$"), say("250 OK", "550 no", "250 OK", "354 go")]
    dialogue = pipelined(*group, hear_message, say("250 accepted"), *GOODBYE)
    async with Scripted(dialogue) as server, submitter(reach, server.port) as adapter:
        to = envelope("no@elsewhere.example", FRIEND.address)
        answers = await offered(adapter, at(server.port), to)
    assert answers == {"no@elsewhere.example": Reply(550, "no"), **ACCEPTED}
    assert server.messages == [MESSAGE]


async def test_pipelined_for_nobody(reach: Reach) -> None:
    """A go-ahead for data that no recipient may get is answered by an empty message (RFC 2920 §3.1)."""
    group = [hear("MAIL"), hear("RCPT"), hear("DATA$"), say("250 OK", "550 no", "354 go")]
    dialogue = pipelined(*group, hear(r"\.$"), say("554 nobody"), hear("RSET$"), hear("MAIL"))
    dialogue += [hear("RCPT"), hear("DATA"), say("250 reset", "250 OK", "250 OK", "354 go"), hear_message]
    dialogue += [say("250 accepted"), *GOODBYE]
    async with Scripted(dialogue) as server, submitter(reach, server.port) as adapter:
        assert (await offered(adapter, at(server.port)))[FRIEND.address].code == 550
        assert await offered(adapter, at(server.port)) == ACCEPTED


@pytest.mark.parametrize("replies", ["250 OK/250 OK/421 closing", "250 OK/what/354 go", "554 no/503 no/354 go"])
async def test_no_data_after_a_fault_in_a_group(reach: Reach, replies: str) -> None:
    """Where a reply of the group speaks of the whole session, no data goes out, not even none."""
    group = [hear("MAIL"), hear("RCPT"), hear("RCPT"), hear("DATA"), say(*replies.split("/")), say("354 go"), hang]
    async with Scripted(pipelined(*group)) as server, submitter(reach, server.port) as adapter:
        with pytest.raises(RemoteError):
            await offered(adapter, at(server.port), envelope("a@x.example", "b@x.example"))
    assert "." not in server.heard
    assert server.messages == []


# -- replies -----------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=20).map(str.strip)
REPLIES = st.tuples(st.integers(200, 599), st.lists(TEXTS, min_size=1, max_size=4))


@given(st.lists(REPLIES, max_size=5), st.data())
def test_replies_in_any_pieces(replies: list[tuple[int, list[str]]], data: st.DataObject) -> None:
    """However replies are cut into pieces, the same come out."""
    wire = b""
    for code, texts in replies:
        lines = [f"{code}-{text}" for text in texts[:-1]] + [f"{code} {texts[-1]}"]
        wire += "".join(f"{line}\r\n" for line in lines).encode()
    buffer, found = bytearray(), []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        buffer += wire[:size]
        wire = wire[size:]
        while answer := take_reply(buffer, at(25)):
            found.append(answer)
    assert found == [Answer(code, "\n".join(texts)) for code, texts in replies]
    assert not buffer


@given(st.binary(max_size=300))
def test_any_bytes_as_replies(wire: bytes) -> None:
    """Any bytes are replies, the beginning of one, or RemoteError."""
    buffer = bytearray(wire)
    try:
        while answer := take_reply(buffer, at(25)):
            assert 0 <= answer.code <= 999
    except RemoteError as error:
        text = str(error)
        assert text.isprintable()
