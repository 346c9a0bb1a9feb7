"""SMTP submission: against another provider, and against servers that do what none should."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.demo.provider import Delivery, Provider
from gateway.delivery import Reply
from gateway.errors import Deferred, Insecure, Refused, RemoteError, SignInRefused, Unreachable, Untrusted
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.ports import Envelope
from protocols.smtp import SmtpAdapter
from tests.conftest import FRIEND
from tests.conftest import ME as ACCOUNT
from tests.protocols.conftest import ME, PASSWORD, Reach, at
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
    hear_message,
    hear_something,
    reached,
    reset,
    say,
    send,
    stall,
    start_tls,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

MESSAGE = (
    b"From: me@elsewhere.example\r\nTo: friend@elsewhere.example\r\nSubject: "
    + b"a long line that nobody may fold " * 4
    + b"\r\n\r\n.a dot\r\n..two\r\n.\r\nf\xc3\xbcr\r\n \r\n"
)
SIGN_IN = SignIn(ACCOUNT.address, ACCOUNT.password)
TOKEN = SignIn("me@elsewhere.example", "ya29.token", oauth2=True)
BOUND_S = 20.0  # far above what any of these calls may take


def envelope(*recipients: str, sender: str = ACCOUNT.address, smtputf8: bool = False) -> Envelope:
    return Envelope(sender, recipients or (FRIEND.address,), smtputf8)


async def submit(
    reach: Reach,
    endpoint: Endpoint,
    to: Envelope | None = None,
    data: bytes = MESSAGE,
    timeout_s: float = 5.0,
) -> dict[str, Reply]:
    adapter = SmtpAdapter(reach(endpoint.port, command_timeout_s=timeout_s), "gateway.example")
    async with asyncio.timeout(BOUND_S):
        return dict(await adapter.submit(endpoint, to or envelope(), data))


# -- another provider --------------------------------------------------------------------------------------------


@pytest.fixture
async def secure(server_tls: ssl.SSLContext) -> AsyncIterator[Provider]:
    """Another provider that wants STARTTLS before the sign-in."""
    async with Provider([ACCOUNT, FRIEND], tls=server_tls) as servers:
        yield servers


async def test_one_recipient(provider: Provider, reach: Reach) -> None:
    """A message arrives byte for byte, in the name of who signed in, with size and 8 bit data declared."""
    replies = await submit(reach, at(provider.submission_port, sign_in=SIGN_IN))
    assert replies == {FRIEND.address: Reply(250, "2.0.0 delivered")}
    extensions = (f"SIZE={len(MESSAGE)}", "BODY=8BITMIME")
    assert provider.received == [Delivery(ACCOUNT.address, (FRIEND.address,), MESSAGE, ACCOUNT.address, extensions)]


async def test_every_recipient_gets_its_own_answer(provider: Provider, reach: Reach) -> None:
    """Of several recipients some are accepted, some refused, some put off; the answers are kept apart."""
    recipients = (ACCOUNT.address, "never@elsewhere.example", FRIEND.address, "later@elsewhere.example")
    replies = await submit(reach, at(provider.submission_port, sign_in=SIGN_IN), envelope(*recipients))
    assert replies == {
        ACCOUNT.address: Reply(250, "2.0.0 delivered"),
        "never@elsewhere.example": Reply(550, "5.7.1 refused by policy"),
        FRIEND.address: Reply(250, "2.0.0 delivered"),
        "later@elsewhere.example": Reply(451, "4.3.0 try again later"),
    }
    assert [delivery.rcpt_tos for delivery in provider.received] == [(ACCOUNT.address, FRIEND.address)]


async def test_nobody_accepted(provider: Provider, reach: Reach) -> None:
    """Where every recipient is refused no message is sent."""
    replies = await submit(reach, at(provider.submission_port, sign_in=SIGN_IN), envelope("never@any.example"))
    assert replies == {"never@any.example": Reply(550, "5.7.1 refused by policy")}
    assert provider.received == []


async def test_wrong_password(provider: Provider, reach: Reach) -> None:
    """A wrong password is SignInRefused, permanent, with the server's reply and without the password."""
    with pytest.raises(SignInRefused, match="535") as caught:
        await submit(reach, at(provider.submission_port, sign_in=SignIn(ACCOUNT.address, "wr0ng")))
    assert (caught.value.code, caught.value.temporary) == (535, False)
    assert "wr0ng" not in str(caught.value)


async def test_sign_in_wanted_and_none_given(provider: Provider, reach: Reach) -> None:
    """A server that wants a sign-in refuses an account without credentials: SignInRefused, not the message."""
    with pytest.raises(SignInRefused, match="sign-in first"):
        await submit(reach, at(provider.submission_port, sign_in=None))


