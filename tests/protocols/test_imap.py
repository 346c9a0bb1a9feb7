"""IMAP: against another provider, against Dovecot, and against servers that do what none should."""

from __future__ import annotations

import asyncio
import imaplib
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.demo.provider import Provider
from gateway.errors import Deferred, Insecure, Refused, RemoteError, SignInRefused, Unreachable, Untrusted
from gateway.identity import Endpoint, SignIn, TLSMode
from protocols.imap import ImapAdapter
from tests.conftest import ME as ACCOUNT
from tests.protocols.conftest import ME, PASSWORD, Reach, at
from tests.protocols.dovecot import Dovecot
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
    hear_literal,
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
    b"From: me@elsewhere.example\r\nBcc: hidden@elsewhere.example\r\nSubject: "
    + b"a long line that nobody may fold " * 4
    + b"\r\n\r\nf\xc3\xbcr {12}\r\n* BYE\r\n.\r\n \r\n"
)
DATE = datetime(2026, 3, 7, 8, 9, 10, tzinfo=timezone(timedelta(hours=-5)))
SIGN_IN = SignIn(ACCOUNT.address, ACCOUNT.password)
TOKEN = SignIn("me@elsewhere.example", "ya29.token", oauth2=True)
BOUND_S = 20.0  # far above what any of these calls may take


async def file_sent(
    reach: Reach, endpoint: Endpoint, raw: bytes = MESSAGE, timeout_s: float = 5.0, **changes: Any
) -> str:
    adapter = ImapAdapter(reach(endpoint.port, command_timeout_s=timeout_s, **changes))
    async with asyncio.timeout(BOUND_S):
        return await adapter.file_sent(endpoint, raw, DATE)


async def probe(reach: Reach, endpoint: Endpoint, timeout_s: float = 5.0, **changes: Any) -> Mapping[str, str]:
    adapter = ImapAdapter(reach(endpoint.port, command_timeout_s=timeout_s, **changes))
    async with asyncio.timeout(BOUND_S):
        return await adapter.probe(endpoint)


def read(client: imaplib.IMAP4, sign_in: SignIn, folder: str) -> list[tuple[bytes, bytes]]:
    """Return what FETCH says of each message in a folder, and its bytes; by a client that is not ours."""
    with client:
        client.authenticate("PLAIN", lambda _: f"\0{sign_in.username}\0{sign_in.secret}".encode())
        client.select(folder, readonly=True)
        parts = client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]
        return [(part[0], part[1]) for part in parts if isinstance(part, tuple)]


def assert_filed(found: Sequence[tuple[bytes, bytes]], raw: bytes = MESSAGE) -> None:
    """Assert that a folder holds one copy, unchanged, seen, and dated as ordered."""
    [(told, data)] = found
    assert data == raw
    assert rb"\Seen" in told
    dated = imaplib.Internaldate2tuple(told)
    assert dated is not None
    assert datetime(*dated[:6]).astimezone(UTC) == DATE  # of local time


# -- another provider --------------------------------------------------------------------------------------------


async def test_copy_at_another_provider(provider: Provider, reach: Reach) -> None:
    """A copy lies in Sent, found by its name, byte for byte, seen, and with the date of the message."""
    assert await file_sent(reach, at(provider.imap_port, sign_in=SIGN_IN)) == "Sent"
    client = await asyncio.to_thread(imaplib.IMAP4, provider.host, provider.imap_port, 5)
    assert_filed(await asyncio.to_thread(read, client, SIGN_IN, "Sent"))


async def test_probe_of_another_provider(provider: Provider, reach: Reach) -> None:
    """A probe tells UIDVALIDITY, unseen messages, capabilities and the Sent folder."""
    found = await probe(reach, at(provider.imap_port, sign_in=SIGN_IN))
    assert int(found["uidvalidity"]) > 0
    assert (found["unseen"], found["sentfolder"]) == ("0", "Sent")
    assert "IMAP4rev1" in found["capabilities"].split()
    assert set(found) == {"uidvalidity", "unseen", "sentfolder", "capabilities"}


async def test_wrong_password_at_another_provider(provider: Provider, reach: Reach) -> None:
    """A wrong password is SignInRefused, permanent, and is not in the error."""
    with pytest.raises(SignInRefused) as caught:
        await probe(reach, at(provider.imap_port, sign_in=SignIn(ACCOUNT.address, "wr0ng")))
    assert not caught.value.temporary
    assert "wr0ng" not in str(caught.value)


