"""SMTP submission (RFC 5321, RFC 6409) by aiosmtplib.

1. Connect through the guard; 2. TLS from the first byte or by STARTTLS, never silently without; 3. EHLO, AUTH;
4. MAIL, RCPT for each recipient, DATA; 5. QUIT. What the server says of each recipient is returned; what it says of
the session as a whole is raised.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiosmtplib
from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
)

from gateway.address import ascii_mailbox
from gateway.delivery import Reply
from gateway.errors import Insecure, Refused, RemoteError, SignInRefused
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.ports import Envelope
from protocols.network import Network, explain
from protocols.replies import printable, refusal, sign_in_refusal

_DATA_TIMEOUTS = 10  # RFC 5321 §4.5.3.2.6: the end of the data gets ten minutes where commands get one
_QUIT_TIMEOUT_S = 5.0


class SmtpAdapter:
    """The core's Submitter for SMTP servers. ``helo_name`` is how we greet (RFC 5321 §4.1.1.1)."""

    def __init__(self, network: Network, helo_name: str) -> None:
        self._network = network
        self._helo_name = helo_name

    async def submit(self, endpoint: Endpoint, envelope: Envelope, data: bytes) -> Mapping[str, Reply]:
        """Offer a message; return the server's answer for every recipient.

        Raises RemoteError where nobody got it and no recipient is to blame.
        """
        async with self._session(endpoint) as client:
            await _mail(client, endpoint, envelope, len(data))
            replies = {
                recipient: await _rcpt(client, endpoint, envelope, recipient) for recipient in envelope.recipients
            }
            accepted = [recipient for recipient, reply in replies.items() if reply.code // 100 == 2]  # noqa: PLR2004
            if accepted:
                final = await self._data(client, endpoint, data)
                replies |= dict.fromkeys(accepted, final)
            return replies

    async def _data(self, client: aiosmtplib.SMTP, endpoint: Endpoint, data: bytes) -> Reply:
        try:
            response = await client.data(data, timeout=self._network.command_timeout * _DATA_TIMEOUTS)
        except SMTPDataError as error:
            return Reply(error.code, printable(error.message, endpoint.sign_in))
        return Reply(response.code, printable(response.message, endpoint.sign_in))

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Connect, TLS, sign in. Raises RemoteError."""
        async with self._session(endpoint):
            return {}

    @asynccontextmanager
    async def _session(self, endpoint: Endpoint) -> AsyncIterator[aiosmtplib.SMTP]:
        """Yield a client that is connected and signed in. Raises RemoteError for all that goes wrong within."""
        client = aiosmtplib.SMTP(
            hostname=endpoint.host,
            sock=await self._network.connect(endpoint),
            use_tls=endpoint.tls is TLSMode.IMPLICIT,
            start_tls=False,
            tls_context=self._network.tls,
            timeout=self._network.command_timeout,
            local_hostname=self._helo_name,
        )
        try:
            await client.connect()
            await client.ehlo()
            if endpoint.tls is TLSMode.STARTTLS:
                await _start_tls(client, endpoint)
            if endpoint.sign_in:
                await _sign_in(client, endpoint, endpoint.sign_in)
            yield client
            with suppress(SMTPException):
                await client.quit(timeout=_QUIT_TIMEOUT_S)
        except SMTPResponseException as error:
            raise refusal(error.code, error.message, endpoint.host, endpoint.sign_in) from error
        except (SMTPException, OSError, TimeoutError, ValueError) as error:
            raise explain(error, endpoint) from error
        finally:
            client.close()


async def _start_tls(client: aiosmtplib.SMTP, endpoint: Endpoint) -> None:
    if not client.supports_extension("starttls"):
        raise Insecure(f"{endpoint.host} port {endpoint.port} offers no STARTTLS. Use its TLS port, often 465.")
    await client.starttls()
    await client.ehlo()  # RFC 3207 §4.2: what was learnt before TLS counts for nothing


async def _sign_in(client: aiosmtplib.SMTP, endpoint: Endpoint, sign_in: SignIn) -> None:
    """Sign in by one mechanism, once: providers lock accounts for repeated failures."""
    offered = set(client.server_auth_methods)
    if not offered:
        raise _no_sign_in(endpoint)
    user, secret = sign_in.username.encode(), sign_in.secret.encode()
    try:
        if sign_in.oauth2:
            await client.auth_xoauth2(sign_in.username, sign_in.secret)
        elif "plain" in offered:
            await client.auth_plain(user, secret)
        elif "login" in offered:
            await client.auth_login(user, secret)
        else:
            raise SignInRefused(f"{endpoint.host} offers no way to sign in that this gateway knows.")
    except SMTPAuthenticationError as error:
        raise sign_in_refusal(error.code, error.message, endpoint) from error


def _no_sign_in(endpoint: Endpoint) -> RemoteError:
    if endpoint.tls is TLSMode.NONE:
        return Insecure(f"{endpoint.host} port {endpoint.port} offers no sign-in without TLS.")
    return SignInRefused(f"{endpoint.host} port {endpoint.port} offers no sign-in. Try port 587 or 465.")


async def _mail(client: aiosmtplib.SMTP, endpoint: Endpoint, envelope: Envelope, size: int) -> None:
    options = []
    if client.supports_extension("size"):
        options.append(f"SIZE={size}")
    if envelope.smtputf8:
        if not client.supports_extension("smtputf8"):
            raise Refused(
                f"{endpoint.host} takes ASCII addresses only (no SMTPUTF8), and one of this message has none."
            )
        options += ["SMTPUTF8", "BODY=8BITMIME"]
    await client.mail(_path(envelope.sender, envelope), options=options, encoding="utf-8")


async def _rcpt(client: aiosmtplib.SMTP, endpoint: Endpoint, envelope: Envelope, recipient: str) -> Reply:
    try:
        response = await client.rcpt(_path(recipient, envelope), encoding="utf-8")
    except SMTPRecipientRefused as error:
        return Reply(error.code, printable(error.message, endpoint.sign_in))
    return Reply(response.code, printable(response.message, endpoint.sign_in))


def _path(address: str, envelope: Envelope) -> str:
    return address if envelope.smtputf8 else ascii_mailbox(address)
