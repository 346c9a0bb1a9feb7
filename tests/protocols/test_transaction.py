"""SMTP transactions: what is known before the message itself goes out, and how it goes."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery import Reply
from gateway.errors import NotFound, Unanswered, Unavailable, Unreachable
from gateway.identity import TLSMode
from protocols.sessions import IDLE_S
from protocols.transaction import Transparency
from tests.conftest import FRIEND
from tests.content import MIB, Large, content, let_go
from tests.protocols.conftest import Reach, at
from tests.protocols.scripted import Peer, Scripted, Step, close, hang, hear, interrupted, say, stall
from tests.protocols.smtp_dialogue import CLEAR, MESSAGE, clear, envelope, submitter

pytestmark = pytest.mark.usefixtures("nothing_left")

OTHER, NOBODY = "later@elsewhere.example", "never@elsewhere.example"
VERDICTS = [hear("RCPT"), say("250 OK"), hear("RCPT"), say("451 later"), hear("RCPT"), say("550 never")]
PIPELINING = [hear("EHLO"), say("250-here", "250-PIPELINING", "250-SIZE", "250 AUTH PLAIN")]


class Known(Exception):
    """Somebody could not note what the server said."""


# -- before the data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extensions", [CLEAR["EHLO after TLS"], PIPELINING], ids=["one by one", "pipelined"])
@pytest.mark.parametrize("end", [[say("250 accepted")], [close]], ids=["answered", "lost"])
async def test_verdicts_are_known_before_the_data(
    reach: Reach, extensions: Sequence[Step], end: Sequence[Step]
) -> None:
    """What the server says of each recipient is told before the message goes, so that no cut can take it away."""
    told: list[Mapping[str, Reply]] = []

    async def tell(replies: Mapping[str, Reply]) -> None:
        told.append(dict(replies))
        assert server.messages == []

    final = [CLEAR["final dot"][0], *end]
    changes: dict[str, Sequence[Step]] = {"EHLO after TLS": extensions, "RCPT": VERDICTS, "final dot": final}
    to = envelope(FRIEND.address, OTHER, NOBODY)
    async with Scripted(clear(**changes)) as server, submitter(reach, server.port) as adapter:
        try:
            await adapter.submit(at(server.port), to, content(MESSAGE), tell)
        except Unanswered:
            assert end == [close]
        else:
            assert end != [close]
    verdicts = {FRIEND.address: Reply(250, "OK"), OTHER: Reply(451, "later"), NOBODY: Reply(550, "never")}
    assert told == [verdicts]
    assert len(server.messages) == 1


@pytest.mark.parametrize("extensions", [CLEAR["EHLO after TLS"], PIPELINING], ids=["one by one", "pipelined"])
async def test_nothing_goes_unless_it_is_noted(reach: Reach, extensions: Sequence[Step]) -> None:
    """Where that cannot be noted the message does not go, and the session is closed."""

    async def fail(_: Mapping[str, Reply]) -> None:
        raise Known

    dialogue = clear(**{"EHLO after TLS": extensions, "DATA": [hang]})
    async with Scripted(dialogue) as server, submitter(reach, server.port) as adapter:
        with pytest.raises(Known):
            await adapter.submit(at(server.port), envelope(), content(MESSAGE), fail)
    assert server.messages == []


async def test_nothing_to_note_where_nobody_gets_it(reach: Reach) -> None:
    """Where the server takes no recipient, its answers are returned and nothing else."""

    async def fail(_: Mapping[str, Reply]) -> None:
        raise Known

    dialogue = clear(**{"RCPT": [hear("RCPT"), say("550 never")], "DATA": [], "final dot": []})
    async with Scripted(dialogue) as server, submitter(reach, server.port) as adapter:
        replies = await adapter.submit(at(server.port), envelope(), content(MESSAGE), fail)
    assert replies == {FRIEND.address: Reply(550, "never")}


# -- the data ----------------------------------------------------------------------------------------------------


def begun(*then: Step) -> list[Step]:
    """Return a session up to the data, and what the server does when they come."""
    return interrupted(CLEAR, "DATA", CLEAR["DATA"][-1], *then)


@pytest.mark.parametrize("tls", [TLSMode.NONE, TLSMode.IMPLICIT])
async def test_no_more_is_read_than_goes_out(reach: Reach, server_tls: ssl.SSLContext, tls: TLSMode) -> None:
    """Of a large message no more is read than the server takes: one that hangs holds a piece of it, not all."""
    large, implicit = Large(50), tls is TLSMode.IMPLICIT
    async with Scripted(begun(stall), server_tls, implicit=implicit) as server:
        async with submitter(reach, server.port, 0.15) as adapter:
            with pytest.raises(Unreachable, match="in time") as caught:
                await adapter.submit(at(server.port, tls), envelope(), large.content, let_go)
        server.resume.set()
    assert type(caught.value) is Unreachable  # it cannot have taken what it never had
    assert large.read < large.pieces


@pytest.mark.parametrize("error", [Unavailable("The database is away."), NotFound("It was removed.")])
async def test_a_message_that_cannot_be_read_on(reach: Reach, error: Exception) -> None:
    """A message of which a part is missing has no end: the server gets none of it, and the session is closed."""
    async with Scripted(begun(hang)) as server, submitter(reach, server.port) as adapter:
        with pytest.raises(type(error)):
            await adapter.submit(at(server.port), envelope(), Large(3, error).content, let_go)
    assert server.messages == []


@pytest.mark.parametrize("then", [hang, close], ids=["hang", "close"])
async def test_a_refusal_amid_the_data(reach: Reach, then: Step) -> None:
    """A server that refuses what it has not heard to its end is heard, and gets nothing more in that session."""

    async def read_some(peer: Peer) -> None:
        await peer.reader.readexactly(MIB)

    async def left(_: Peer) -> None:
        server.resume.set()

    large = Large(50)
    dialogue = begun(read_some, say("552 5.3.4 too big"), then, left)
    async with Scripted(dialogue) as server, submitter(reach, server.port, 0.5) as adapter:
        replies = await adapter.submit(at(server.port), envelope(), large.content, let_go)
        await asyncio.wait_for(server.resume.wait(), IDLE_S)
    assert replies == {FRIEND.address: Reply(552, "5.3.4 too big")}
    assert large.read < large.pieces


@pytest.mark.parametrize("answer", ["250 accepted", "354 go on"])
async def test_an_acceptance_amid_the_data(reach: Reach, answer: str) -> None:
    """A server that takes what it has not heard to its end makes no sense: nobody got it."""
    dialogue = begun(say(answer), hang)
    async with Scripted(dialogue) as server, submitter(reach, server.port) as adapter:
        with pytest.raises(Unreachable) as caught:
            await adapter.submit(at(server.port), envelope(), Large(50).content, let_go)
    assert type(caught.value) is Unreachable


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"b." * 3, b""]), max_size=30), st.data()
)
def test_lines(parts: list[bytes], data: st.DataObject) -> None:
    """However a message is cut into pieces, its lines come out whole, with dots doubled and one end."""
    raw = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    lines = Transparency()
    sent = b"".join(lines.of(raw[a:b]) for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)) + lines.end()
    body, end = sent[:-3], sent[-3:]
    assert end == b".\r\n"
    assert body == b"" or body.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + body
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", sent)
    whole = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    assert re.sub(rb"(?m)^\.", b"", body) == (whole if whole.endswith(b"\r\n") or not whole else whole + b"\r\n")