async def test_no_starttls_at_another_provider(provider: Provider, reach: Reach) -> None:
    """A server without STARTTLS is Insecure, temporary."""
    with pytest.raises(Insecure, match="no STARTTLS") as caught:
        await probe(reach, at(provider.imap_port, TLSMode.STARTTLS, SIGN_IN))
    assert caught.value.temporary


# -- Dovecot -----------------------------------------------------------------------------------------------------


@pytest.fixture
def somebody() -> SignIn:
    """A user of Dovecot that no other test has, with a name that needs quoting."""
    return SignIn(f'ü "{uuid4().hex}"', Dovecot.password)


elsewhere = pytest.mark.allow_hosts([Dovecot.host, Dovecot.other_host])
Reader = Callable[[str], list[tuple[bytes, bytes]]]


@pytest.fixture
def in_dovecot(dovecot: Dovecot, somebody: SignIn, client_tls: ssl.SSLContext) -> Reader:
    def messages(folder: str) -> list[tuple[bytes, bytes]]:
        client = imaplib.IMAP4_SSL(dovecot.host, dovecot.tls_port, ssl_context=client_tls, timeout=5)
        return read(client, somebody, folder)

    return messages


async def test_dovecot_by_implicit_tls(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, in_dovecot: Reader
) -> None:
    """With TLS from the first byte a copy lies in the folder whose special use is Sent, whatever its name."""
    assert await file_sent(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody)) == "Ausgang"
    assert_filed(await asyncio.to_thread(in_dovecot, "Ausgang"))


@elsewhere
async def test_dovecot_by_starttls(dovecot: Dovecot, reach: Reach, somebody: SignIn, in_dovecot: Reader) -> None:
    """With STARTTLS it does too, where no sign-in is offered before TLS."""
    endpoint = at(dovecot.port, TLSMode.STARTTLS, somebody, dovecot.other_host)
    assert await file_sent(reach, endpoint) == "Ausgang"
    assert_filed(await asyncio.to_thread(in_dovecot, "Ausgang"))


@elsewhere
async def test_dovecot_without_tls(dovecot: Dovecot, reach: Reach, somebody: SignIn) -> None:
    """Where the sign-in is disabled without TLS, an account without TLS is Insecure."""
    with pytest.raises(Insecure, match="TLS before the sign-in"):
        await probe(reach, at(dovecot.port, TLSMode.NONE, somebody, dovecot.other_host))


async def test_probe_of_dovecot(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, client_tls: ssl.SSLContext
) -> None:
    """A probe tells what STATUS does, the capabilities after the sign-in, and changes nothing."""

    def prepare() -> str:
        with imaplib.IMAP4_SSL(dovecot.host, dovecot.tls_port, ssl_context=client_tls, timeout=5) as client:
            client.authenticate("PLAIN", lambda _: f"\0{somebody.username}\0{somebody.secret}".encode())
            for flags in ("", r"\Seen", ""):
                client.append("INBOX", flags, "", MESSAGE)
            return repr(client.status("INBOX", "(UIDVALIDITY)")[1])

    prepared = await asyncio.to_thread(prepare)
    for _ in range(2):
        found = await probe(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody))
        assert found["unseen"] == "2"
        assert f"UIDVALIDITY {found['uidvalidity']})" in prepared
        assert found["sentfolder"] == "Ausgang"
        assert {"IMAP4rev1", "SPECIAL-USE"} <= set(found["capabilities"].split())


@pytest.mark.parametrize("tls", [TLSMode.IMPLICIT, TLSMode.STARTTLS])
async def test_wrong_password_at_dovecot(dovecot: Dovecot, reach: Reach, tls: TLSMode) -> None:
    """A wrong password is SignInRefused, with what Dovecot says."""
    port = dovecot.tls_port if tls is TLSMode.IMPLICIT else dovecot.port
    with pytest.raises(SignInRefused, match="AUTHENTICATIONFAILED"):
        await probe(reach, at(port, tls, SignIn("me", "wr0ng")))


@pytest.mark.parametrize("tls", [TLSMode.IMPLICIT, TLSMode.STARTTLS])
async def test_unknown_authority_of_dovecot(dovecot: Dovecot, reach: Reach, tls: TLSMode) -> None:
    """A certificate of an authority that nobody trusts is Untrusted, temporary."""
    port = dovecot.tls_port if tls is TLSMode.IMPLICIT else dovecot.port
    with pytest.raises(Untrusted, match="not trusted") as caught:
        await probe(reach, at(port, tls), ca_file="")
    assert caught.value.temporary