async def test_relay_without_sign_in(provider: Provider, reach: Reach) -> None:
    """A server that needs no sign-in gets mail without, from the null reverse-path too."""
    replies = await submit(reach, at(provider.relay_port, sign_in=None), envelope(sender=""))
    assert replies == {FRIEND.address: Reply(250, "2.0.0 delivered")}
    assert provider.received[0].mail_from == ""


async def test_internationalized_addresses(provider: Provider, reach: Reach) -> None:
    """SMTPUTF8 is asked for where an address needs it; otherwise a domain goes in its ASCII form."""
    relay = at(provider.relay_port, sign_in=None)
    await submit(reach, relay, envelope(FRIEND.address, "jörg@bücher.example", sender="ü@x.example", smtputf8=True))
    assert provider.received[0].mail_from == "ü@x.example"
    assert "SMTPUTF8" in provider.received[0].extensions
    await submit(reach, relay, envelope(sender="me@bücher.example"), b"A: b\r\n\r\n")
    assert provider.received[1].mail_from == "me@xn--bcher-kva.example"
    assert provider.received[1].extensions == ("SIZE=8",)


async def test_starttls(secure: Provider, reach: Reach) -> None:
    """With STARTTLS the sign-in happens after TLS, verified by the configured authority."""
    endpoint = at(secure.submission_port, TLSMode.STARTTLS, SIGN_IN)
    assert await submit(reach, endpoint) == {FRIEND.address: Reply(250, "2.0.0 delivered")}


@pytest.mark.parametrize("tls", [TLSMode.STARTTLS, TLSMode.NONE])
async def test_probe(secure: Provider, provider: Provider, reach: Reach, tls: TLSMode) -> None:
    """A probe signs in and sends nothing."""
    port = (secure if tls is TLSMode.STARTTLS else provider).submission_port
    assert await SmtpAdapter(reach(port), "gateway.example").probe(at(port, tls, SIGN_IN)) == {}
    assert secure.received == provider.received == []


async def test_unknown_authority(secure: Provider, reach: Reach) -> None:
    """A certificate of an authority that nobody trusts is Untrusted, temporary, and no password goes out."""
    endpoint = at(secure.submission_port, TLSMode.STARTTLS, SIGN_IN)
    with pytest.raises(Untrusted, match="not trusted") as caught:
        await SmtpAdapter(reach(endpoint.port, ca_file=""), "gateway.example").probe(endpoint)
    assert caught.value.temporary


@pytest.mark.parametrize("tls", [TLSMode.STARTTLS, TLSMode.IMPLICIT])
async def test_certificate_of_another_host(authority: trustme.CA, reach: Reach, tls: TLSMode) -> None:
    """A certificate for another name is Untrusted."""
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mail.example").configure_cert(other)
    dialogue = [*SESSION["greeting"], *SESSION["EHLO"], *SESSION["STARTTLS"], start_tls]
    async with Scripted(dialogue, other, implicit=tls is TLSMode.IMPLICIT) as server:
        with pytest.raises(Untrusted, match="not trusted"):
            await submit(reach, at(server.port, tls))
    assert not any(line.startswith("AUTH") for line in server.heard)


async def test_no_starttls_offered(provider: Provider, reach: Reach) -> None:
    """A server without STARTTLS is Insecure, temporary, and gets no password."""
    with pytest.raises(Insecure, match="no STARTTLS") as caught:
        await submit(reach, at(provider.submission_port, TLSMode.STARTTLS, SIGN_IN))
    assert caught.value.temporary


async def test_sign_in_offered_after_tls_only(secure: Provider, reach: Reach) -> None:
    """A server that offers a sign-in after TLS only is Insecure for an account without TLS."""
    with pytest.raises(Insecure, match="no sign-in without TLS"):
        await submit(reach, at(secure.submission_port, sign_in=SIGN_IN))


async def test_tls_to_a_plain_port(provider: Provider, reach: Reach) -> None:
    """TLS from the first byte to a server that does not speak it is Unreachable, with a hint at the TLS mode."""
    with pytest.raises(Unreachable, match="TLS mode"):
        await submit(reach, at(provider.submission_port, TLSMode.IMPLICIT, SIGN_IN))


# -- scripted servers --------------------------------------------------------------------------------------------

