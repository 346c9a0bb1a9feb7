"""One SMTP session: a connection that is greeted, protected, signed in, and then takes mail transactions.

1. The server's greeting; 2. TLS from the first byte or by STARTTLS, never silently without; 3. EHLO, AUTH. So far
aiosmtplib speaks. 4. Then the session reads replies by itself, because several may be under way (RFC 2920), which
aiosmtplib does not know; 5. QUIT.

Every wait has an end: a reply has the command time-out, from its command or the reply before to its last byte.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NamedTuple, cast

import aiosmtplib
from aiosmtplib import SMTPAuthenticationError, SMTPException, SMTPResponse, SMTPResponseException
from aiosmtplib.typing import Default

from gateway.errors import Insecure, RemoteError, SignInRefused
from gateway.identity import Endpoint, SignIn, TLSMode
from protocols.network import Network, explain
from protocols.replies import refusal, sign_in_refusal

SERVICE_CLOSING = 421  # RFC 5321 §3.8: the server ends the session, whatever the command was
_QUIT_TIMEOUT_S = 2.0
_MAX_REPLY = 32 * 1024  # bytes; RFC 5321 §4.5.3.1.5 says 512 for a line, and a reply has few
_REPLY_LINE = re.compile(rb"(\d{3})([ -]?)(.*)")
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class Answer(NamedTuple):
    """What a server says to a command (RFC 5321 §4.2), its lines put together."""

    code: int
    text: str


class Session:
    """A session at one endpoint. All that goes wrong at the server is raised as RemoteError.

    ``messages`` counts the transactions. ``must_reset``: the last one was not finished (RFC 5321 §4.1.1.5).
    """

    def __init__(self, network: Network, endpoint: Endpoint, helo_name: str) -> None:
        self.endpoint = endpoint
        self.messages = 0
        self.must_reset = False
        self.extensions: frozenset[str] = frozenset()
        """What the server offers (RFC 5321 §2.2.1), in lower case."""
        self._network = network
        self._helo_name = helo_name
        self._stack = AsyncExitStack()
        self._client = self._new_client()
        self._replies: Replies | None = None
        self._in_order = True

    @property
    def is_open(self) -> bool:
        """True when every reply has come, none was 421, and none came unasked."""
        return self._in_order and self._replies is not None and self._replies.is_silent

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """Raise RemoteError in place of the errors of aiosmtplib and of the network."""
        try:
            yield
        except SMTPResponseException as error:
            raise refusal(error.code, error.message, self.endpoint) from error
        except (SMTPException, OSError, RuntimeError) as error:  # RuntimeError: uvloop, of a closed transport
            raise explain(error, self.endpoint) from error

    async def start(self) -> None:
        """Connect and sign in."""
        async with self.explained():
            sock = await self._stack.enter_async_context(self._network.connect(self.endpoint))
            self._stack.callback(self._client.close)
            await self._client.connect(sock=sock)
            await self._client.ehlo()
            if self.endpoint.tls is TLSMode.STARTTLS:
                await _start_tls(self._client, self.endpoint)
            if self.endpoint.sign_in:
                await _sign_in(self._client, self.endpoint, self.endpoint.sign_in)
            self.extensions = frozenset(self._client.esmtp_extensions)
            self._take_over()

    def _new_client(self) -> _Client:
        return _Client(
            hostname=self.endpoint.host,
            use_tls=self.endpoint.tls is TLSMode.IMPLICIT,
            start_tls=False,
            tls_context=self._network.tls,
            timeout=self._network.command_timeout,
            local_hostname=self._helo_name,
        )

    def _take_over(self) -> None:
        """Read the replies from here on. What came unasked before is dropped."""
        if self._client.transport is None:
            raise ConnectionResetError
        self._replies = Replies(cast("asyncio.Transport", self._client.transport))

    def write(self, *commands: bytes) -> None:
        """Send commands, all at once. Raises OSError or RuntimeError where the connection is gone."""
        if any(_CONTROLS.search(command) for command in commands):
            raise ValueError("a command with control characters would be more than one")
        self._connected().transport.write(b"".join(command + b"\r\n" for command in commands))

    async def write_data(self, data: bytes) -> None:
        """Send bytes as they are; return when there is room for more, or the server says something.

        Raises as write().
        """
        replies = self._connected()
        replies.transport.write(data)
        await replies.room()

    def _connected(self) -> Replies:
        if self._replies is None or self._replies.transport.is_closing():
            raise ConnectionResetError
        return self._replies

    async def reply(self, timeout: float | None = None) -> Answer:  # noqa: ASYNC109 - the RFC's time-outs differ
        """Return the next reply. Raises OSError; RemoteError for what is none."""
        if self._replies is None:
            raise ConnectionResetError
        self._in_order = False
        async with asyncio.timeout(timeout or self._network.command_timeout):
            answer = await self._replies.next(self.endpoint)
        self._in_order = answer.code != SERVICE_CLOSING
        return answer

    def spoil(self) -> None:
        """Let nobody use it any more: the server waits for the end of something."""
        self._in_order = False

    async def leave(self) -> None:
        """QUIT (RFC 5321 §4.1.1.10) and close. What the server makes of it changes nothing."""
        try:
            with suppress(RemoteError, OSError, RuntimeError):
                if self._replies is None:
                    self._take_over()
                self.write(b"QUIT")
                await self.reply(min(_QUIT_TIMEOUT_S, self._network.command_timeout))
        finally:
            await self.close()

    async def close(self) -> None:
        """Drop the connection, at once."""
        await self._stack.aclose()


class Replies(asyncio.Protocol):
    """Reads a connection from here on, reply by reply, and stops reading where nobody takes them."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._is_full = False
        self._lost: Exception | None = ConnectionResetError() if transport.is_closing() else None
        transport.set_protocol(self)

    @property
    def is_silent(self) -> bool:
        """True when the connection stands and nothing is there to be read."""
        return not (self._lost or self._buffer or self.transport.is_closing())

    def data_received(self, data: bytes) -> None:
        """Keep what comes."""
        self._buffer += data
        if len(self._buffer) > _MAX_REPLY:
            self.transport.pause_reading()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._lost = exc or ConnectionResetError()
        self._news.set()

    def pause_writing(self) -> None:
        """Let who writes wait: the server does not read as fast."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Let who writes go on."""
        self._is_full = False
        self._news.set()

    async def room(self) -> None:
        """Return when there is room for more to send, or something to be read, or the connection is lost."""
        while self._is_full and self.is_silent:
            self._news.clear()
            await self._news.wait()

    async def next(self, endpoint: Endpoint) -> Answer:
        """Return the next reply. Raises OSError, RemoteError."""
        while (answer := take_reply(self._buffer, endpoint)) is None:
            if self._lost:
                raise self._lost
            self._news.clear()
            await self._news.wait()
        if len(self._buffer) <= _MAX_REPLY and not self.transport.is_closing():
            self.transport.resume_reading()
        return answer


