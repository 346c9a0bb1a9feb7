"""The other mail provider of the demo, seen by clients that are not ours: smtplib, imaplib and plain sockets."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest
import uvloop

from api.demo.provider import Account, Delivery, Provider

ADA = Account("ada@other.test", "corréct horse")
BOB = Account("bob@other.test", "battery: staple")
JOERG = Account("jörg@other.test", "pässwort 🐴")
MESSAGE = (
    b"From: ada@other.test\r\nTo: bob@other.test\r\nMessage-ID: <1@other.test>\r\n"
    b"Subject: " + b"a long line that nobody may fold " * 4 + b"\r\nX-Folded: one\r\n\t two  \r\n\r\n"
    b"Hello\r\n.dot\r\n\xc3\xa4\r\n"
)
REFUSED = {
    "later@any.test": (451, b"4.3.0 try again later"),
    "never@any.test": (550, b"5.7.1 refused by policy"),
    "nobody@other.test": (550, b"5.1.1 <nobody@other.test>: no such mailbox here"),
}

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
on_each_loop = pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider([ADA, BOB, JOERG]) as running:
        yield running


@contextmanager
def smtp(port: int) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=5) as client:
        client.ehlo()
        yield client


@contextmanager
def imap(provider: Provider, account: Account = BOB, tls: ssl.SSLContext | None = None) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4("127.0.0.1", provider.imap_port, timeout=5) as client:
        if tls:
            client.starttls(tls)
        client.authenticate("PLAIN", lambda _: f"\0{account.address}\0{account.password}".encode())
        yield client


def submit(provider: Provider, *to: str, options: Sequence[str] = (), tls: ssl.SSLContext | None = None) -> None:
    with smtp(provider.submission_port) as client:
        if tls:
            client.starttls(context=tls)
            client.ehlo()
        secret = b64encode(f"\0{ADA.address}\0{ADA.password}".encode())  # smtplib's own login is for ASCII only
        assert client.docmd("AUTH", f"PLAIN {secret.decode()}")[0] == 235
        assert client.sendmail(ADA.address, to, MESSAGE, mail_options=["BODY=8BITMIME", *options]) == {}


def relay(provider: Provider, *to: str, mail_from: str = "carol@third.test") -> None:
    with smtp(provider.relay_port) as client:
        assert client.sendmail(mail_from, to, MESSAGE) == {}


def fetched(client: imaplib.IMAP4, numbers: str, what: str = "(BODY.PEEK[])") -> list[bytes]:
    return [part[1] for part in client.fetch(numbers, what)[1] if isinstance(part, tuple)]


def append(client: imaplib.IMAP4) -> None:
    assert client.append("Sent", r"(\Seen)", '"21-Nov-2020 06:04:14 +0000"', MESSAGE)[0] == "OK"


async def test_a_signed_in_submission_arrives_in_the_recipients_inbox_byte_for_byte(provider: Provider) -> None:
    """A signed-in submission arrives in the recipient's INBOX, where IMAP reads the bytes that were sent."""

    def read() -> list[bytes]:
        with imap(provider) as client:
            client.select("INBOX")
            return fetched(client, "1:*")

    await asyncio.to_thread(submit, provider, BOB.address)
    assert await asyncio.to_thread(read) == provider.inbox(BOB.address) == [MESSAGE]
    assert provider.inbox(ADA.address) == []
    extensions = (f"SIZE={len(MESSAGE)}", "BODY=8BITMIME")
    assert provider.received == [Delivery(ADA.address, (BOB.address,), MESSAGE, ADA.address, extensions)]


async def test_mail_without_sign_in_is_refused_at_the_submission_port(provider: Provider) -> None:
    """The submission port answers 530 to mail from somebody who did not sign in."""

    def attempt() -> tuple[int, bytes]:
        with smtp(provider.submission_port) as client:
            return client.mail(ADA.address)

    assert await asyncio.to_thread(attempt) == (530, b"5.7.0 sign in first")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(
    ("address", "password", "code"),
    [
        (BOB.address, BOB.password, 235),
        (BOB.address, "wrong", 535),
        (BOB.address, "", 535),
        ("nobody@other.test", "", 535),
    ],
)
async def test_only_the_accounts_can_sign_in(
    provider: Provider, mechanism: str, address: str, password: str, code: int
) -> None:
    """AUTH PLAIN and AUTH LOGIN take the accounts' passwords and answer 535 to anything else."""

    def attempt() -> int:
        with smtp(provider.submission_port) as client:
            client.user, client.password = address, password
            try:
                return client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"))[0]
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code

    assert await asyncio.to_thread(attempt) == code


async def test_the_relay_port_takes_mail_for_its_accounts_without_sign_in(provider: Provider) -> None:
    """The relay port offers no AUTH and takes mail for accounts, from the null reverse-path too."""

    def offers_auth() -> bool:
        with smtp(provider.relay_port) as client:
            return client.has_extn("auth")

    assert not await asyncio.to_thread(offers_auth)
    await asyncio.to_thread(relay, provider, "BOB@other.test", ADA.address)
    await asyncio.to_thread(relay, provider, BOB.address, mail_from="")
    assert provider.inbox(BOB.address) == [MESSAGE, MESSAGE]
    assert provider.inbox(ADA.address) == [MESSAGE]
    assert [(delivery.mail_from, delivery.signed_in_as) for delivery in provider.received] == [
        ("carol@third.test", None),
        ("", None),
    ]