EXTENSIONS = ("250-here", "250-SIZE 99999999", "250-8BITMIME", "250 AUTH XOAUTH2 PLAIN LOGIN")
SESSION: dict[str, Sequence[Step]] = {
    "greeting": [say("220 ready")],
    "EHLO": [hear("EHLO gateway.example$"), say(*EXTENSIONS[:-1], "250 STARTTLS")],
    "STARTTLS": [hear("STARTTLS$"), say("220 go ahead")],
    "handshake": [start_tls],
    "EHLO after TLS": [hear("EHLO gateway.example$"), say(*EXTENSIONS)],
    "AUTH": [hear("AUTH PLAIN "), say("235 welcome")],
    "MAIL": [hear("MAIL FROM:<me@elsewhere.example> SIZE="), say("250 OK")],
    "RCPT": [hear("RCPT TO:<friend@elsewhere.example>$"), say("250 OK")],
    "DATA": [hear("DATA$"), say("354 go ahead")],
    "final dot": [hear_message, say("250 accepted")],
    "QUIT": [hear("QUIT$"), say("221 bye")],
}
STAGES = [stage for stage in SESSION if stage != "QUIT"]
CLEAR = {stage: steps for stage, steps in SESSION.items() if stage not in ("STARTTLS", "handshake", "EHLO")}
"""A session without TLS."""


def session(until: str, *then: Step) -> list[Step]:
    """Return the dialogue up to the point where the server has to answer at that stage, and what it does then."""
    steps: list[Step] = []
    for stage, part in SESSION.items():
        if stage == until == "handshake":
            return [*steps, hear_something, reached, *then]
        if stage == until:
            return [*steps, *part[:-1], reached, *then]
        steps += part
    raise AssertionError(until)


def clear(**changes: Sequence[Step]) -> list[Step]:
    """Return a whole session without TLS, with other steps at some stages."""
    return [step for stage, steps in CLEAR.items() for step in changes.get(stage, steps)]


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


@pytest.mark.parametrize("fault", [close, reset], ids=["close", "reset"])
@pytest.mark.parametrize("stage", STAGES)
async def test_lost_connection(faulty: Faulty, stage: str, fault: Step) -> None:
    """A connection that ends at any stage is Unreachable, temporary."""
    error = await faulty.error(stage, fault)
    assert type(error) is Unreachable
    assert error.temporary


@pytest.mark.parametrize("fault", [hang, drip(b"250-more of the same\r\n")], ids=["hang", "drip"])
@pytest.mark.parametrize("stage", STAGES)
async def test_slow_server(faulty: Faulty, stage: str, fault: Step) -> None:
    """A server that says nothing, or a byte now and then, is Unreachable when the time-out has passed."""
    error = await faulty.error(stage, fault, timeout_s=0.15)
    assert type(error) is Unreachable
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
    assert type(error) is Unreachable
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


async def test_starttls_injection(reach: Reach, server_tls: ssl.SSLContext) -> None:
    """Plain text behind the answer to STARTTLS is never taken for protected (CVE-2011-0411)."""
    dialogue = [
        *SESSION["greeting"],
        *SESSION["EHLO"],
        hear("STARTTLS"),
        say("220 go ahead", "250-injected", "250 AUTH LOGIN"),
        start_tls,
        hear("EHLO"),
        say("250 here"),
        hear("QUIT"),
    ]
    async with Scripted(dialogue, server_tls) as server:
        with pytest.raises(SignInRefused, match="offers no sign-in"):
            await submit(reach, at(server.port, TLSMode.STARTTLS))


async def test_knowledge_from_before_tls_is_dropped(reach: Reach, server_tls: ssl.SSLContext) -> None:
    """What a server offered before TLS counts for nothing after (RFC 3207 §4.2)."""
    dialogue = [
        say("220 ready"),
        hear("EHLO"),
        say("250-here", "250-AUTH LOGIN", "250 STARTTLS"),
        *SESSION["STARTTLS"],
        start_tls,
        hear("EHLO"),
        say("250-here", "250 AUTH PLAIN"),
        hear("AUTH PLAIN "),
        say("535 no"),
        hear("QUIT"),
    ]
    async with Scripted(dialogue, server_tls) as server:
        with pytest.raises(SignInRefused):
            await submit(reach, at(server.port, TLSMode.STARTTLS))


@pytest.mark.parametrize("offer", ["LOGIN", "login PLAIN", "XOAUTH2 CRAM-MD5 PLAIN LOGIN"])
async def test_one_sign_in_per_session(reach: Reach, offer: str) -> None:
    """A refused sign-in is not tried again by another mechanism: providers lock accounts for that."""
    dialogue = [
        *SESSION["greeting"],
        hear("EHLO"),
        say("250-here", f"250 AUTH {offer}"),
        hear("AUTH (PLAIN|LOGIN) "),
        say("535 5.7.8 no"),
        hear("QUIT"),
        say("221 bye"),
    ]
    async with Scripted(dialogue) as server:
        with pytest.raises(SignInRefused):
            await submit(reach, at(server.port))
    assert len([line for line in server.heard if line.startswith("AUTH")]) == 1


