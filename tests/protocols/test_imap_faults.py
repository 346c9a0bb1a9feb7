"""IMAP with servers that do what none should, at every stage of a session."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import (
    Deferred,
    Insecure,
    NotFound,
    Refused,
    RemoteError,
    SignInRefused,
    Unavailable,
    Unreachable,
    Untrusted,
)
from gateway.identity import TLSMode
from tests.content import MIB, Large
from tests.protocols.conftest import PASSWORD, Reach, at
from tests.protocols.imap_dialogue import (
    GOODBYE,
    GREETING,
    LOGIN,
    MESSAGE,
    STAGES,
    appended,
    file_sent,
    filing,
    listed,
    looked,
    probe,
    session,
)
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
    hear_something,
    reached,
    reset,
    say,
    send,
    stall,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
async def faulty(server_tls: ssl.SSLContext, reach: Reach) -> Faulty:
    return Faulty(server_tls, reach)


class Faulty:
    """Files a copy at a server that goes wrong at some stage."""

    def __init__(self, tls: ssl.SSLContext, reach: Reach) -> None:
        self._tls = tls
        self._reach = reach

    async def error(self, stage: str, *then: Step, timeout_s: float = 5.0) -> RemoteError:
        """Return the error of a session in which that happens; the server has seen it closed, once."""
        async with Scripted(session(stage, *then), self._tls) as server:
            with pytest.raises(RemoteError) as caught:
                await file_sent(self._reach, at(server.port, TLSMode.STARTTLS), timeout_s=timeout_s)
            assert server.reached.is_set()
        assert server.connections == 1
        assert len([line for line in server.heard if "AUTHENTICATE" in line or "LOGIN" in line]) <= 1
        assert PASSWORD not in str(caught.value)
        assert str(caught.value).isprintable()
        return caught.value


@pytest.mark.parametrize("fault", [close, reset], ids=["close", "reset"])
@pytest.mark.parametrize("stage", STAGES)
async def test_lost_connection(faulty: Faulty, stage: str, fault: Step) -> None:
    """A connection that ends at any stage is Unreachable, temporary."""
    error = await faulty.error(stage, fault)
    assert type(error) is Unreachable
    assert error.temporary


@pytest.mark.parametrize("fault", [hang, drip(b"* OK still here\r\n")], ids=["hang", "drip"])
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "greeting"])
async def test_slow_server(faulty: Faulty, stage: str, fault: Step) -> None:
    """A server that says nothing, or nothing to the point, is Unreachable when the time-out has passed."""
    error = await faulty.error(stage, fault, timeout_s=0.15)
    assert type(error) is Unreachable
    assert error.temporary
    assert "in time" in str(error) or stage == "handshake"


@pytest.mark.parametrize("fault", [hang, drip(b"* O")], ids=["hang", "drip"])
async def test_slow_greeting(faulty: Faulty, fault: Step) -> None:
    """A server whose greeting does not come to its end is Unreachable when the time-out has passed."""
    assert "in time" in str(await faulty.error("greeting", fault, timeout_s=0.15))


@pytest.mark.parametrize(
    "fault",
    [
        say("ABCD1 OK somebody else's tag"),
        flood(b"x" * 1000),
        flood(b"\n" * 1000),
        flood(b"* OK more of the same\r\n" * 1000),
        flood(b"\r\n" * 1000),
    ],
    ids=["other tag", "endless line", "bare LF", "endless lines", "empty lines"],
)
@pytest.mark.parametrize("stage", STAGES)
async def test_no_imap(faulty: Faulty, stage: str, fault: Step) -> None:
    """What no IMAP server says ends the session: Unreachable, temporary."""
    error = await faulty.error(stage, fault, hang)
    assert type(error) is Unreachable
    assert error.temporary


@pytest.mark.parametrize(
    "fault",
    [send(GARBAGE), say("HTTP/1.1 400 Bad Request", "", ""), say("* LIST () NIL {99999999999999999999}")],
    ids=["garbage", "HTTP", "huge literal"],
)
@pytest.mark.parametrize("stage", [stage for stage in STAGES if "APPEND" not in stage])
async def test_no_answer(faulty: Faulty, stage: str, fault: Step) -> None:
    """What answers nothing is as good as silence: Unreachable, temporary."""
    error = await faulty.error(stage, fault, hang, timeout_s=0.15)
    assert type(error) is Unreachable
    assert error.temporary


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "handshake"])
async def test_goodbye_of_the_server(faulty: Faulty, stage: str) -> None:
    """BYE at any stage is Deferred, with its text (RFC 3501 §7.1.5)."""
    error = await faulty.error(stage, say("* BYE [UNAVAILABLE] too\tbusy"), close)
    assert type(error) is Deferred
    assert error.reply == "[UNAVAILABLE] too busy"


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("CAPABILITY", Insecure),
        ("STARTTLS", Insecure),
        ("sign-in", SignInRefused),
        ("LIST", Refused),
        ("APPEND", Refused),
        ("end of APPEND", Refused),
    ],
)
async def test_refusal(faulty: Faulty, stage: str, kind: type[RemoteError]) -> None:
    """NO refuses for good; at STARTTLS, where anybody can say it, nothing."""
    error = await faulty.error(stage, say("{tag} NO [CANNOT] no"), *GOODBYE)
    assert type(error) is kind
    assert error.temporary is (kind is Insecure)


@pytest.mark.parametrize("text", ["[UNAVAILABLE] no", "[inuse] no", "[LIMIT] no", "[SERVERBUG] no"])
@pytest.mark.parametrize("stage", ["STARTTLS", "sign-in", "LIST", "APPEND", "end of APPEND"])
async def test_temporary_refusal(faulty: Faulty, stage: str, text: str) -> None:
    """Response codes that speak of the server's trouble (RFC 5530) are Deferred, also at the sign-in."""
    error = await faulty.error(stage, say(f"{{tag}} NO {text}"), *GOODBYE)
    assert type(error) is Deferred
    assert error.temporary
    assert "no" in str(error)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("NO [AUTHENTICATIONFAILED] no", SignInRefused),
        ("NO [AUTHORIZATIONFAILED] no", SignInRefused),
        ("NO [EXPIRED] no", SignInRefused),
        ("NO [CONTACTADMIN] no", SignInRefused),
        ("NO [ALERT] Application-specific password required", SignInRefused),
        ("NO [ALERT] Too many simultaneous connections. (Failure)", Deferred),
        ("NO [PRIVACYREQUIRED] no", Insecure),
        ("NO what about [LIMIT]?", SignInRefused),
        ("NO", SignInRefused),
        ("BAD what?", Refused),
    ],
)
async def test_refused_sign_in(faulty: Faulty, reply: str, kind: type[RemoteError]) -> None:
    """A refused sign-in blames the credentials unless its response code says otherwise."""
    error = await faulty.error("sign-in", say("{tag} " + reply), *GOODBYE)
    assert type(error) is kind