async def test_many_folders_in_dovecot(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, client_tls: ssl.SSLContext
) -> None:
    """Sent is found among many folders, with names of every kind."""

    def prepare() -> None:
        with imaplib.IMAP4_SSL(dovecot.host, dovecot.tls_port, ssl_context=client_tls, timeout=5) as client:
            client.authenticate("PLAIN", lambda _: f"\0{somebody.username}\0{somebody.secret}".encode())
            for number in range(200):
                client.create(f'"a &AOk- \\"{number}\\" * ()"')

    await asyncio.to_thread(prepare)
    assert await file_sent(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody)) == "Ausgang"


async def test_large_message_in_dovecot(
    dovecot: Dovecot, reach: Reach, somebody: SignIn, in_dovecot: Reader
) -> None:
    """A copy of 20 MB is filed as it is."""
    raw = MESSAGE + b"0123456789abcdef" * 64 * 1024 * 20 + b"\r\n"
    await file_sent(reach, at(dovecot.tls_port, TLSMode.IMPLICIT, somebody), raw)
    assert_filed(await asyncio.to_thread(in_dovecot, "Ausgang"), raw)


# -- scripted servers --------------------------------------------------------------------------------------------

SESSION: dict[str, Sequence[Step]] = {
    "greeting": [say("* OK ready")],
    "CAPABILITY": [hear("CAPABILITY$"), say("* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED", "{tag} OK done")],
    "STARTTLS": [hear("STARTTLS$"), say("{tag} OK go ahead")],
    "handshake": [start_tls],
    "CAPABILITY after TLS": [
        hear("CAPABILITY$"),
        say("* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN", "{tag} OK done"),
    ],
    "sign-in": [
        hear("AUTHENTICATE PLAIN [A-Za-z0-9+/=]+$"),
        say("{tag} OK [CAPABILITY IMAP4rev1 UIDPLUS] welcome"),
    ],
    "LIST": [hear(r'LIST "" "\*"$'), say(r'* LIST (\Sent) "/" "Ausgang"', "{tag} OK done")],
    "APPEND": [hear(r'APPEND "Ausgang" \(\\Seen\) "07-Mar-2026 08:09:10 -0500" \{[0-9]+\}$'), say("+ go ahead")],
    "end of APPEND": [hear_literal, say("{tag} OK [APPENDUID 1 2] done")],
    "LOGOUT": [hear("LOGOUT$"), say("* BYE bye", "{tag} OK done")],
}
STAGES = [stage for stage in SESSION if stage != "LOGOUT"]
GREETING = [
    say("* OK ready"),
    hear("CAPABILITY$"),
    say("* CAPABILITY IMAP4rev1", "{tag} OK done"),
]
LOGIN = [hear("LOGIN "), say("{tag} OK [CAPABILITY IMAP4rev1] welcome")]
GOODBYE = [hear("LOGOUT$"), say("* BYE bye", "{tag} OK done")]


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


def filing(*steps: Step) -> list[Step]:
    """Return a session without TLS in which these steps lie between the sign-in and the end."""
    return [*GREETING, *LOGIN, *steps, *GOODBYE]


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
    steps = [*listed(r'(\Sent) "/" Ausgang'), *appended("Ausgang"), hear("LOGOUT"), stall]
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
    """A copy that a server does not read is given up, and the connection with it: the rest is not sent."""
    size = 30 * 1024 * 1024
    dialogue = [*session("end of APPEND")[:-2], reached, stall]
    async with Scripted(dialogue, server_tls) as server:
        with pytest.raises(Unreachable, match="in time"):
            await file_sent(reach, at(server.port, TLSMode.STARTTLS), b"x" * size, timeout_s=0.15)
        assert server.reached.is_set()
        server.resume.set()
    assert server.unread < size


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


async def test_preauth_does_not_keep_us_from_tls(reach: Reach) -> None:
    """PREAUTH, which forbids STARTTLS, is Insecure: the session would go on in plain text (RFC 3501 §6.2.1)."""
    async with Scripted([say("* PREAUTH welcome"), *GREETING[1:], *GOODBYE]) as server:
        with pytest.raises(Insecure):
            await probe(reach, at(server.port, TLSMode.STARTTLS))