async def test_auth_login(reach: Reach) -> None:
    """Where a server has LOGIN only, name and password go in two steps."""
    dialogue = clear(
        **{
            "EHLO after TLS": [hear("EHLO"), say("250-here", "250-SIZE", "250 AUTH LOGIN")],
            "AUTH": [
                hear("AUTH LOGIN bWVAZWxzZXdoZXJlLmV4YW1wbGU=$"),
                say("334 UGFzc3dvcmQ6"),
                hear(""),
                say("235"),
            ],
        }
    )
    async with Scripted(dialogue) as server:
        assert await submit(reach, at(server.port)) == {FRIEND.address: Reply(250, "accepted")}


async def test_access_token(reach: Reach) -> None:
    """An OAuth 2.0 token goes by XOAUTH2; the error challenge is answered, and the refusal is SignInRefused."""
    dialogue = clear(AUTH=[hear("AUTH XOAUTH2 "), say("334 eyJzdGF0dXMiOiI0MDEifQ=="), hear("$"), say("535 no")])
    async with Scripted(dialogue[: dialogue.index(CLEAR["MAIL"][0])]) as server:
        with pytest.raises(SignInRefused, match="access token"):
            await submit(reach, at(server.port, sign_in=TOKEN))


@pytest.mark.parametrize(("offer", "sign_in"), [("PLAIN LOGIN", TOKEN), ("XOAUTH2", ME), ("GSSAPI", ME)])
async def test_no_common_mechanism(reach: Reach, offer: str, sign_in: SignIn) -> None:
    """No secret goes out by a mechanism that the server does not offer."""
    dialogue = [*SESSION["greeting"], hear("EHLO"), say("250-here", f"250 AUTH {offer}"), hear("QUIT")]
    async with Scripted(dialogue) as server:
        with pytest.raises(SignInRefused, match="no way to sign in"):
            await submit(reach, at(server.port, sign_in=sign_in))


async def test_echoed_password(reach: Reach) -> None:
    """A server that echoes the sign-in does not get the password into the error."""

    async def echo(peer: Peer) -> None:
        await peer.write(f"501 no such command: {peer.server.heard[-1]} {PASSWORD}\r\n".encode())

    async with Scripted(clear(AUTH=[hear("AUTH"), echo, hear("QUIT"), close])) as server:
        with pytest.raises(SignInRefused) as caught:
            await submit(reach, at(server.port))
    secret = server.heard[1].split()[-1]
    for text in (str(caught.value), caught.value.reply):
        assert "no such command: AUTH PLAIN *** ***" in text
        assert secret not in text


async def test_no_smtputf8(reach: Reach) -> None:
    """A server without SMTPUTF8 cannot take an address that needs it: Refused (RFC 6531 §3.2)."""
    dialogue = clear(MAIL=[hear("QUIT"), close])
    async with Scripted(dialogue) as server:
        with pytest.raises(Refused, match="ASCII addresses only"):
            await submit(reach, at(server.port), envelope("jörg@elsewhere.example", smtputf8=True))


async def test_service_closing_amid_recipients(reach: Reach) -> None:
    """421 to a later recipient defers all: nobody got the message, and no recipient is to blame."""
    dialogue = clear(RCPT=[hear("RCPT"), say("250 OK"), hear("RCPT"), say("421 too busy"), close])
    async with Scripted(dialogue) as server:
        with pytest.raises(Deferred, match="too busy"):
            await submit(reach, at(server.port), envelope("a@elsewhere.example", "b@elsewhere.example"))


async def test_too_many_recipients_as_552(reach: Reach) -> None:
    """552 for too many recipients is shown and treated as 452 (RFC 5321 §4.5.3.1.10)."""
    dialogue = clear(RCPT=[hear("RCPT"), say("250 OK"), hear("RCPT"), say("552 too many recipients")])
    async with Scripted(dialogue) as server:
        replies = await submit(reach, at(server.port), envelope("a@elsewhere.example", "b@elsewhere.example"))
    assert replies == {
        "a@elsewhere.example": Reply(250, "accepted"),
        "b@elsewhere.example": Reply(452, "too many recipients"),
    }


async def test_greeting_by_a_unicode_domain(reach: Reach) -> None:
    """A gateway with an internationalized domain greets by its ASCII form (RFC 5321 §4.1.1.1)."""
    async with Scripted([say("220 ready"), hear("EHLO xn--bcher-kva.example$"), close]) as server:
        with pytest.raises(Unreachable):
            await SmtpAdapter(reach(server.port), "bücher.example").probe(at(server.port))


# -- any bytes ---------------------------------------------------------------------------------------------------

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
