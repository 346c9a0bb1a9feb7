"""IMAP (RFC 3501, RFC 9051): look at a mailbox, file sent copies.

1. Connect through the guard; 2. TLS from the first byte or by STARTTLS, never silently without; 3. sign in; 4. look
at INBOX and for the Sent folder, or into it, and append to it what is not there; 5. LOGOUT.
"""

from __future__ import annotations

import asyncio
import imaplib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta

from aioimaplib import AioImapException, Response
from aioimaplib.aioimaplib import quoted

from gateway.errors import Deferred, Insecure, Refused, RemoteError, SignInRefused, Unreachable
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.ports import ReadCopy
from protocols import sasl
from protocols.folder import Folder, find_sent, parse_list, parse_prefix
from protocols.imap_client import ImapClient, status_in, texts
from protocols.network import Network, explain
from protocols.providers import files_sent
from protocols.replies import printable, sign_in_advice

# Response codes that speak of the server's trouble, not of the command or the password (RFC 5530 §3).
_TEMPORARY = ("UNAVAILABLE", "INUSE", "SERVERBUG", "LIMIT")
_NUMBERS = re.compile(rb" *[0-9]+( [0-9]+)* *")  # RFC 3501 §7.2.5
_CODE = re.compile(r"\[([A-Z0-9-]++)[^\]]*+\]", re.IGNORECASE)


class ImapAdapter:
    """The core's MessageStore for IMAP servers."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._leaving: set[asyncio.Task[None]] = set()

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Sign in, look at INBOX and for Sent; return what there is, as ``infos``. Raises RemoteError."""
        async with self._session(endpoint) as client:
            status = await client.execute("STATUS", "INBOX", "(UIDNEXT UIDVALIDITY UNSEEN)")
            found = dict(status_in(texts(_ok(status, endpoint, "STATUS of INBOX"))))
            if uidnext := found.pop("uidnext", ""):
                found["lastseenuid"] = str(max(0, int(uidnext) - 1))  # RFC 3501 §2.3.1.1
            found["capabilities"] = " ".join(sorted(client.capabilities))
            if folder := await _sent_folder(client, endpoint):
                found["sentfolder"] = folder.shown
            return found

    async def file_sent(self, endpoint: Endpoint, message_id: str, read: ReadCopy, at: datetime) -> str | None:
        r"""Append a copy, flagged ``\Seen``, to the Sent folder, unless it has that Message-ID; return its name.

        None where the provider files by itself. Raises RemoteError, and what ``read`` does.
        """
        async with self._session(endpoint) as client:
            if _files_itself(client, endpoint):
                return None
            folder = await _sent_folder(client, endpoint)
            if folder is None:
                folder = await _make_sent(client, endpoint)
            elif await _holds(client, endpoint, folder, message_id, at):
                return folder.shown
            await _append(client, endpoint, folder, read, at)
            return folder.shown

    async def has_sent(self, endpoint: Endpoint, message_id: str, at: datetime) -> bool | None:
        """Return whether a provider that files by itself has that Message-ID in Sent; None for any other.

        None, too, where it refuses to search. Raises RemoteError where it is known to be such a one, by its name or
        by what it has said so far.
        """
        files_itself = files_sent(endpoint.host)
        try:
            async with self._session(endpoint) as client:
                files_itself = _files_itself(client, endpoint)
                folder = await _sent_folder(client, endpoint) if files_itself else None
                return await _holds(client, endpoint, folder, message_id, at) if folder else None
        except RemoteError:
            if files_itself:
                raise
            return None

    @asynccontextmanager
    async def _session(self, endpoint: Endpoint) -> AsyncIterator[ImapClient]:
        """Yield a client that is signed in. Raises RemoteError for all that goes wrong within."""
        client = ImapClient(endpoint.host, self._network.command_timeout)
        async with AsyncExitStack() as stack:
            sock = await stack.enter_async_context(self._network.connect(endpoint))
            stack.callback(client.close)
            try:
                await client.open(sock, self._network.tls if endpoint.tls is TLSMode.IMPLICIT else None)
                if endpoint.tls is TLSMode.STARTTLS:
                    await self._start_tls(client, endpoint)
                await _enter(client, endpoint)
                yield client
            except RemoteError:
                self._take_leave(client, stack)
                raise
            except (AioImapException, OSError, RuntimeError, ValueError) as error:
                # aioimaplib's errors quote the command, LOGIN with its password among them: in no traceback.
                raise _failure(client, error, endpoint) from (
                    None if isinstance(error, AioImapException) else error
                )
            else:
                self._take_leave(client, stack)

    def _take_leave(self, client: ImapClient, stack: AsyncExitStack) -> None:
        """LOGOUT, then close what is on the stack, without keeping anybody waiting.

        What was said before holds whatever comes of it, and has to be recorded at once.
        """
        task = asyncio.create_task(_log_out(client, stack.pop_all()))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _start_tls(self, client: ImapClient, endpoint: Endpoint) -> None:
        # A greeting with PREAUTH forbids STARTTLS: it would be a way to keep us from it.
        if client.signed_in or not client.can("STARTTLS"):
            raise _no_tls(endpoint)
        response = await client.start_tls(self._network.tls)
        if response.result != "OK":
            raise Deferred(_told(response, endpoint)) if _is_temporary(response) else _no_tls(endpoint)