@pytest.mark.parametrize("sign_in", [ME, None])
async def test_preauth(reach: Reach, sign_in: SignIn | None) -> None:
    """A server that greets with PREAUTH wants no sign-in."""
    status = [hear("STATUS INBOX"), say("* STATUS INBOX (UNSEEN 3)", "{tag} OK done")]
    dialogue = [say("* PREAUTH welcome"), *GREETING[1:], *status, hear("LIST"), say("{tag} OK done"), *GOODBYE]
    async with Scripted(dialogue) as server:
        found = await probe(reach, at(server.port, sign_in=sign_in))
    assert found == {"unseen": "3", "capabilities": "IMAP4rev1"}


async def test_sign_in_wanted_and_none_given(reach: Reach) -> None:
    """A server that wants a sign-in refuses an account without credentials: SignInRefused."""
    async with Scripted([*GREETING, *GOODBYE]) as server:
        with pytest.raises(SignInRefused, match="no user name"):
            await probe(reach, at(server.port, sign_in=None))


async def test_login(reach: Reach) -> None:
    """Where a server has LOGIN only, name and password go as quoted strings (RFC 3501 §4.3)."""
    login = [hear(r'LOGIN "a \\"name\\"" "corréct \\"horse\\" \\\\ battery"$'), say("{tag} NO no"), *GOODBYE]
    async with Scripted([*GREETING, *login]) as server:
        with pytest.raises(SignInRefused):
            await probe(reach, at(server.port, sign_in=SignIn('a "name"', PASSWORD)))


@pytest.mark.parametrize("secret", ["two\nlines", "two\rlines", "nul\0"])
async def test_login_that_cannot_be_said(reach: Reach, secret: str) -> None:
    """A password that no string of LOGIN can hold is SignInRefused, and no command is injected by it."""
    async with Scripted([*GREETING, *GOODBYE]) as server:
        with pytest.raises(SignInRefused, match="cannot be sent"):
            await probe(reach, at(server.port, sign_in=SignIn("me", secret)))


async def test_sasl_without_initial_response(reach: Reach) -> None:
    """Where a server takes no initial response, name and password follow its challenge (RFC 3501 §6.2.2)."""
    message = b64encode(f"\0{ME.username}\0two\r\nlines".encode()).decode()
    dialogue = [
        say("* OK ready"),
        hear("CAPABILITY$"),
        say("* CAPABILITY imap4REV1 auth=plain LOGINDISABLED", "{tag} OK done"),
        hear("AUTHENTICATE PLAIN$"),
        say("+ "),
        hear(message.replace("+", r"\+") + "$"),
        say("{tag} NO [AUTHENTICATIONFAILED] no"),
        *GOODBYE,
    ]
    async with Scripted(dialogue) as server:
        with pytest.raises(SignInRefused):
            await probe(reach, at(server.port, sign_in=SignIn(ME.username, "two\r\nlines")))


@pytest.mark.parametrize("initial", ["SASL-IR ", ""])
async def test_access_token(reach: Reach, initial: str) -> None:
    """An OAuth 2.0 token goes by XOAUTH2; the error challenge is answered, and the refusal is SignInRefused."""
    message = b64encode(b"user=me@elsewhere.example\1auth=Bearer ya29.token\1\1").decode()
    asking: list[Step] = [hear(f"AUTHENTICATE XOAUTH2 {message}$"), say("+ eyJzdGF0dXMiOiI0MDAifQ==")]
    if not initial:
        asking = [
            hear("AUTHENTICATE XOAUTH2$"),
            say("+ "),
            hear(message),
            say("+ eyJzdGF0dXMiOiI0MDAifQ=="),
        ]
    dialogue = [
        say("* OK ready"),
        hear("CAPABILITY$"),
        say(f"* CAPABILITY IMAP4rev1 {initial}AUTH=PLAIN AUTH=XOAUTH2", "{tag} OK done"),
        *asking,
        hear("$"),
        say("{tag} NO [AUTHENTICATIONFAILED] Invalid credentials"),
        *GOODBYE,
    ]
    async with Scripted(dialogue) as server:
        with pytest.raises(SignInRefused, match="access token"):
            await probe(reach, at(server.port, sign_in=TOKEN))