@pytest.mark.parametrize("goodbye", [close, reset, hang, send(GARBAGE), say("{tag} BAD what?")])
async def test_a_bad_goodbye_changes_nothing(reach: Reach, server_tls: ssl.SSLContext, goodbye: Step) -> None:
    """Whatever happens at LOGOUT, the copy is filed."""
    async with Scripted(session("LOGOUT", goodbye), server_tls) as server:
        assert await file_sent(reach, at(server.port, TLSMode.STARTTLS), timeout_s=0.5) == "Ausgang"
    assert server.messages == [MESSAGE]


async def test_the_answer_waits_for_no_goodbye(reach: Reach) -> None:
    """That a copy is filed is known before the server answers LOGOUT, and the connection is closed after that."""
    steps = [*listed(r'(\Sent) "/" Ausgang'), *looked("Ausgang"), *appended("Ausgang"), hear("LOGOUT"), stall]
    async with Scripted([*GREETING, *LOGIN, *steps]) as server:
        async with asyncio.timeout(1):  # the goodbye alone would get 2 seconds
            assert await file_sent(reach, at(server.port), timeout_s=60) == "Ausgang"
        server.resume.set()


@pytest.mark.parametrize("stage", STAGES)
async def test_cancellation(reach: Reach, server_tls: ssl.SSLContext, stage: str) -> None:
    """A session that is canceled at any stage ends at once and leaves no connection behind."""
    async with Scripted(session(stage, hang), server_tls) as server:
        task = asyncio.create_task(file_sent(reach, at(server.port, TLSMode.STARTTLS)))
        await server.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cancellation_amid_implicit_tls(reach: Reach) -> None:
    """A session that is canceled while TLS is negotiated leaves no connection behind."""
    async with Scripted([hear_something, reached, hang]) as server:
        task = asyncio.create_task(probe(reach, at(server.port, TLSMode.IMPLICIT)))
        await server.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("fault", [hang, close, reset, drip(b"\x16\x03\x03"), send(GARBAGE)])
