"""Another mail provider, on loopback: what the demo and the tests send to and read from.

Real servers in the running event loop, under asyncio and uvloop alike: SMTP by aiosmtpd, IMAP4rev1 by pymap. They
can be stopped and started again, which keeps the ports and the mail.

A recipient that is no account here is refused. Two local parts show, at any domain, what else can happen:
``later@…`` is put off (451, a retry may succeed) and ``never@…`` is refused for good (550).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from argparse import ArgumentParser
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hmac import compare_digest
from typing import Any, Self, cast
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from proxyprotocol.sock import SocketInfoLocal
from pymap.backend.dict import Config, DictBackend, Login
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxData, MailboxSet
from pymap.concurrent import Subsystem
from pymap.config import BackendCapability
from pymap.exceptions import NotAllowedError
from pymap.imap import IMAPServer, IMAPService
from pymap.parsing.message import AppendMessage
from pymap.parsing.specials import ObjectId
from pymap.user import UserMetadata
from pysasl.hashing import BuiltinHash
from pysasl.prep import Preparation, noprep

_MAX_SIZE = 25 * 1024 * 1024
"""Bytes of one message, for SMTP (SIZE, RFC 1870) and IMAP (APPENDLIMIT, RFC 7889)."""
_MAX_IMAP_CLIENTS = 100
_MAX_RECEIVED = 1000
_GRACE = 2.0
"""Seconds that a cut connection has to end by itself."""
_REFUSALS = {"later": "451 4.3.0 try again later", "never": "550 5.7.1 refused by policy"}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """A person's account here; the address is the name to sign in with."""

    address: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An accepted SMTP transaction."""

    mail_from: str
    """Empty for the null reverse-path ``<>`` (RFC 5321 §4.5.5)."""
    rcpt_tos: tuple[str, ...]
    data: bytes
    signed_in_as: str | None
    extensions: tuple[str, ...]
    """The parameters of MAIL, in upper case: ``SIZE=123``, ``BODY=8BITMIME``, ``SMTPUTF8``."""


class _Mailboxes(MailboxSet):
    """An account's INBOX and Sent, in memory; this provider lets nobody create, rename or delete mailboxes."""

    def __init__(self) -> None:
        super().__init__()
        self._set["Sent"] = MailboxData(self._content_cache, self._thread_cache)
        self._subscribed["Sent"] = True

    @property
    def inbox(self) -> MailboxData:
        return self._inbox

    async def add_mailbox(self, name: str) -> ObjectId:
        raise NotAllowedError(f"{name} cannot be created here.")

    async def delete_mailbox(self, name: str) -> None:
        raise NotAllowedError(f"{name} cannot be deleted here.")

    async def rename_mailbox(self, before: str, after: str) -> None:  # noqa: ARG002 - pymap's signature
        raise NotAllowedError(f"{before} cannot be renamed here.")


class _ImapConfig(Config):
    @property
    def password_prep(self) -> Preparation:
        return noprep  # saslprep raises ValueError at characters younger than Unicode 3.2

    @property
    def greeting(self) -> bytes:
        return b"Server ready"  # pymap would ask the resolver for the name of this machine

    @property
    def backend_capability(self) -> BackendCapability:
        return BackendCapability(idle=True, object_id=False, multi_append=True)


class _Peer(SocketInfoLocal):
    """pymap trusts loopback to sign in without TLS; here a client meets what it would meet outside."""

    @property
    def from_localhost(self) -> bool:
        return False


class _Smtp(SMTP):
    """aiosmtpd's protocol, which can be cut from outside."""

    def cut(self) -> asyncio.Task[None] | None:
        """End the connection at once; return the task that still has to end, if there is one."""
        if self.transport is not None and not self.transport.is_closing():
            cast("asyncio.Transport", self.transport).abort()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()  # amid a TLS handshake it would not hear of the end
        return self._handler_coroutine


class _SmtpReplies:
    """What one port answers (https://aiosmtpd.aio-libs.org/en/stable/handlers.html).

    Authentication is checked here and not by aiosmtpd's ``auth_required``, which warns when TLS is not required.
    """

    def __init__(self, provider: Provider, *, asks_auth: bool) -> None:
        self._provider = provider
        self._asks_auth = asks_auth

    # The names below are aiosmtpd's, hence each N802.

    async def handle_AUTH(  # noqa: N802
        self, server: SMTP, session: Session, _envelope: Envelope, args: list[str]
    ) -> str | None:
        """Sign in (RFC 4954 §4). Left to itself, aiosmtpd would log a deprecation of its own code here."""
        result = await (server.auth_PLAIN if args[0] == "PLAIN" else server.auth_LOGIN)(server, args)
        if result.success:
            session.authenticated, session.auth_data = True, result.auth_data
            return "235 2.7.0 signed in"
        return None if result.handled else "535 5.7.8 wrong address or password"

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._asks_auth and not session.authenticated:
            return "530 5.7.0 sign in first"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        local_part = address.rpartition("@")[0].lower()
        if local_part in _REFUSALS:
            return _REFUSALS[local_part]
        if address.lower() not in self._provider.mailboxes:
            return f"550 5.1.1 <{address}>: no such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        delivery = Delivery(
            mail_from=(envelope.mail_from or "").removeprefix("<>"),
            rcpt_tos=tuple(envelope.rcpt_tos),
            data=envelope.original_content or b"",
            signed_in_as=session.auth_data,
            extensions=tuple(envelope.mail_options),
        )
        await self._provider.deliver(delivery)
        return "250 2.0.0 delivered"

    async def handle_exception(self, error: Exception) -> str:
        _logger.error("An SMTP command failed", exc_info=error)
        return "451 4.3.0 local error"