def take_reply(buffer: bytearray, endpoint: Endpoint) -> Answer | None:
    """Remove a reply from the buffer's start (RFC 5321 §4.2.1); None where it is not whole yet.

    Raises RemoteError for what cannot become one.
    """
    texts: list[bytes] = []
    start = 0
    while (end := buffer.find(b"\n", start)) >= 0:
        line = bytes(buffer[start:end]).rstrip(b"\r")
        parts = _REPLY_LINE.fullmatch(line)
        if parts is None:
            raise refusal(-1, line.decode("utf-8", "replace"), endpoint)
        code, more, text = parts.groups()
        texts.append(text.strip())
        start = end + 1
        if more != b"-":
            del buffer[:start]
            return Answer(int(code), b"\n".join(texts).decode("utf-8", "surrogateescape"))
    if len(buffer) > _MAX_REPLY:
        raise refusal(-1, "a reply without an end", endpoint)
    return None


class _Client(aiosmtplib.SMTP):
    """aiosmtplib's client, less what could keep a session or its connection open."""

    async def execute_command(self, *args: bytes, timeout: float | Default | None = Default.token) -> SMTPResponse:  # noqa: ASYNC109 - its signature
        """Send a command, unless this task is being canceled."""
        _stop_if_canceled()
        return await super().execute_command(*args, timeout=timeout)

    def close(self) -> None:
        """Drop the connection. aiosmtplib would wait, unbounded, for a server that does not read or end TLS."""
        if self.transport is not None:
            cast("asyncio.Transport", self.transport).abort()
        super().close()


def _stop_if_canceled() -> None:
    """Raise a cancellation that was lost: Python 3.11's wait_for() loses one that comes with the reply."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


async def _start_tls(client: aiosmtplib.SMTP, endpoint: Endpoint) -> None:
    """RFC 3207. aiosmtplib drops what came in plain text behind the answer (CVE-2011-0411 and its family)."""
    if not client.supports_extension("starttls"):
        raise _no_tls(endpoint)
    try:
        await client.starttls()
    except SMTPResponseException as error:
        if error.code // 100 == 5:  # noqa: PLR2004 - RFC 5321 §4.2.1
            raise _no_tls(endpoint) from error
        raise
    await client.ehlo()  # RFC 3207 §4.2: what was learnt before TLS counts for nothing


def _no_tls(endpoint: Endpoint) -> RemoteError:
    return Insecure(f"{endpoint.host} port {endpoint.port} offers no STARTTLS. Use its TLS port, often 465.")


async def _sign_in(client: aiosmtplib.SMTP, endpoint: Endpoint, sign_in: SignIn) -> None:
    """Sign in by one mechanism, once: providers lock accounts for repeated failures."""
    offered = set(client.server_auth_methods)
    user, secret = sign_in.username.encode(), sign_in.secret.encode()
    try:
        if sign_in.oauth2 and "xoauth2" in offered:
            await client.auth_xoauth2(user, secret)
        elif not sign_in.oauth2 and "plain" in offered:
            await client.auth_plain(user, secret)
        elif not sign_in.oauth2 and "login" in offered:
            await client.auth_login(user, secret)
        else:
            raise _no_sign_in(endpoint, offered)
    except SMTPAuthenticationError as error:
        # From None: the reply in the driver's error may echo the secret, and a traceback would show it.
        raise sign_in_refusal(error.code, error.message, endpoint) from None
    _stop_if_canceled()


def _no_sign_in(endpoint: Endpoint, offered: set[str]) -> RemoteError:
    where = f"{endpoint.host} port {endpoint.port}"
    if offered:
        return SignInRefused(f"{where} offers no way to sign in that this gateway knows.")
    if endpoint.tls is TLSMode.NONE:
        return Insecure(f"{where} offers no sign-in without TLS.")
    return SignInRefused(f"{where} offers no sign-in. Try port 587 or 465.")