@pytest.mark.parametrize(("offer", "sign_in"), [("AUTH=PLAIN", TOKEN), ("AUTH=XOAUTH2 LOGINDISABLED", ME)])
async def test_no_common_mechanism(reach: Reach, server_tls: ssl.SSLContext, offer: str, sign_in: SignIn) -> None:
    """No secret goes out by a mechanism that the server does not offer."""
    dialogue = [
        say("* OK ready"),
        hear("CAPABILITY$"),
        say(f"* CAPABILITY IMAP4rev1 {offer}", "{tag} OK done"),
        *GOODBYE,
    ]
    async with Scripted(dialogue, server_tls, implicit=True) as server:
        with pytest.raises(SignInRefused, match="no way to sign in"):
            await probe(reach, at(server.port, TLSMode.IMPLICIT, sign_in))


async def test_echoed_password(reach: Reach, server_tls: ssl.SSLContext) -> None:
    """A server that echoes the sign-in does not get the password into the error."""

    async def echo(peer: Peer) -> None:
        await peer.write(f"{peer.tag} NO unknown: {peer.server.heard[-1]} {PASSWORD}\r\n".encode())

    async with Scripted(session("sign-in", echo, *GOODBYE), server_tls) as server:
        with pytest.raises(SignInRefused) as caught:
            await probe(reach, at(server.port, TLSMode.STARTTLS))
    secret = next(line for line in server.heard if "AUTHENTICATE" in line).split()[-1]
    assert caught.value.reply.endswith("AUTHENTICATE PLAIN *** ***")
    assert secret not in str(caught.value)


# -- folders -----------------------------------------------------------------------------------------------------


def listed(*lines: str) -> list[Step]:
    return [hear("LIST"), say(*(f"* LIST {line}" for line in lines), "{tag} OK done")]


def appended(name: str, reply: str = "OK done") -> list[Step]:
    return [hear(f'APPEND "{name}" '), say("+ go ahead"), hear_literal, say("{tag} " + reply)]


def done(pattern: str, reply: str = "OK done") -> list[Step]:
    return [hear(pattern), say("{tag} " + reply)]


@pytest.mark.parametrize(
    ("lines", "name", "shown"),
    [
        ((r'(\Sent) "/" {14}', 'a "new" folder'), r"a \\\"new\\\" folder", 'a "new" folder'),
        ((r"() NIL &BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-",), "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-", "Отправленные"),
        ((r'(\Sent) "\\" "INBOX\\Sent"',), r"INBOX\\\\Sent", r"INBOX\Sent"),
    ],
)
async def test_unusual_names(reach: Reach, lines: tuple[str, ...], name: str, shown: str) -> None:
    """The name of a folder is said as the server wrote it, quoted, and shown decoded."""
    listing = [hear("LIST"), say(f"* LIST {lines[0]}", *lines[1:], "{tag} OK done")]
    async with Scripted(filing(*listing, *appended(name))) as server:
        assert await file_sent(reach, at(server.port)) == shown


async def test_thousands_of_folders(reach: Reach) -> None:
    """Sent is found behind twenty thousand other folders."""
    names = [rf'(\HasNoChildren) "/" "Projects/Archive/Customer number {n}"' for n in range(20_000)]
    async with Scripted(filing(*listed(*names, r'() "/" "Sent Items"'), *appended("Sent Items"))) as server:
        assert await file_sent(reach, at(server.port)) == "Sent Items"


async def test_special_use_is_asked_for(reach: Reach) -> None:
    """Where a server has extended LIST, special uses are asked for (RFC 6154 §2)."""
    dialogue = [
        *GREETING,
        hear("LOGIN "),
        say("{tag} OK [CAPABILITY IMAP4rev1 LIST-EXTENDED SPECIAL-USE] welcome"),
        hear(r'LIST "" "\*" RETURN \(SPECIAL-USE\)$'),
        say(r'* LIST (\Sent) "/" Ausgang', "{tag} OK done"),
        *appended("Ausgang"),
        *GOODBYE,
    ]
    async with Scripted(dialogue) as server:
        assert await file_sent(reach, at(server.port)) == "Ausgang"


