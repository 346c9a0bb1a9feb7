"""IMAP (RFC 3501, RFC 9051) by aioimaplib: look at a mailbox, file sent copies.

aioimaplib leaves some things to its user, which stand in :class:`_Protocol` and :class:`_Client`: connections
through our guard, STARTTLS, a lost connection that ends the command under way, and a bound on what a server may send.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from aioimaplib import IMAP4, AioImapException, Command, IMAP4ClientProtocol, Response
from aioimaplib.aioimaplib import quoted

from gateway.errors import Deferred, Insecure, Refused, RemoteError, SignInRefused
from gateway.identity import Endpoint, SignIn, TLSMode
from protocols.network import Network, explain
from protocols.replies import printable, sign_in_advice

Result = TypeVar("Result")

_MAX_RECEIVED = 4 * 1024 * 1024  # bytes in one session; a mailbox with 20,000 folders stays below
_LOGOUT_TIMEOUT_S = 5.0
_LIST = re.compile(rb'\((?P<flags>[^)]*)\) (?:"(?:[^"\\]|\\.)*"|NIL) (?P<name>.+)', re.DOTALL)
_CAPABILITY = re.compile(rb"\[CAPABILITY ([^\]]*)\]", re.IGNORECASE)
_STATUS_ITEM = re.compile(rb"(UIDNEXT|UIDVALIDITY|UNSEEN) ([0-9]+)", re.IGNORECASE)
# Response codes of a refused sign-in that tell nothing of the password (RFC 5530 §3).
_TEMPORARY_CODES = ("[UNAVAILABLE]", "[INUSE]", "[SERVERBUG]", "[LIMIT]", "[ALERT] TOO MANY")
_SENT_NAMES = (
    "sent", "sent items", "sent mail", "sent messages", "gesendet", "gesendete objekte", "gesendete elemente",
    "envoyés", "éléments envoyés", "messages envoyés", "enviados", "elementos enviados", "posta inviata", "inviati",
    "verzonden", "verzonden items", "skickat", "sendt", "wysłane", "отправленные", "已发送",
)  # fmt: skip


class ImapAdapter:
    """The core's Mailbox for IMAP servers."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Sign in, look at INBOX and for Sent; return what there is, as ``infos``. Raises RemoteError."""
        async with self._session(endpoint) as client:
            found = {"capabilities": " ".join(sorted(client.protocol.capabilities))}
            items = "(UIDNEXT UIDVALIDITY UNSEEN)"
            status = _ok(await client.command(client.status("INBOX", items)), endpoint, "STATUS of INBOX")
            for name, value in _STATUS_ITEM.findall(b" ".join(_texts(status))):
                if name.upper() != b"UIDNEXT":
                    found[name.decode().lower()] = value.decode()
            if folder := await self._sent_folder(client, endpoint):
                found["sentfolder"] = folder.shown
            return found

    async def file_sent(self, endpoint: Endpoint, raw: bytes, at: datetime) -> str:
        r"""Append a copy, flagged ``\Seen``, to the Sent folder; return its name. Raises RemoteError."""
        async with self._session(endpoint) as client:
            folder = await self._sent_folder(client, endpoint) or await self._make_sent(client, endpoint)
            appending = client.append(raw, folder.quoted, flags=r"\Seen", date=at)
            _ok(await client.command(appending), endpoint, f"APPEND to {folder.shown}")
            return folder.shown

    async def _sent_folder(self, client: _Client, endpoint: Endpoint) -> Folder | None:
        """Find Sent: by its special use (RFC 6154), else by name, in the languages that clients have."""
        extended = {"SPECIAL-USE", "LIST-EXTENDED"} <= client.protocol.capabilities
        pattern = '"*" RETURN (SPECIAL-USE)' if extended else '"*"'
        response = _ok(await client.command(client.list('""', pattern)), endpoint, "LIST")
        folders = [folder for folder in _parse_list(response) if "\\noselect" not in folder.flags]
        for folder in folders:
            if "\\sent" in folder.flags:
                return folder
        by_name = {folder.leaf: folder for folder in folders}
        return next((by_name[name] for name in _SENT_NAMES if name in by_name), None)

    async def _make_sent(self, client: _Client, endpoint: Endpoint) -> Folder:
        folder = Folder(b"Sent", frozenset())
        _ok(await client.command(client.create(folder.quoted)), endpoint, "CREATE of Sent")
        return folder

    @asynccontextmanager
    async def _session(self, endpoint: Endpoint) -> AsyncIterator[_Client]:
        """Yield a client that is signed in. Raises RemoteError for all that goes wrong within."""
        sock = await self._network.connect(endpoint)
        context = self._network.tls if endpoint.tls is TLSMode.IMPLICIT else None
        client = _Client(sock, endpoint.host, context, self._network.command_timeout)
        try:
            await client.command(client.wait_hello_from_server())
            if endpoint.tls is TLSMode.STARTTLS:
                await _start_tls(client, endpoint, self._network.tls)
            if endpoint.sign_in:
                await _sign_in(client, endpoint, endpoint.sign_in)
            yield client
            with suppress(AioImapException, OSError, TimeoutError):
                async with asyncio.timeout(_LOGOUT_TIMEOUT_S):
                    await client.command(client.logout())
        except (AioImapException, OSError, TimeoutError, ValueError) as error:
            raise explain(error, endpoint) from error
        finally:
            client.close_connection()


