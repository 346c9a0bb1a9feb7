"""IMAP sessions as dialogues, and ways to use the server that plays them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from gateway.identity import Endpoint, SignIn
from gateway.ports import Content
from protocols.imap import ImapAdapter
from tests.conftest import ME as ACCOUNT
from tests.content import Large, content
from tests.protocols.conftest import Reach
from tests.protocols.scripted import (
    Step,
    hear,
    hear_literal,
    interrupted,
    say,
    start_tls,
)

MESSAGE_ID = "c0ffee@elsewhere.example"
MESSAGE = (
    b"From: me@elsewhere.example\r\nBcc: hidden@elsewhere.example\r\n"
    b"Message-ID: <c0ffee@elsewhere.example>\r\nSubject: "
    + b"a long line that nobody may fold " * 4
    + b"\r\n\r\nf\xc3\xbcr {12}\r\n* BYE\r\n.\r\n \r\n"
)
DATE = datetime(2026, 3, 7, 8, 9, 10, tzinfo=timezone(timedelta(hours=-5)))
SIGN_IN = SignIn(ACCOUNT.address, ACCOUNT.password)
TOKEN = SignIn("me@elsewhere.example", "ya29.token", oauth2=True)
_BOUND_S = 20.0  # far above what any of these calls may take


async def file_sent(
    reach: Reach, endpoint: Endpoint, raw: bytes | Large = MESSAGE, timeout_s: float = 5.0, **changes: Any
) -> str | None:
    async def read() -> Content:
        return content(raw) if isinstance(raw, bytes) else raw.content

    adapter = ImapAdapter(reach(endpoint.port, command_timeout_s=timeout_s, **changes))
    async with asyncio.timeout(_BOUND_S):
        return await adapter.file_sent(endpoint, MESSAGE_ID, read, DATE)


async def has_sent(reach: Reach, endpoint: Endpoint, message_id: str | None = None) -> bool | None:
    adapter = ImapAdapter(reach(endpoint.port))
    async with asyncio.timeout(_BOUND_S):
        return await adapter.has_sent(endpoint, message_id or MESSAGE_ID, DATE)


async def probe(reach: Reach, endpoint: Endpoint, timeout_s: float = 5.0, **changes: Any) -> Mapping[str, str]:
    adapter = ImapAdapter(reach(endpoint.port, command_timeout_s=timeout_s, **changes))
    async with asyncio.timeout(_BOUND_S):
        return await adapter.probe(endpoint)


SESSION: dict[str, Sequence[Step]] = {
    "greeting": [say("* OK ready")],
    "CAPABILITY": [hear("CAPABILITY$"), say("* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED", "{tag} OK done")],
    "STARTTLS": [hear("STARTTLS$"), say("{tag} OK go ahead")],
    "handshake": [start_tls],
    "CAPABILITY after TLS": [
        hear("CAPABILITY$"),
        say("* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN", "{tag} OK done"),
    ],
    "sign-in": [
        hear("AUTHENTICATE PLAIN [A-Za-z0-9+/=]+$"),
        say("{tag} OK [CAPABILITY IMAP4rev1 UIDPLUS] welcome"),
    ],
    "LIST": [hear(r'LIST "" "\*"$'), say(r'* LIST (\Sent) "/" "Ausgang"', "{tag} OK done")],
    "EXAMINE": [hear('EXAMINE "Ausgang"$'), say("* 1 EXISTS", "{tag} OK [READ-ONLY] done")],
    "SEARCH": [
        hear('SEARCH SINCE 06-Mar-2026 HEADER Message-ID "<c0ffee@elsewhere.example>"$'),
        say("* SEARCH", "{tag} OK done"),
    ],
    "APPEND": [hear(r'APPEND "Ausgang" \(\\Seen\) "07-Mar-2026 08:09:10 -0500" \{[0-9]+\}$'), say("+ go ahead")],
    "end of APPEND": [hear_literal, say("{tag} OK [APPENDUID 1 2] done")],
    "LOGOUT": [hear("LOGOUT$"), say("* BYE bye", "{tag} OK done")],
}
STAGES = [stage for stage in SESSION if stage != "LOGOUT"]
GREETING = [
    say("* OK ready"),
    hear("CAPABILITY$"),
    say("* CAPABILITY IMAP4rev1", "{tag} OK done"),
]
LOGIN = [hear("LOGIN "), say("{tag} OK [CAPABILITY IMAP4rev1] welcome")]
GOODBYE = [hear("LOGOUT$"), say("* BYE bye", "{tag} OK done")]


def session(until: str, *then: Step) -> list[Step]:
    """Return the session up to that stage, and what the server does then."""
    return interrupted(SESSION, until, *then)


def filing(*steps: Step) -> list[Step]:
    """Return a session without TLS in which these steps lie between the sign-in and the end."""
    return [*GREETING, *LOGIN, *steps, *GOODBYE]


def listed(*lines: str) -> list[Step]:
    return [hear("LIST"), say(*(f"* LIST {line}" for line in lines), "{tag} OK done")]


def looked(name: str, found: str = "") -> list[Step]:
    """Return the steps in which a folder is searched for the message."""
    return [
        *done(f'EXAMINE "{name}"$', "OK [READ-ONLY] done"),
        hear("SEARCH "),
        say(f"* SEARCH{found}", "{tag} OK done"),
    ]


def appended(name: str, reply: str = "OK done") -> list[Step]:
    return [hear(f'APPEND "{name}" '), say("+ go ahead"), hear_literal, say("{tag} " + reply)]


def done(pattern: str, reply: str = "OK done") -> list[Step]:
    return [hear(pattern), say("{tag} " + reply)]