def _no_tls(endpoint: Endpoint) -> RemoteError:
    return Insecure(f"{endpoint.host} port {endpoint.port} offers no STARTTLS. Use its TLS port, often 993.")


async def _log_out(client: ImapClient, stack: AsyncExitStack) -> None:
    async with stack:
        await client.log_out()


# -- sign-in -----------------------------------------------------------------------------------------------------


async def _enter(client: ImapClient, endpoint: Endpoint) -> None:
    """Sign in by one mechanism, once: providers lock accounts for repeated failures."""
    if client.signed_in:
        return
    if endpoint.sign_in is None:
        raise SignInRefused(f"{endpoint.host} wants a sign-in, and this account has no user name and password.")
    response = await _sign_in(client, endpoint, endpoint.sign_in)
    if response.result != "OK":
        raise _sign_in_refusal(response, endpoint)


async def _sign_in(client: ImapClient, endpoint: Endpoint, sign_in: SignIn) -> Response:
    """Prefer SASL, whose base64 holds every character, to LOGIN, whose strings are ASCII (RFC 3501 §9)."""
    if sign_in.oauth2 and client.can("AUTH=XOAUTH2"):
        return await client.authenticate("XOAUTH2", sasl.xoauth2(sign_in))
    if not sign_in.oauth2 and client.can("AUTH=PLAIN"):
        return await client.authenticate("PLAIN", sasl.plain(sign_in))
    if sign_in.oauth2 or client.can("LOGINDISABLED"):
        raise _no_sign_in(endpoint)
    if re.search(r"[\0\r\n]", sign_in.username + sign_in.secret):
        raise SignInRefused(f"{sign_in_advice(endpoint, '')} One of them holds a line break, which cannot be sent.")
    return await client.login(sign_in.username, sign_in.secret)


def _no_sign_in(endpoint: Endpoint) -> RemoteError:
    if endpoint.tls is TLSMode.NONE:
        return Insecure(f"{endpoint.host} port {endpoint.port} wants TLS before the sign-in.")
    return SignInRefused(f"{endpoint.host} port {endpoint.port} offers no way to sign in that this gateway knows.")


def _sign_in_refusal(response: Response, endpoint: Endpoint) -> RemoteError:
    text = _text(response, endpoint)
    if _is_temporary(response):
        return Deferred(f"{endpoint.host} cannot sign in anybody now: {text}", reply=text)
    if _code(response) == "PRIVACYREQUIRED":
        return Insecure(f"{endpoint.host} wants TLS before the sign-in.", reply=text)
    if response.result == "BAD":  # RFC 3501 §7.1.3: it did not understand; nothing was said of the password
        return Refused(_told(response, endpoint), reply=text)
    return SignInRefused(f"{sign_in_advice(endpoint, text)} It said: {text}", reply=text)


# -- folders -----------------------------------------------------------------------------------------------------


async def _sent_folder(client: ImapClient, endpoint: Endpoint) -> Folder | None:
    # RFC 6154 §2: some servers tell special uses only when asked, which takes the extended LIST of RFC 5258.
    extended = client.can("SPECIAL-USE") and client.can("LIST-EXTENDED")
    response = await client.execute("LIST", '""', '"*" RETURN (SPECIAL-USE)' if extended else '"*"')
    return find_sent(parse_list(texts(_ok(response, endpoint, "LIST"))))