# -- the session -------------------------------------------------------------------------------------------------


class _Protocol(IMAP4ClientProtocol):  # type: ignore[misc]  # aioimaplib ships no annotations
    """Reports what ends the session, and bounds what the server may send."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.lost: asyncio.Future[None] = loop.create_future()
        self._received = 0

    def data_received(self, data: bytes) -> None:
        """Hand on line by line: aioimaplib recurses once per line of a chunk."""
        self._received += len(data)
        if self._received > _MAX_RECEIVED:
            self._lose(ConnectionAbortedError("the server sent too much"))
            return
        try:
            for line in data.splitlines(keepends=True):
                super().data_received(line)
        except (AioImapException, ValueError, IndexError) as error:
            self._lose(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the command under way; aioimaplib would let it wait for its time-out."""
        self._lose(exc or ConnectionResetError("the server closed the connection"))

    async def welcome(self, command: bytes) -> None:
        """Take the greeting; a server may say BYE instead (RFC 3501 §7.1.5)."""
        try:
            await super().welcome(command)
        except (AioImapException, ValueError, IndexError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_exception(error)
            self.lost.exception()  # it is retrieved here, whether or not somebody is waiting
        if self.transport is not None:
            self.transport.abort()


class _Client(IMAP4):  # type: ignore[misc]  # aioimaplib ships no annotations
    """An IMAP client on a socket that is connected already."""

    def __init__(self, sock: Any, host: str, context: ssl.SSLContext | None, timeout: float) -> None:
        self._sock = sock
        super().__init__(host=host, timeout=timeout, ssl_context=context)

    def create_client(
        self,
        host: str,
        port: int,  # noqa: ARG002 - the signature is aioimaplib's
        loop: asyncio.AbstractEventLoop | None,
        conn_lost_cb: Any = None,  # noqa: ARG002 - as above
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Start the protocol on our socket; called by the constructor."""
        loop = loop or asyncio.get_running_loop()
        self.protocol = _Protocol(loop)
        self._lost: asyncio.Future[Any] = self.protocol.lost
        name = host if ssl_context else None
        self._client_task = loop.create_task(
            loop.create_connection(lambda: self.protocol, sock=self._sock, ssl=ssl_context, server_hostname=name)
        )

    async def command(self, command: Coroutine[Any, Any, Result]) -> Result:
        """Await a command, until the connection is lost. Raises that loss, or aioimaplib's errors."""
        task = asyncio.create_task(command)
        try:
            await asyncio.wait([task, self._lost], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self._lost.result()
            return await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def start_tls(self, context: ssl.SSLContext) -> Response:
        """Negotiate TLS (RFC 3501 §6.2.1) and ask anew what the server can do."""
        protocol = self.protocol
        response = await self.command(
            protocol.execute(Command("STARTTLS", protocol.new_tag(), timeout=self.timeout))
        )
        if response.result == "OK":
            if protocol.incomplete_line:
                # Plain text behind the answer, to be taken for a protected one: CVE-2011-0411 and its family.
                raise ConnectionAbortedError("data was injected before TLS")
            protocol.transport = await protocol.loop.start_tls(
                protocol.transport, protocol, context, server_hostname=self.host
            )
            await self.command(protocol.capability())
        return response

    async def learn_capabilities(self, response: Response) -> None:
        """Take what the server can do after the sign-in from its answer, or ask (RFC 3501 §6.2.3, §7.1)."""
        if match := _CAPABILITY.search(b" ".join(_texts(response))):
            self.protocol.capabilities = set(match[1].decode("ascii", "replace").split())
        else:
            await self.command(self.protocol.capability())

    def close_connection(self) -> None:
        """Close without a word."""
        self._client_task.cancel()
        if self.protocol.transport is not None:
            self.protocol.transport.abort()
        else:
            self._sock.close()


async def _start_tls(client: _Client, endpoint: Endpoint, context: ssl.SSLContext) -> None:
    if not client.has_capability("STARTTLS"):
        raise Insecure(f"{endpoint.host} port {endpoint.port} offers no STARTTLS. Use its TLS port, often 993.")
    _ok(await client.start_tls(context), endpoint, "STARTTLS")


async def _sign_in(client: _Client, endpoint: Endpoint, sign_in: SignIn) -> None:
    if sign_in.oauth2:
        response = await client.command(client.xoauth2(sign_in.username, sign_in.secret))
    elif client.has_capability("LOGINDISABLED"):
        raise Insecure(f"{endpoint.host} port {endpoint.port} wants TLS before the sign-in.")
    else:
        # aioimaplib quotes the password and not the name.
        response = await client.command(client.login(quoted(sign_in.username), sign_in.secret))
    if response.result != "OK":
        raise _sign_in_refusal(response, endpoint)
    await client.learn_capabilities(response)


def _sign_in_refusal(response: Response, endpoint: Endpoint) -> RemoteError:
    text = printable(_last_text(response), endpoint.sign_in)
    if any(code in text.upper() for code in _TEMPORARY_CODES):
        return Deferred(f"{endpoint.host} cannot sign in anybody now: {text}", reply=text)
    if "[PRIVACYREQUIRED]" in text.upper():
        return Insecure(f"{endpoint.host} wants TLS before the sign-in.", reply=text)
    return SignInRefused(f"{sign_in_advice(endpoint)} It said: {text}", reply=text)


def _ok(response: Response, endpoint: Endpoint, what: str) -> Response:
    """Return the response if it is OK. Raises Refused, or Deferred where the server says that it is its trouble."""
    if response.result == "OK":
        return response
    text = printable(_last_text(response), endpoint.sign_in)
    kind = Deferred if any(code in text.upper() for code in _TEMPORARY_CODES) else Refused
    raise kind(f"{endpoint.host} refuses {what}: {text}", reply=text)


def _last_text(response: Response) -> str:
    lines = _texts(response)
    return lines[-1].decode("utf-8", "replace") if lines else ""


def _texts(response: Response) -> list[bytes]:
    return [bytes(line) for line in response.lines if isinstance(line, bytes | bytearray)]


# -- LIST --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Folder:
    """A mailbox of a LIST response. ``name`` is as the server wrote it, modified UTF-7 (RFC 3501 §5.1.3)."""

    name: bytes
    flags: frozenset[str]

    @property
    def shown(self) -> str:
        """The name as people read it."""
        return _from_modified_utf7(self.name)

    @property
    def leaf(self) -> str:
        """The last part of the name, lower case: INBOX.Sent and [Gmail]/Sent Mail are Sent and Sent Mail."""
        return re.split(r"[./\\]", self.shown)[-1].casefold()

    @property
    def quoted(self) -> str:
        """The name as an argument of a command."""
        return str(quoted(self.name.decode("utf-8", "replace")))


def _parse_list(response: Response) -> Iterable[Folder]:
    """Yield the folders of a LIST response; a name that is a literal follows its line as an item of its own."""
    lines = _texts(response)
    for i, line in enumerate(lines):
        match = _LIST.fullmatch(line)
        if not match:
            continue
        name = match["name"]
        if re.fullmatch(rb"\{[0-9]+\}", name):
            name = lines[i + 1] if i + 1 < len(lines) else b""
        elif name.startswith(b'"'):
            name = re.sub(rb"\\(.)", rb"\1", name[1:-1])
        flags = frozenset(match["flags"].decode("ascii", "replace").lower().split())
        yield Folder(name, flags)


def _from_modified_utf7(name: bytes) -> str:
    """RFC 3501 §5.1.3: '&' shifts to base64 of UTF-16, with ',' for '/', until '-'; '&-' is '&'."""

    def shifted(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        return ("+" + match[1].replace(",", "/") + "-").encode("ascii").decode("utf-7", "replace")

    return re.sub(r"&([A-Za-z0-9+,]*)-", shifted, name.decode("utf-8", "replace"))
