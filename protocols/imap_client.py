"""An IMAP client on a connected socket: aioimaplib's protocol, and what that leaves to its user.

- Our socket, so that connections go through the guard; STARTTLS.
- A lost connection ends the command under way; aioimaplib would let it wait for its time-out, or for ever.
- A message is appended piece by piece, as fast as the server reads; aioimaplib would hold it whole.
- Every command has one time-out, from its start to its end; aioimaplib starts anew with every line of the server.
- What a server may send is bounded, and what its parser makes of hostile bytes ends this session and nothing else.
- AUTHENTICATE with and without an initial response, and with an answer to the error challenge of XOAUTH2.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from imaplib import Time2Internaldate
from typing import Any, TypeVar

from aioimaplib import Command, IMAP4ClientProtocol, Response
from aioimaplib.aioimaplib import AUTH, NONAUTH, SELECTED, quoted

from gateway.ports import Content

Result = TypeVar("Result")

_MAX_RECEIVED = 4 * 1024 * 1024  # bytes in one session; a mailbox with 20,000 folders stays below both
_MAX_LINES = 40_000
_MAX_LINE = 16 * 1024
_MAX_CAPABILITIES = 100
_LONG_TIMEOUTS = 10  # a message gets ten times as long as a command, as in SMTP
_LOGOUT_TIMEOUT_S = 2.0
_GREETING = re.compile(rb"\* (OK|PREAUTH|BYE)\b", re.IGNORECASE)
_BYE = re.compile(rb"\* BYE *(.*)", re.IGNORECASE | re.DOTALL)
_CAPABILITY = re.compile(rb"(?:^|\[)CAPABILITY ([^\]]*)", re.IGNORECASE)
_ATOM = re.compile(r"[!-~]{1,64}")
_STATUS = re.compile(rb"\b(UIDNEXT|UIDVALIDITY|UNSEEN) ([0-9]{1,10})\b", re.IGNORECASE)  # RFC 3501 §9: 32 bit


class ImapClient:
    """One session. Its calls raise OSError where the connection fails or times out, and what aioimaplib raises."""

    def __init__(self, host: str, timeout: float) -> None:
        """``timeout``: seconds for the answer to a command."""
        self._host = host
        self._timeout = timeout
        self._protocol = _Protocol(asyncio.get_running_loop())
        self.capabilities: frozenset[str] = frozenset()
        """As the server writes them; :meth:`can` compares them as the RFC does."""

    def can(self, capability: str) -> bool:
        """True when the server has that capability, given in upper case; its own case means nothing."""
        return any(known.upper() == capability for known in self.capabilities)

    @property
    def signed_in(self) -> bool:
        """True after the sign-in, and from the start where the server greets with PREAUTH."""
        return bool(self._protocol.state == AUTH)

    @property
    def farewell(self) -> str | None:
        """What the server said when it ended the session on its own (RFC 3501 §7.1.5)."""
        return self._protocol.farewell

    async def open(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Take over a connected socket, with TLS from the first byte where given; read the greeting."""
        loop = asyncio.get_running_loop()
        handshake: dict[str, Any] = {}
        if tls:
            handshake = {"ssl": tls, "server_hostname": self._host, "ssl_handshake_timeout": self._timeout}
        async with asyncio.timeout(self._timeout):
            await loop.create_connection(lambda: self._protocol, sock=sock, **handshake)
        await self._run(self._protocol.greeted.wait())
        await self.ask_capabilities()

    async def start_tls(self, tls: ssl.SSLContext) -> Response:
        """Negotiate TLS (RFC 3501 §6.2.1) and ask anew what the server can do."""
        response = await self.execute("STARTTLS")
        if response.result == "OK":
            async with asyncio.timeout(self._timeout):
                await self._protocol.start_tls(tls, self._host)
            await self.ask_capabilities()
        return response

    async def authenticate(self, mechanism: str, message: bytes) -> Response:
        """Sign in by SASL (RFC 3501 §6.2.2), with the message in the command where that is taken (RFC 4959)."""
        encoded = b64encode(message).decode()
        immediate = self.can("SASL-IR")
        self._protocol.sasl_answers.extend([] if immediate else [encoded])
        return await self._sign_in("AUTHENTICATE", mechanism, *([encoded] if immediate else []))

    async def login(self, username: str, password: str) -> Response:
        """Sign in by LOGIN (RFC 3501 §6.2.3). Raises ValueError for line breaks and NUL, which no string holds."""
        return await self._sign_in("LOGIN", quoted(username), quoted(password))

    async def _sign_in(self, *command: str) -> Response:
        response = await self.execute(*command)
        if response.result == "OK":
            self._protocol.state = AUTH
            # RFC 3501 §6.2.3: the answer may tell what the server can do from here on.
            self.capabilities = capabilities_in(texts(response))
            if not self.capabilities:
                await self.ask_capabilities()
        return response

    async def ask_capabilities(self) -> None:
        """RFC 3501 §6.1.1."""
        response = await self.execute("CAPABILITY")
        self.capabilities = capabilities_in(b"CAPABILITY " + line for line in texts(response)[:-1])

    async def execute(self, name: str, *arguments: str) -> Response:
        """Send a command and return its response."""
        return await self._run(self._protocol.execute(Command(name, self._protocol.new_tag(), *arguments)))

    async def examine(self, mailbox: str) -> Response:
        """Open a mailbox to look into it and change nothing (RFC 3501 §6.3.2)."""
        response = await self.execute("EXAMINE", quoted(mailbox))
        if response.result == "OK":
            self._protocol.state = SELECTED
        return response

    async def append(self, mailbox: str, raw: Content, at: datetime) -> Response:
        r"""Store a message, flagged ``\Seen``, with its date (RFC 3501 §6.3.11). Raises what its reading does."""
        arguments = quoted(mailbox), r"(\Seen)", Time2Internaldate(at), f"{{{raw.size}}}"
        command = Command("APPEND", self._protocol.new_tag(), *arguments)
        return await self._run(self._protocol.execute_with(command, raw.pieces), self._timeout * _LONG_TIMEOUTS)

    async def log_out(self) -> None:
        """Take leave. Whatever comes of it changes nothing of what was said before."""
        with suppress(Exception):
            async with asyncio.timeout(_LOGOUT_TIMEOUT_S):
                await self.execute("LOGOUT")

    def close(self) -> None:
        """Drop the connection."""
        if self._protocol.transport is not None:
            self._protocol.transport.abort()

    async def _run(self, command: Coroutine[Any, Any, Result], timeout: float | None = None) -> Result:  # noqa: ASYNC109
        """Await a command until its end, the loss of the connection or the time-out."""
        task = asyncio.create_task(command)
        lost: asyncio.Future[None] = self._protocol.lost
        ends: list[asyncio.Future[Any]] = [task, lost]
        try:
            async with asyncio.timeout(timeout or self._timeout):
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                lost.result()
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class _Protocol(IMAP4ClientProtocol):  # type: ignore[misc]  # aioimaplib ships no annotations
    """aioimaplib's protocol. ``lost`` gets the exception that ends the session."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.transport: asyncio.Transport | None = None
        self.greeted = asyncio.Event()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.farewell: str | None = None
        self.sasl_answers: deque[str] = deque()
        self._literal: AsyncIterator[bytes] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._received = 0
        self._lines = 0
        self._beginning = b""
        self._behind_answer = False

    async def start_tls(self, tls: ssl.SSLContext, host: str) -> None:
        """Negotiate TLS, unless the server said more than the answer to the last command."""
        if self._beginning or self._behind_answer or self.lost.done():
            # Plain text behind the answer, to be taken for a protected one: CVE-2011-0411 and its family.
            raise ConnectionAbortedError("data was injected before TLS, or the connection was lost")
        self.transport = await self.loop.start_tls(self.transport, self, tls, server_hostname=host)

    def data_received(self, data: bytes) -> None:
        """Hand on line by line: aioimaplib recurses once per line, and copies an unfinished one at every call."""
        *lines, self._beginning = (self._beginning + data).split(b"\r\n")
        self._received += len(data)
        self._lines += len(lines)
        if self._received > _MAX_RECEIVED or self._lines > _MAX_LINES or len(self._beginning) > _MAX_LINE:
            self._lose(ValueError("the server sent too much"))
            return
        try:
            for line in lines:
                self._line_received(line)
        except Exception as error:  # noqa: BLE001 - aioimaplib raises whatever its parser trips over
            self._lose(ValueError(f"no IMAP: {type(error).__name__}"))

    def _line_received(self, line: bytes) -> None:
        if bye := _BYE.fullmatch(line):
            self.farewell = bye[1].decode("utf-8", "replace")
        self._behind_answer = self.pending_sync_command is None
        super().data_received(line + b"\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """End the command under way."""
        self._lose(exc or ConnectionResetError("the server closed the connection"))

    async def welcome(self, line: bytes) -> None:
        """Take the greeting (RFC 3501 §7.1); aioimaplib calls this with all that comes until there is a state."""
        kind = _GREETING.match(line)
        if self.greeted.is_set():
            return
        if kind is None or kind[1].upper() == b"BYE":
            self._lose(ConnectionAbortedError("no greeting"))
            return
        self.state = AUTH if kind[1].upper() == b"PREAUTH" else NONAUTH
        self.greeted.set()

    async def execute_with(self, command: Command, literal: AsyncIterator[bytes]) -> Response:
        """Execute a command that ends with a literal, which goes when the server asks for it (RFC 3501 §7.5)."""
        self._literal = literal
        response = await self.execute(command)
        if self._sending:
            await asyncio.wait([self._sending])
        return response

    async def _send(self, literal: AsyncIterator[bytes]) -> None:
        """Send a literal as fast as the server reads. What ends it early ends the session."""
        try:
            async for piece in literal:
                self._write(piece)
                await self._has_room.wait()
            self._write(b"\r\n")
        except Exception as error:  # noqa: BLE001 - whoever waits for the command gets it
            self._lose(error)

    def _write(self, data: bytes) -> None:
        if self.transport is None:
            raise ConnectionResetError
        self.transport.write(data)

    def pause_writing(self) -> None:
        """Let a literal wait: the server does not read as fast."""
        self._has_room.clear()

    def resume_writing(self) -> None:
        """Let a literal go on."""
        self._has_room.set()

    def _continuation(self, line: bytes) -> None:
        command = self.pending_sync_command
        if self.transport and command and command.name == "AUTHENTICATE":
            # An empty answer to a further challenge makes the server say why it refuses (XOAUTH2).
            answer = self.sasl_answers.popleft() if self.sasl_answers else ""
            self.transport.write(f"{answer}\r\n".encode())
        elif self._literal is not None and command and command.name == "APPEND":
            self._sending = self.loop.create_task(self._send(self._literal))
            self._literal = None
        else:
            super()._continuation(line)

    def _lose(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_exception(error)
            self.lost.exception()  # it is retrieved here, whether or not somebody is waiting
        if self._sending:
            self._sending.cancel()
        if self.transport is not None:
            self.transport.abort()


# -- responses ---------------------------------------------------------------------------------------------------


def texts(response: Response) -> list[bytes]:
    """Return the lines and literals of a response; the last is the text of its tagged end."""
    return [bytes(line) for line in response.lines]


def capabilities_in(lines: Iterable[bytes]) -> frozenset[str]:
    """Return what a server says that it can do, by a response or a response code (RFC 3501 §7)."""
    words = (match[1].decode("ascii", "replace").split() for line in lines if (match := _CAPABILITY.search(line)))
    found = [word for line in words for word in line if _ATOM.fullmatch(word)]
    return frozenset(found[:_MAX_CAPABILITIES])


def status_in(lines: Iterable[bytes]) -> Mapping[str, str]:
    """Return the items of a STATUS response (RFC 3501 §7.2.4) by their names in lower case."""
    return {name.decode().lower(): value.decode() for line in lines for name, value in _STATUS.findall(line)}
