"""SMTP submission (RFC 5321, RFC 6409) by aiosmtplib.

1. Connect through the guard; 2. TLS from the first byte or by STARTTLS, never silently without; 3. EHLO, AUTH;
4. MAIL, RCPT for each recipient, DATA; 5. QUIT. What the server says of each recipient is returned; what it says of
the session as a whole is raised.

Every wait has an end: a reply has the command time-out from its command to its last byte, and the commands of a
session are few, but for RCPT: MAIL and all RCPTs have one time-out together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import cast

import aiosmtplib
from aiosmtplib import SMTPAuthenticationError, SMTPDataError, SMTPException, SMTPResponse, SMTPResponseException
from aiosmtplib.errors import SMTPRecipientRefused
from aiosmtplib.typing import Default

from gateway.address import ascii_host, ascii_mailbox
from gateway.delivery import RecipientState, Reply
from gateway.errors import Insecure, Refused, RemoteError, SignInRefused, Unreachable
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.ports import Envelope
from protocols.network import Network, explain
from protocols.replies import recipient_verdict, refusal, sign_in_refusal, verdict

_LONG_TIMEOUTS = 10  # RFC 5321 §4.5.3.2.6: the end of the data gets ten minutes where commands get one
_QUIT_TIMEOUT_S = 2.0


class SmtpAdapter:
    """The core's Submitter for SMTP servers. ``helo_name`` is how we greet (RFC 5321 §4.1.1.1)."""

    def __init__(self, network: Network, helo_name: str) -> None:
        self._network = network
        self._helo_name = ascii_host(helo_name)
        self._leaving: set[asyncio.Task[None]] = set()

    async def submit(self, endpoint: Endpoint, envelope: Envelope, data: bytes) -> Mapping[str, Reply]:
        """Offer a message; return the server's answer for every recipient.

        Raises RemoteError where nobody got it and no recipient is to blame.
        """
        long_timeout = self._network.command_timeout * _LONG_TIMEOUTS
        async with self._session(endpoint) as client:
            async with asyncio.timeout(long_timeout):
                await _mail(client, endpoint, envelope, data)
                replies = await _recipients(client, endpoint, envelope)
            if accepted := [r for r, reply in replies.items() if reply.state is RecipientState.ACCEPTED]:
                final = await _data(client, endpoint, data, long_timeout)
                replies |= dict.fromkeys(accepted, final)
            return replies

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Connect, TLS, sign in. Raises RemoteError."""
        async with self._session(endpoint):
            return {}

    @asynccontextmanager
    async def _session(self, endpoint: Endpoint) -> AsyncIterator[aiosmtplib.SMTP]:
        """Yield a client that is connected and signed in. Raises RemoteError for all that goes wrong within."""
        async with AsyncExitStack() as stack:
            sock = await stack.enter_async_context(self._network.connect(endpoint))
            client = self._client(endpoint)
            stack.callback(client.close)
            try:
                await client.connect(sock=sock)
                await client.ehlo()
                if endpoint.tls is TLSMode.STARTTLS:
                    await _start_tls(client, endpoint)
                if endpoint.sign_in:
                    await _sign_in(client, endpoint, endpoint.sign_in)
                yield client
            except SMTPResponseException as error:
                refused = refusal(error.code, error.message, endpoint)
                self._take_leave(client, stack, refused)
                raise refused from error
            except RemoteError as error:
                self._take_leave(client, stack, error)
                raise
            except (SMTPException, OSError, RuntimeError) as error:  # RuntimeError: uvloop, of a closed transport
                raise explain(error, endpoint) from error
            else:
                self._take_leave(client, stack)

    def _client(self, endpoint: Endpoint) -> aiosmtplib.SMTP:
        return _Client(
            hostname=endpoint.host,
            use_tls=endpoint.tls is TLSMode.IMPLICIT,
            start_tls=False,
            tls_context=self._network.tls,
            timeout=self._network.command_timeout,
            local_hostname=self._helo_name,
        )

    def _take_leave(
        self, client: aiosmtplib.SMTP, stack: AsyncExitStack, reason: RemoteError | None = None
    ) -> None:
        """QUIT (RFC 5321 §4.1.1.10), then close what is on the stack, without keeping anybody waiting.

        What was said before holds whatever comes of it, and has to be recorded at once.
        """
        if isinstance(reason, Unreachable):
            return  # it speaks no SMTP
        task = asyncio.create_task(self._quit(client, stack.pop_all()))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _quit(self, client: aiosmtplib.SMTP, stack: AsyncExitStack) -> None:
        async with stack:
            with suppress(SMTPException, OSError, RuntimeError):
                await client.quit(timeout=min(_QUIT_TIMEOUT_S, self._network.command_timeout))


class _Client(aiosmtplib.SMTP):
    """aiosmtplib's client, less what could keep a session or its connection open."""

    async def execute_command(self, *args: bytes, timeout: float | Default | None = Default.token) -> SMTPResponse:  # noqa: ASYNC109
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
        raise sign_in_refusal(error.code, error.message, endpoint) from error