async def test_recipients_are_refused_one_by_one(provider: Provider) -> None:
    """Unknown mailboxes and `never` are refused for good, `later` for now, while the others get their mail."""

    def attempt() -> dict[str, tuple[int, bytes]]:
        with smtp(provider.relay_port) as client:
            return client.sendmail("carol@third.test", [*REFUSED, BOB.address], MESSAGE)

    assert await asyncio.to_thread(attempt) == REFUSED
    assert provider.inbox(BOB.address) == [MESSAGE]
    assert [delivery.rcpt_tos for delivery in provider.received] == [(BOB.address,)]


async def test_a_message_over_the_size_limit_is_refused(provider: Provider) -> None:
    """SIZE offers 25 MiB, and MAIL that announces more gets 552."""

    def attempt() -> tuple[str, int]:
        with smtp(provider.relay_port) as client:
            return client.esmtp_features["size"], client.mail("", [f"SIZE={25 * 1024 * 1024 + 1}"])[0]

    assert await asyncio.to_thread(attempt) == (str(25 * 1024 * 1024), 552)


async def test_an_address_outside_ascii_is_an_account_like_any_other(provider: Provider) -> None:
    """With SMTPUTF8 mail reaches an account with an internationalised address, which can sign in to IMAP."""

    def read() -> list[bytes]:
        with imap(provider, JOERG) as client:
            client.select("INBOX")
            return fetched(client, "1:*")

    await asyncio.to_thread(submit, provider, JOERG.address, options=["SMTPUTF8"])
    assert await asyncio.to_thread(read) == provider.inbox(JOERG.address) == [MESSAGE]
    assert "SMTPUTF8" in provider.received[0].extensions


@pytest.mark.parametrize("address", [BOB.address, "nobody@other.test"])
async def test_imap_refuses_a_wrong_password(provider: Provider, address: str) -> None:
    """LOGIN with a wrong password or an unknown name is answered NO [AUTHENTICATIONFAILED]."""

    def attempt() -> None:
        with imaplib.IMAP4("127.0.0.1", provider.imap_port, timeout=5) as client:
            client.login(address, "wrong")

    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        await asyncio.to_thread(attempt)


async def test_an_account_has_inbox_and_sent_from_the_start(provider: Provider) -> None:
    """LIST and LSUB show INBOX and Sent, and no other mailbox can be made or removed."""

    def look() -> None:
        with imap(provider) as client:
            for answer in (client.list(), client.lsub()):
                assert answer[1] == [rb'(\HasNoChildren) "/" INBOX', rb'(\HasNoChildren) "/" Sent']
            assert client.create("Trash")[0] == "NO"
            assert client.delete("Sent")[0] == "NO"
            assert client.rename("Sent", "Gone")[0] == "NO"

    await asyncio.to_thread(look)


async def test_an_appended_message_is_in_sent_as_it_was_given(provider: Provider) -> None:
    r"""APPEND keeps bytes, date and \Seen; STATUS, SELECT, FETCH and SEARCH HEADER then show the message."""

    def look() -> None:
        with imap(provider) as client:
            append(client)
            assert client.status("Sent", "(MESSAGES UIDNEXT UNSEEN)")[1] == [
                b"Sent (MESSAGES 1 UIDNEXT 102 UNSEEN 0)"
            ]
            assert client.select("Sent", readonly=True) == ("OK", [b"1"])
            assert fetched(client, "1") == [MESSAGE]
            (info,) = client.fetch("1", "(FLAGS INTERNALDATE RFC822.SIZE)")[1]
            assert info == (
                rb'1 (FLAGS (\Seen) INTERNALDATE "21-Nov-2020 06:04:14 +0000" '
                rb"RFC822.SIZE %d)" % len(MESSAGE)
            )
            assert client.search(None, "HEADER", "Message-ID", '"<1@other.test>"')[1] == [b"1"]
            assert client.search(None, "HEADER", "Message-ID", '"<2@other.test>"')[1] == [b""]

    await asyncio.to_thread(look)


async def test_mail_is_seen_by_a_client_that_is_connected(provider: Provider) -> None:
    """A delivery shows at the next NOOP, and an idling client is told of it at once (RFC 2177)."""

    def watch() -> None:
        with imap(provider) as client:
            client.select("INBOX")
            relay(provider, BOB.address)
            client.noop()
            assert client.response("EXISTS")[1][-1] == b"1"
            client.send(b"t1 IDLE\r\n")
            assert client.readline().startswith(b"+ ")
            relay(provider, BOB.address)
            assert client.readline() == b"* 2 EXISTS\r\n"
            client.send(b"DONE\r\n")
            while not client.readline().startswith(b"t1 OK"):
                pass

    await asyncio.to_thread(watch)


