"""SMTP sessions as dialogues, and a way to submit to the server that plays them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gateway.delivery import Reply
from gateway.identity import Endpoint, SignIn
from gateway.ports import Envelope
from protocols.smtp import SmtpAdapter
from tests.conftest import FRIEND
from tests.conftest import ME as ACCOUNT
from tests.content import content, let_go
from tests.protocols.conftest import Reach
from tests.protocols.scripted import (
    Step,
    hear,
    hear_message,
    interrupted,
    say,
    start_tls,
)

MESSAGE = (
    b"From: me@elsewhere.example\r\nTo: friend@elsewhere.example\r\nSubject: "
    + b"a long line that nobody may fold " * 4
    + b"\r\n\r\n.a dot\r\n..two\r\n.\r\nf\xc3\xbcr\r\n \r\n"
)
SIGN_IN = SignIn(ACCOUNT.address, ACCOUNT.password)
TOKEN = SignIn("me@elsewhere.example", "ya29.token", oauth2=True)
_BOUND_S = 20.0  # far above what any of these calls may take


def envelope(*recipients: str, sender: str = ACCOUNT.address, smtputf8: bool = False) -> Envelope:
    return Envelope(sender, recipients or (FRIEND.address,), smtputf8)


async def submit(
    reach: Reach,
    endpoint: Endpoint,
    to: Envelope | None = None,
    data: bytes = MESSAGE,
    timeout_s: float = 5.0,
) -> dict[str, Reply]:
    async with submitter(reach, endpoint.port, timeout_s) as adapter, asyncio.timeout(_BOUND_S):
        return await offered(adapter, endpoint, to, data)


async def offered(
    adapter: SmtpAdapter, endpoint: Endpoint, to: Envelope | None = None, data: bytes = MESSAGE
) -> dict[str, Reply]:
    """Submit a message by an adapter."""
    return dict(await adapter.submit(endpoint, to or envelope(), content(data), let_go))


@asynccontextmanager
async def submitter(reach: Reach, port: int, timeout_s: float = 5.0, **bounds: int) -> AsyncIterator[SmtpAdapter]:
    """Yield an adapter that may connect to the port; end its sessions."""
    adapter = SmtpAdapter(reach(port, command_timeout_s=timeout_s), "gateway.example", **bounds)
    try:
        yield adapter
    finally:
        await adapter.close()


EXTENSIONS = ("250-here", "250-SIZE 99999999", "250-8BITMIME", "250 AUTH XOAUTH2 PLAIN LOGIN")
SESSION: dict[str, Sequence[Step]] = {
    "greeting": [say("220 ready")],
    "EHLO": [hear("EHLO gateway.example$"), say(*EXTENSIONS[:-1], "250 STARTTLS")],
    "STARTTLS": [hear("STARTTLS$"), say("220 go ahead")],
    "handshake": [start_tls],
    "EHLO after TLS": [hear("EHLO gateway.example$"), say(*EXTENSIONS)],
    "AUTH": [hear("AUTH PLAIN "), say("235 welcome")],
    "MAIL": [hear("MAIL FROM:<me@elsewhere.example> SIZE="), say("250 OK")],
    "RCPT": [hear("RCPT TO:<friend@elsewhere.example>$"), say("250 OK")],
    "DATA": [hear("DATA$"), say("354 go ahead")],
    "final dot": [hear_message, say("250 accepted")],
    "QUIT": [hear("QUIT$"), say("221 bye")],
}
STAGES = [stage for stage in SESSION if stage != "QUIT"]
CLEAR = {stage: steps for stage, steps in SESSION.items() if stage not in ("STARTTLS", "handshake", "EHLO")}
"""A session without TLS."""


def session(until: str, *then: Step) -> list[Step]:
    """Return the session up to that stage, and what the server does then."""
    return interrupted(SESSION, until, *then)


def clear(**changes: Sequence[Step]) -> list[Step]:
    """Return a whole session without TLS, with other steps at some stages."""
    return [step for stage, steps in CLEAR.items() for step in changes.get(stage, steps)]
