"""SMTP submission (RFC 5321, RFC 6409).

1. A session of the endpoint, kept from the message before or a new one; 2. a mail transaction in it; 3. the session
is kept for the next message. What the server says of each recipient is returned; what it says of the session as a
whole is raised.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.address import ascii_host
from gateway.delivery import Reply
from gateway.errors import RemoteError, Unreachable
from gateway.identity import Endpoint
from gateway.ports import BeforeData, Content, Envelope
from protocols.network import Network
from protocols.session import SERVICE_CLOSING, Session
from protocols.sessions import Sessions
from protocols.transaction import Transaction

_LONG_TIMEOUTS = 10  # RFC 5321 §4.5.3.2.6: the end of the data gets ten minutes where commands get one


class SmtpAdapter:
    """The core's Submitter for SMTP servers. ``helo_name`` is how we greet (RFC 5321 §4.1.1.1).

    At most ``per_host`` connections are open to one host, ``in_all`` to all; those of probes, which are others' to
    bound, come on top.
    """

    def __init__(self, network: Network, helo_name: str, *, per_host: int = 20, in_all: int = 50) -> None:
        self._network = network
        self._helo_name = ascii_host(helo_name)
        self._sessions = Sessions(self._session, per_host=per_host, in_all=in_all)

    async def submit(
        self, endpoint: Endpoint, envelope: Envelope, data: Content, before_data: BeforeData
    ) -> Mapping[str, Reply]:
        """Offer a message; return the server's answer for every recipient.

        Raises RemoteError where nobody got it and no recipient is to blame, Unanswered where somebody may have it;
        what ``before_data`` and the reading of the data raise.
        """
        try:
            return await self._submit(endpoint, envelope, data, before_data)
        except _Stale:
            return await self._submit(endpoint, envelope, data, before_data, fresh=True)

    async def _submit(
        self,
        endpoint: Endpoint,
        envelope: Envelope,
        data: Content,
        before_data: BeforeData,
        *,
        fresh: bool = False,
    ) -> Mapping[str, Reply]:
        """Raises _Stale where a kept session had ended before the server took anything of the message."""
        async with self._sessions.lend(endpoint, fresh=fresh) as session:
            was_kept = session.messages > 0
            long_timeout = self._network.command_timeout * _LONG_TIMEOUTS
            transaction = Transaction(session, envelope, data, before_data, long_timeout)
            try:
                return await transaction.run()
            except RemoteError as error:
                ended = isinstance(error, Unreachable) or error.code == SERVICE_CLOSING
                if was_kept and ended and not transaction.begun:
                    raise _Stale(str(error)) from error
                raise

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Connect, TLS, sign in. Raises RemoteError."""
        session = self._session(endpoint)
        try:
            await session.start()
            await session.leave()
        except Unreachable:  # it speaks no SMTP
            raise
        except RemoteError:
            await session.leave()
            raise
        finally:
            await session.close()
        return {}

    async def close(self) -> None:
        """End the sessions that are kept, within half a second."""
        await self._sessions.close()

    def _session(self, endpoint: Endpoint) -> Session:
        return Session(self._network, endpoint, self._helo_name)


class _Stale(Unreachable):
    """A kept session had ended, and the server has taken nothing of the message."""