async def test_implicit_tls_with_a_faulty_server(reach: Reach, fault: Step) -> None:
    """A TLS handshake that fails, or does not end, is Unreachable."""
    async with Scripted([fault]) as server:
        with pytest.raises(Unreachable):
            await probe(reach, at(server.port, TLSMode.IMPLICIT), timeout_s=0.15)


@pytest.mark.parametrize("tls", [TLSMode.STARTTLS, TLSMode.IMPLICIT])
async def test_certificate_of_another_host(authority: trustme.CA, reach: Reach, tls: TLSMode) -> None:
    """A certificate for another name is Untrusted."""
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.example").configure_cert(other)
    async with Scripted(session("sign-in"), other, implicit=tls is TLSMode.IMPLICIT) as server:
        with pytest.raises(Untrusted, match="not trusted"):
            await probe(reach, at(server.port, tls))


async def test_a_server_that_does_not_read(reach: Reach, server_tls: ssl.SSLContext) -> None:
    """A copy that a server does not read is given up, and the connection with it: the rest is not even read."""
    large = Large(50)
    dialogue = [*session("end of APPEND")[:-2], reached, stall]
    async with Scripted(dialogue, server_tls) as server:
        with pytest.raises(Unreachable, match="in time"):
            await file_sent(reach, at(server.port, TLSMode.STARTTLS), large, timeout_s=0.15)
        assert server.reached.is_set()
        server.resume.set()
    assert large.read < large.pieces


@pytest.mark.parametrize("error", [Unavailable("The database is away."), NotFound("It was removed.")])
async def test_a_copy_that_cannot_be_read_on(reach: Reach, server_tls: ssl.SSLContext, error: Exception) -> None:
    """A copy of which a part is missing has no end: the session is closed, and the server has none of it."""
    dialogue = session("end of APPEND")
    async with Scripted(dialogue, server_tls) as server:
        with pytest.raises(type(error)):
            await file_sent(reach, at(server.port, TLSMode.STARTTLS), Large(3, error))
    assert server.messages == []


async def test_a_refusal_amid_a_copy(reach: Reach) -> None:
    """A server that refuses a copy before its end gets the rest of it all the same, and then the next command."""

    async def read_some(peer: Peer) -> None:
        await peer.reader.readexactly(large.pieces * MIB // 2)

    large = Large(8)
    halves = [read_some, say("{tag} NO [OVERQUOTA] full"), read_some, hear("$")]
    steps = [*listed(r'(\Sent) "/" Ausgang'), *looked("Ausgang"), hear("APPEND"), say("+ go ahead"), *halves]
    async with Scripted(filing(*steps)) as server:
        with pytest.raises(Refused, match="full"):
            await file_sent(reach, at(server.port), large)
    assert server.heard[-1].endswith("LOGOUT")


@pytest.mark.parametrize(
    "injected",
    ["* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", "* OK half a line", "{tag} OK again\r\n"],
    ids=["line", "beginning", "tagged"],
)
async def test_starttls_injection(reach: Reach, server_tls: ssl.SSLContext, injected: str) -> None:
    """Plain text behind the answer to STARTTLS ends the session (CVE-2011-0411)."""

    async def inject(peer: Peer) -> None:
        await peer.write(f"{peer.tag} OK go ahead\r\n{injected}".replace("{tag}", peer.tag).encode())

    async with Scripted(session("STARTTLS", inject, hang), server_tls) as server:
        with pytest.raises(Unreachable):
            await probe(reach, at(server.port, TLSMode.STARTTLS))
    assert len(server.heard) == 2


FRAGMENTS = st.sampled_from(
    [
        b"* OK ready\r\n",
        b"* PREAUTH ready\r\n",
        b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n",
        b"* LIST () NIL {3}\r\n",
        b"* LIST (\\Sent) NIL Sent\r\n",
        b"* STATUS INBOX (UNSEEN 1)\r\n",
        b"+ go ahead\r\n",
        b"{tag} OK done\r\n",
        b"{tag} NO no\r\n",
        b"* BYE\r\n",
        b"\r\n",
        b"{9}\r\n",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(FRAGMENTS | st.binary(max_size=50), max_size=12))
async def test_any_bytes_as_session(reach: Reach, pieces: list[bytes]) -> None:
    """Whatever a server answers, a session ends, with a result or a RemoteError."""

    async def answer(peer: Peer) -> None:
        for piece in pieces:
            await peer.write(piece.replace(b"{tag}", peer.tag.encode()))
            if piece.startswith(b"{tag}"):
                await peer.line()

    async with Scripted([say("* OK ready"), hear("CAPABILITY"), answer]) as server:
        with suppress(RemoteError):
            await file_sent(reach, at(server.port), timeout_s=0.1)