def _no_sign_in(endpoint: Endpoint, offered: set[str]) -> RemoteError:
    where = f"{endpoint.host} port {endpoint.port}"
    if offered:
        return SignInRefused(f"{where} offers no way to sign in that this gateway knows.")
    if endpoint.tls is TLSMode.NONE:
        return Insecure(f"{where} offers no sign-in without TLS.")
    return SignInRefused(f"{where} offers no sign-in. Try port 587 or 465.")


async def _mail(client: aiosmtplib.SMTP, endpoint: Endpoint, envelope: Envelope, data: bytes) -> None:
    options = []
    if client.supports_extension("size"):
        options.append(f"SIZE={len(data)}")  # RFC 1870
    if envelope.smtputf8:
        if not client.supports_extension("smtputf8"):
            raise Refused(
                f"{endpoint.host} takes ASCII addresses only (no SMTPUTF8), and one of this message has none."
            )
        options.append("SMTPUTF8")
    # RFC 6152. To a server that does not offer it 8 bit data goes undeclared: there is none left that minds.
    if not data.isascii() and client.supports_extension("8bitmime"):
        options.append("BODY=8BITMIME")
    await client.mail(_path(envelope.sender, envelope), options=options, encoding="utf-8")


async def _recipients(client: aiosmtplib.SMTP, endpoint: Endpoint, envelope: Envelope) -> dict[str, Reply]:
    replies: dict[str, Reply] = {}
    accepted = False
    for recipient in envelope.recipients:
        try:
            code, text = await client.rcpt(_path(recipient, envelope), encoding="utf-8")
        except SMTPRecipientRefused as error:
            code, text = error.code, error.message
        replies[recipient] = recipient_verdict(code, text, endpoint, others_accepted=accepted)
        accepted |= replies[recipient].state is RecipientState.ACCEPTED
    return replies


async def _data(client: aiosmtplib.SMTP, endpoint: Endpoint, data: bytes, timeout: float) -> Reply:  # noqa: ASYNC109
    """Send the message; return the answer, which is for all who were accepted (RFC 5321 §4.1.1.4)."""
    _stop_if_canceled()
    try:
        code, text = await client.data(data, timeout=timeout)
    except SMTPDataError as error:
        if error.code // 100 == 2:  # noqa: PLR2004 - RFC 5321 §4.2.1
            # In place of 354: nothing was sent, so nothing is accepted.
            raise refusal(-1, f"{error.code} {error.message}", endpoint) from error
        code, text = error.code, error.message
    return verdict(code, text, endpoint)


def _path(address: str, envelope: Envelope) -> str:
    """Return the address as it goes into MAIL or RCPT; the null reverse-path (RFC 5321 §4.5.5) is empty."""
    return address if envelope.smtputf8 or not address else ascii_mailbox(address)