async def test_unsolicited_responses(reach: Reach) -> None:
    """What a server says unasked at any time changes nothing (RFC 3501 §7)."""
    noise = ("* 3 EXISTS", "* 0 RECENT", "* OK [ALERT] maintenance tonight", "* FLAGS (\\Seen)")
    dialogue = [
        say("* OK ready", *noise),
        hear("CAPABILITY$"),
        say(*noise, "* CAPABILITY IMAP4rev1", *noise, "{tag} OK done"),
        hear("LOGIN "),
        say(*noise, "{tag} OK welcome"),
        hear("CAPABILITY$"),
        say(*noise, "* CAPABILITY IMAP4rev1 UIDPLUS", "{tag} OK done"),
        hear("STATUS INBOX"),
        say(*noise, "* STATUS {5}", "INBOX (UIDVALIDITY 5 UNSEEN 1)", *noise, "{tag} OK done"),
        hear("LIST"),
        say(*noise, '* LIST () "/" Sent', *noise, "{tag} OK done"),
        hear("LOGOUT$"),
        say("* BYE bye", "{tag} OK done"),
    ]
    async with Scripted(dialogue) as server:
        found = await probe(reach, at(server.port))
    assert found == {"uidvalidity": "5", "unseen": "1", "capabilities": "IMAP4rev1 UIDPLUS", "sentfolder": "Sent"}


async def test_missing_sent_folder(reach: Reach) -> None:
    """Where there is no Sent folder it is created and subscribed to."""
    steps = [*listed('() "/" INBOX'), *done('CREATE "Sent"$'), *done('SUBSCRIBE "Sent"$'), *appended("Sent")]
    async with Scripted(filing(*steps)) as server:
        assert await file_sent(reach, at(server.port)) == "Sent"


async def test_missing_sent_folder_below_inbox(reach: Reach) -> None:
    """Where a person's folders lie below INBOX, Sent is created there (RFC 2342)."""
    dialogue = [
        *GREETING,
        hear("LOGIN "),
        say("{tag} OK [CAPABILITY IMAP4rev1 NAMESPACE] welcome"),
        *listed('() "." INBOX'),
        hear("NAMESPACE$"),
        say('* NAMESPACE (("INBOX." ".")) NIL NIL', "{tag} OK done"),
        *done(r'CREATE "INBOX\.Sent"$'),
        *done(r'SUBSCRIBE "INBOX\.Sent"$', "NO no"),
        *appended(r"INBOX\.Sent"),
        *GOODBYE,
    ]
    async with Scripted(dialogue) as server:
        assert await file_sent(reach, at(server.port)) == "INBOX.Sent"


async def test_sent_folder_created_meanwhile(reach: Reach) -> None:
    """A Sent folder that another session has just created is as good (RFC 5530, ALREADYEXISTS)."""
    creating = [*done("CREATE", "NO [ALREADYEXISTS] it is there"), *done("SUBSCRIBE")]
    async with Scripted(filing(*listed(), *creating, *appended("Sent"))) as server:
        assert await file_sent(reach, at(server.port)) == "Sent"


async def test_sent_folder_that_cannot_be_created(reach: Reach) -> None:
    """A server that lets nobody create folders refuses the copy."""
    async with Scripted(filing(*listed(), *done("CREATE", "NO [NOPERM] no"))) as server:
        with pytest.raises(Refused, match="CREATE of Sent"):
            await file_sent(reach, at(server.port))


@pytest.mark.parametrize("at_once", [True, False])
async def test_trycreate(reach: Reach, at_once: bool) -> None:
    """A folder that has gone since it was listed is created again (RFC 3501 §6.3.11)."""
    refusal = "NO [TRYCREATE] no such mailbox"
    first = done('APPEND "Ausgang"', refusal) if at_once else appended("Ausgang", refusal)
    creating = [*done('CREATE "Ausgang"$'), *done("SUBSCRIBE")]
    steps = [*listed(r'(\Sent) "/" Ausgang'), *first, *creating, *appended("Ausgang")]
    async with Scripted(filing(*steps)) as server:
        assert await file_sent(reach, at(server.port)) == "Ausgang"
    assert server.messages[-1] == MESSAGE


async def test_probe_without_sent_folder(reach: Reach) -> None:
    """A probe creates no folder: an account without Sent has no sentfolder."""
    status = [hear("STATUS INBOX"), say("* STATUS INBOX (UNSEEN 3 UIDVALIDITY 9)", "{tag} OK done")]
    async with Scripted(filing(*status, *listed('() "/" INBOX'))) as server:
        found = await probe(reach, at(server.port))
    assert found == {"uidvalidity": "9", "unseen": "3", "capabilities": "IMAP4rev1"}


# -- any bytes ---------------------------------------------------------------------------------------------------

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
