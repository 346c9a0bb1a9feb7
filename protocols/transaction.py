"""A mail transaction (RFC 5321 §3.3): MAIL, RCPT for each recipient, DATA.

Where the server offers PIPELINING (RFC 2920) the three go in one write, and the replies are read in their order;
else each command waits for the reply to the one before. What the server says of each recipient is returned, what it
says of the message or the session as a whole is raised.

The data go piece by piece, as fast as the server reads: a large message is nowhere as a whole.

A reply has the command time-out, but the data with their end get ten times that, and so do all commands before them
together, however many recipients there are.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress

from gateway.address import ascii_mailbox
from gateway.delivery import RecipientState, Reply
from gateway.errors import Refused, RemoteError, Unanswered, Unreachable
from gateway.lease import finishing
from gateway.ports import BeforeData, Content, Envelope
from protocols.replies import recipient_verdict, refusal, verdict
from protocols.session import Answer, Session

_OK, _START_DATA, _NO_REPLY = 250, 354, -1
_REFUSALS = (4, 5)  # RFC 5321 §4.2.1: the first digit is the class
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Transaction:
    """One message in a session. ``begun``: the server has taken its MAIL."""

    def __init__(
        self,
        session: Session,
        envelope: Envelope,
        data: Content,
        before_data: BeforeData,
        long_timeout: float,
    ) -> None:
        """Raises Refused where the server cannot take these addresses."""
        self._session = session
        self._envelope = envelope
        self._data = data
        self._before_data = before_data
        self._long_timeout = long_timeout
        self._mail = _mail(session, envelope, data.size)
        self.begun = False
        self._unanswered = False

    async def run(self) -> dict[str, Reply]:
        """Return the server's answer for every recipient. Raises RemoteError, and what ``before_data`` does."""
        try:
            return await self._run()
        except Unreachable as error:
            if self._unanswered:
                raise Unanswered(str(error), reply=error.reply) from error
            raise

    async def _run(self) -> dict[str, Reply]:
        session = self._session
        async with session.explained():
            resets = [b"RSET"] if session.must_reset else []
            recipients = [_rcpt(recipient, self._envelope) for recipient in self._envelope.recipients]
            session.messages += 1
            session.must_reset = True
            commands = _Commands(session, [*resets, self._mail, *recipients, b"DATA"])
            async with asyncio.timeout(self._long_timeout):
                replies = await self._envelope_replies(commands, resets=bool(resets))
            if accepted := [r for r, reply in replies.items() if reply.state is RecipientState.ACCEPTED]:
                await self._before_data(replies)
                replies |= dict.fromkeys(accepted, await self._deliver(await commands.next()))
            else:
                with suppress(RemoteError, OSError, RuntimeError):  # everybody is decided on
                    await commands.abandon()
            return replies

    async def _envelope_replies(self, commands: _Commands, *, resets: bool) -> dict[str, Reply]:
        endpoint = self._session.endpoint
        for command in ["RSET", "MAIL"] if resets else ["MAIL"]:
            code, text = await commands.next()
            if code != _OK:
                # A server that cannot even reset has decided nothing of the message.
                raise refusal(code if command == "MAIL" else _NO_REPLY, text, endpoint)
        self.begun = True
        replies: dict[str, Reply] = {}
        accepted = False
        for recipient in self._envelope.recipients:
            code, text = await commands.next()
            replies[recipient] = recipient_verdict(code, text, endpoint, others_accepted=accepted)
            accepted |= replies[recipient].state is RecipientState.ACCEPTED
        return replies

    async def _deliver(self, go_ahead: Answer) -> Reply:
        """Send the data; return the answer, which is for all who were accepted (RFC 5321 §4.1.1.4)."""
        code, text = go_ahead
        endpoint = self._session.endpoint
        if code != _START_DATA:
            if code // 100 not in _REFUSALS:
                raise refusal(_NO_REPLY, f"{code} {text}", endpoint)  # nothing was sent, so nothing is accepted
            return verdict(code, text, endpoint)
        async with asyncio.timeout(self._long_timeout):
            is_whole = await self._send_data()
            async with finishing():  # it is out: who is cut off now would only not hear what becomes of it
                code, text = await self._session.reply(self._long_timeout)
        if not is_whole:  # the server refuses what it has not heard to its end, or makes no sense
            self._session.spoil()
            return verdict(code if code // 100 in _REFUSALS else _NO_REPLY, text, endpoint)
        self._session.must_reset = False
        answer = verdict(code, text, endpoint)
        self._unanswered = False
        return answer

    async def _send_data(self) -> bool:
        """Send the data with their end; False where the server did not wait for that."""
        transparency, ready = Transparency(), b""
        async for piece in self._data.pieces:
            if ready:
                await self._session.write_data(ready)
            ready = transparency.of(piece)
            if not self._session.is_open:
                return False
        self._unanswered = True
        await self._session.write_data(ready + transparency.end())
        return True


class _Commands:
    """Commands that go all at once where the server lets us, else each when its reply is wanted.

    DATA is the last of them, as RFC 2920 §3.1 wants it.
    """

    def __init__(self, session: Session, commands: Iterable[bytes]) -> None:
        self._session = session
        self._left = deque(commands)
        self._are_sent = "pipelining" in session.extensions
        if self._are_sent:
            session.write(*self._left)

    async def next(self) -> Answer:
        """Return the reply to the next command."""
        command = self._left.popleft()
        if not self._are_sent:
            self._session.write(command)
        return await self._session.reply()

    async def abandon(self) -> None:
        """Read the replies to what was sent already; end the data that nobody may get (RFC 2920 §3.1)."""
        answer = None
        while self._are_sent and self._left:
            answer = await self.next()
        if answer and answer.code == _START_DATA:
            self._session.write(b".")
            await self._session.reply()


def _mail(session: Session, envelope: Envelope, size: int) -> bytes:
    offered = session.extensions
    options = []
    if "size" in offered:
        options.append(f"SIZE={size}")  # RFC 1870
    if envelope.smtputf8:
        if "smtputf8" not in offered:
            host = session.endpoint.host
            raise Refused(f"{host} takes ASCII addresses only (no SMTPUTF8), and one of this message has none.")
        options.append("SMTPUTF8")
        if "8bitmime" in offered:  # RFC 6152; a server that has SMTPUTF8 has to (RFC 6531 §3.1)
            options.append("BODY=8BITMIME")
    return " ".join([f"MAIL FROM:<{_path(envelope.sender, envelope)}>", *options]).encode()


def _rcpt(recipient: str, envelope: Envelope) -> bytes:
    return f"RCPT TO:<{_path(recipient, envelope)}>".encode()


def _path(address: str, envelope: Envelope) -> str:
    """Return the address as it goes into MAIL or RCPT; the null reverse-path (RFC 5321 §4.5.5) is empty."""
    return address if envelope.smtputf8 or not address else ascii_mailbox(address)


class Transparency:
    """Makes of data, piece by piece, what goes over the wire (RFC 5321 §4.5.2).

    A lone CR or LF becomes CRLF: what some servers take for the end of a line would let data end early.
    """

    def __init__(self) -> None:
        self._at_start = True
        self._cr = b""  # at the end of a piece: perhaps the half of a CRLF

    def of(self, piece: bytes) -> bytes:
        """Return the next piece."""
        piece = self._cr + piece
        self._cr = b"\r" if piece.endswith(b"\r") else b""
        lines = _LINE_END.sub(b"\r\n", piece.removesuffix(self._cr))
        dot = b"." if self._at_start and lines.startswith(b".") else b""
        self._at_start = lines.endswith(b"\n") if lines else self._at_start
        return dot + lines.replace(b"\n.", b"\n..")

    def end(self) -> bytes:
        """Return what is left of the last line, and the end of the data."""
        return b".\r\n" if self._at_start and not self._cr else b"\r\n.\r\n"