async def _make_sent(client: ImapClient, endpoint: Endpoint) -> Folder:
    """Create Sent where a person's own folders are: some servers have them below INBOX (RFC 2342)."""
    prefix = ""
    if client.can("NAMESPACE"):
        prefix = parse_prefix(b"NAMESPACE " + line for line in texts(await client.execute("NAMESPACE")))
    folder = Folder(f"{prefix}Sent")
    await _create(client, endpoint, folder)
    return folder


async def _create(client: ImapClient, endpoint: Endpoint, folder: Folder) -> None:
    response = await client.execute("CREATE", quoted(folder.name))
    if _code(response) != "ALREADYEXISTS":  # RFC 5530 §3: another copy was filed in the meantime
        _ok(response, endpoint, f"CREATE of {folder.shown}")
    await client.execute("SUBSCRIBE", quoted(folder.name))  # most clients show subscribed folders only


def _files_itself(client: ImapClient, endpoint: Endpoint) -> bool:
    """True for a provider that puts what is sent through it into Sent: Gmail, by its extension, and some hosts."""
    return client.can("X-GM-EXT-1") or files_sent(endpoint.host)


async def _holds(
    client: ImapClient, endpoint: Endpoint, folder: Folder, message_id: str, at: datetime
) -> bool | None:
    """True when the folder has that Message-ID, since the day before ``at``: an old Sent folder is long to search.

    A day before, because SINCE disregards time and zone (RFC 3501 §6.4.4). A refusal tells nothing: None.
    """
    response = await client.examine(folder.name)
    if response.result == "OK":
        since = imaplib.Time2Internaldate(at - timedelta(days=1))[1:12]
        response = await client.execute("SEARCH", "SINCE", since, "HEADER", "Message-ID", quoted(f"<{message_id}>"))
    if _is_temporary(response):
        _ok(response, endpoint, f"a look into {folder.shown}")
    return any(map(_NUMBERS.fullmatch, texts(response)[:-1])) if response.result == "OK" else None


async def _append(client: ImapClient, endpoint: Endpoint, folder: Folder, read: ReadCopy, at: datetime) -> None:
    response = await client.append(folder.name, await read(), at)
    if _code(response) == "TRYCREATE":  # RFC 3501 §6.3.11: it was listed, and has gone or never was
        await _create(client, endpoint, folder)
        response = await client.append(folder.name, await read(), at)
    _ok(response, endpoint, f"APPEND to {folder.shown}")


# -- responses ---------------------------------------------------------------------------------------------------


def _ok(response: Response, endpoint: Endpoint, what: str) -> Response:
    """Return the response if it is OK. Raises Refused, or Deferred where the server says that it is its trouble."""
    if response.result == "OK":
        return response
    text = _text(response, endpoint)
    kind = Deferred if _is_temporary(response) else Refused
    raise kind(f"{endpoint.host} refuses {what}: {text}", reply=text)


def _failure(client: ImapClient, error: Exception, endpoint: Endpoint) -> RemoteError:
    """Return what the end of a session means."""
    if client.farewell is not None:
        text = printable(client.farewell, endpoint.sign_in)
        return Deferred(f"{endpoint.host} ended the session: {text}", reply=text)
    if isinstance(error, OSError | RuntimeError):
        return explain(error, endpoint)
    return Unreachable(f"{endpoint.host} port {endpoint.port} answered otherwise than a mail server should.")


def _told(response: Response, endpoint: Endpoint) -> str:
    return f"{endpoint.host}: {response.result} {_text(response, endpoint)}"


def _text(response: Response, endpoint: Endpoint) -> str:
    return printable(_last(response), endpoint.sign_in)


def _is_temporary(response: Response) -> bool:
    # Gmail has no response code for it: NO [ALERT] Too many simultaneous connections.
    return _code(response) in _TEMPORARY or "too many simultaneous connections" in _last(response).lower()


def _code(response: Response) -> str:
    """Return the response code (RFC 3501 §7.1), empty where there is none."""
    match = _CODE.match(_last(response))
    return match[1].upper() if match and response.result != "OK" else ""


def _last(response: Response) -> str:
    lines = texts(response)
    return lines[-1].decode("utf-8", "replace") if lines else ""