class Provider:
    """An SMTP and an IMAP server on loopback that play another mail provider.

    The submission port takes mail only from accounts that signed in (AUTH PLAIN or LOGIN); the relay port takes
    mail from anybody, as the host does that MX names. Both deliver to accounts of this provider only. With `tls`,
    a client must use STARTTLS before it can sign in, on the submission port and with IMAP; without, it signs in
    in the clear. A port given as 0 is chosen at the first start and kept from then on.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        accounts: Sequence[Account],
        *,
        submission_port: int = 0,
        relay_port: int = 0,
        imap_port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.submission_port = submission_port
        self.relay_port = relay_port
        self.imap_port = imap_port
        self.received: list[Delivery] = []
        """The last 1000 accepted SMTP transactions, oldest first."""
        self.mailboxes: dict[str, _Mailboxes] = {}
        self._passwords = {account.address: account.password for account in accounts}
        self._tls = tls
        self._servers: list[asyncio.Server] = []
        self._smtp_clients: WeakSet[_Smtp] = WeakSet()
        self._imap_clients: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Serve on the three ports. Raises OSError when one of them is in use; then nothing is left running."""
        self.mailboxes = self.mailboxes or {address.lower(): _Mailboxes() for address in self._passwords}
        loop, here, imap = asyncio.get_running_loop(), self.host, self._imap_server()
        submission, relay = (partial(self._smtp, loop, asks_auth=asks_auth) for asks_auth in (True, False))
        try:
            self.submission_port = await self._serve(loop.create_server(submission, here, self.submission_port))
            self.relay_port = await self._serve(loop.create_server(relay, here, self.relay_port))
            self.imap_port = await self._serve(
                asyncio.start_server(partial(self._meet_imap, imap), here, self.imap_port)
            )
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the ports and cut every connection. The mail stays."""
        for server in self._servers:
            server.close()
        for _ in range(3):
            await asyncio.sleep(0)  # asyncio needs a few turns to hand over what it has already accepted
        for task, writer in self._imap_clients.items():
            if isinstance(writer.transport.get_protocol(), asyncio.StreamReaderProtocol):
                writer.transport.abort()
            else:
                task.cancel()  # amid a TLS handshake: Python 3.11 would take an aborted one for a success
        tasks = {*self._imap_clients, *filter(None, [client.cut() for client in self._smtp_clients])}
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=_GRACE)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.stop()

    def inbox(self, address: str) -> list[bytes]:
        """Return the delivered messages for that address as they came, oldest first."""
        return [each.data for each in self.received if address.lower() in map(str.lower, each.rcpt_tos)]

    async def deliver(self, delivery: Delivery) -> None:
        """Put the message into the INBOX of each recipient."""
        for address in dict.fromkeys(recipient.lower() for recipient in delivery.rcpt_tos):
            await self.mailboxes[address].inbox.append(AppendMessage(delivery.data), recent=True)
        self.received.append(delivery)
        del self.received[:-_MAX_RECEIVED]

    async def _serve(self, starting: Awaitable[asyncio.Server]) -> int:
        server = await starting
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def _smtp(self, loop: asyncio.AbstractEventLoop, *, asks_auth: bool) -> SMTP:
        """Make the protocol of one connection. Where nobody signs in, AUTH "needs TLS" that is not offered."""
        client = _Smtp(
            _SmtpReplies(self, asks_auth=asks_auth),
            data_size_limit=_MAX_SIZE,
            enable_SMTPUTF8=True,
            hostname="provider.test",  # aiosmtpd would ask the resolver
            tls_context=self._tls if asks_auth else None,
            auth_require_tls=self._tls is not None or not asks_auth,
            authenticator=self._authenticate,
            loop=loop,
        )
        self._smtp_clients.add(client)
        return client

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, auth_data: Any
    ) -> AuthResult:
        address = auth_data.login.decode(errors="replace")
        password = self._passwords.get(address, "").encode()
        signed_in = address in self._passwords and compare_digest(password, auth_data.password)
        return AuthResult(success=signed_in, handled=False, auth_data=address)

    def _imap_server(self) -> IMAPServer:
        """Set up pymap as its command line would, but without its threads and without asking the resolver."""
        parser = ArgumentParser()
        IMAPService.add_arguments(parser)
        DictBackend.add_subparser("dict", parser.add_subparsers())
        parser.set_defaults(debug=False, passlib_cfg=None)
        config = _ImapConfig.from_args(
            parser.parse_args(["dict"] if self._tls else ["--no-tls", "dict"]),
            ssl_context=self._tls or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            hash_context=BuiltinHash(rounds=1000),  # cheap: it is made anew at each start and never stored
            cpu_subsystem=Subsystem.for_asyncio(),
            max_append_len=_MAX_SIZE,
            reject_dnsbl=False,
        )
        login = Login(config)
        for address, password in self._passwords.items():
            hashed = config.hash_context.hash(password)
            login.users_dict[address] = UserMetadata(config, address, password=hashed)
            config.set_cache[address] = self.mailboxes[address.lower()], FilterSet()
        return IMAPServer(login, config)

    def _meet_imap(self, imap: IMAPServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._imap_clients) >= _MAX_IMAP_CLIENTS:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._talk_imap(imap, reader, writer))
        self._imap_clients[task] = writer
        task.add_done_callback(self._imap_clients.pop)

    async def _talk_imap(
        self, imap: IMAPServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await imap(reader, writer, _Peer(writer))
        except Exception:
            _logger.exception("An IMAP connection failed")
        finally:
            writer.close()