async def test_copy_and_move_keep_every_byte(provider: Provider) -> None:
    """COPY leaves the message in both mailboxes and MOVE in one, each time with the bytes that came."""

    def shift(command: str) -> tuple[list[bytes], list[bytes]]:
        with imap(provider) as client:
            client.select("INBOX")
            client.xatom(command, "1", "Sent")
            inbox = fetched(client, "1:*")
            client.select("Sent")
            return inbox, fetched(client, "1:*")

    await asyncio.to_thread(relay, provider, BOB.address)
    imaplib.Commands.setdefault("MOVE", ("SELECTED",))
    assert await asyncio.to_thread(shift, "COPY") == ([MESSAGE], [MESSAGE])
    assert await asyncio.to_thread(shift, "MOVE") == ([], [MESSAGE, MESSAGE])


async def test_with_tls_nobody_signs_in_before_starttls(server_tls: ssl.SSLContext) -> None:
    """With a certificate SMTP offers no AUTH before STARTTLS, and IMAP says LOGINDISABLED and means it."""

    def look(provider: Provider) -> None:
        with smtp(provider.submission_port) as client:
            assert client.has_extn("starttls")
            assert not client.has_extn("auth")
            assert client.docmd("AUTH", "PLAIN AGEAYg==")[0] == 538
            assert client.mail(ADA.address)[0] == 530
        with imaplib.IMAP4("127.0.0.1", provider.imap_port, timeout=5) as reader:
            assert {"STARTTLS", "LOGINDISABLED"} <= {*reader.capabilities}
            with pytest.raises(imaplib.IMAP4.error, match="LOGIN is disabled"):
                reader.login(BOB.address, BOB.password)

    async with Provider([ADA, BOB], tls=server_tls) as provider:
        await asyncio.to_thread(look, provider)


@on_each_loop
def test_mail_goes_and_comes_through_starttls(
    loop: LoopFactory, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """After STARTTLS with a certificate that the client trusts, submission and IMAP work as without."""

    async def scenario() -> None:
        async with Provider([ADA, BOB], tls=server_tls) as provider:
            await asyncio.to_thread(_round_trip, provider, client_tls)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def _round_trip(provider: Provider, tls: ssl.SSLContext) -> None:
    submit(provider, BOB.address, tls=tls)
    with imap(provider, tls=tls) as client:
        client.select("INBOX")
        assert fetched(client, "1:*") == [MESSAGE]


@on_each_loop
def test_stop_cuts_every_connection_and_start_serves_again(loop: LoopFactory, server_tls: ssl.SSLContext) -> None:
    """stop() ends connections in any state and closes the ports; start() opens the same ports again."""

    async def scenario() -> None:
        provider = Provider([ADA], tls=server_tls)
        for _ in range(2):
            await provider.start()
            ports = [provider.submission_port, provider.relay_port, provider.imap_port]
            connections = [await asyncio.to_thread(_connect, ports[i], *said) for i, *said in IN_EVERY_STATE]
            async with asyncio.timeout(1):
                await provider.stop()
            for connection in connections:
                await asyncio.to_thread(_wait_for_end, connection)
            for port in ports:
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.to_thread(_connect, port)
            assert ports == [provider.submission_port, provider.relay_port, provider.imap_port]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


IN_EVERY_STATE: list[tuple[int, *tuple[bytes, ...]]] = [
    (0,),
    (1,),
    (2,),
    (0, b"EHLO client.test\r\n", b"STARTTLS\r\n"),
    (1, b"EHLO client.test\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<ada@other.test>\r\n", b"DATA\r\n"),
    (2, b"1 STARTTLS\r\n"),
]
"""Which of the ports a client connects to, and what it says before it falls silent."""


def _connect(port: int, *said: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    with connection.makefile("rb") as replies:
        for command in (b"", *said):
            connection.sendall(command)
            while replies.readline()[3:4] == b"-":
                pass
    return connection


def _wait_for_end(connection: socket.socket) -> None:
    with connection, suppress(ConnectionResetError):
        assert connection.recv(1) == b""


@on_each_loop
def test_stop_ends_a_client_that_idles(loop: LoopFactory) -> None:
    """stop() leaves no task behind, not even that of a client which waits in IDLE."""

    def idle(provider: Provider) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", provider.imap_port, timeout=5)
        client.login(BOB.address, BOB.password)
        client.select("INBOX")
        client.send(b"t1 IDLE\r\n")
        assert client.readline().startswith(b"+ ")
        return client

    async def scenario() -> None:
        async with Provider([BOB]) as provider:
            client = await asyncio.to_thread(idle, provider)
        client.shutdown()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


async def test_a_port_in_use_is_an_error(provider: Provider) -> None:
    """start() raises the plain OSError when a port is taken, and leaves none of the others open."""
    other = Provider([ADA], imap_port=provider.imap_port)
    with pytest.raises(OSError, match="in use"):
        await other.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(other.host, other.submission_port)
