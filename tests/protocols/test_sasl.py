"""Signing in by SASL: the messages, and servers that challenge in whatever way."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteError
from gateway.identity import SignIn
from protocols import sasl
from tests.protocols.conftest import Reach, at
from tests.protocols.imap_dialogue import probe
from tests.protocols.scripted import Peer, Scripted, hear, say
from tests.protocols.smtp_dialogue import submit

ME = SignIn("me@elsewhere.example", "correct horse battery")
TOKEN = SignIn("me@elsewhere.example", "ya29.correct-horse", oauth2=True)
BROKEN = ["", "=", "é", "334 VXNlcm5hbWU6", "{9}", "* BYE", "* OK", "{tag} OK", "+", "+ +"]
CHALLENGES = st.lists(
    st.binary(max_size=40).map(lambda octets: b64encode(octets).decode())
    | st.sampled_from(BROKEN)
    | st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20),
    max_size=4,
)
any_dialogue = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(
    st.text(st.characters(exclude_characters="\0")), st.text(st.characters(exclude_characters="\0", codec="utf-8"))
)
def test_plain_reads_back(name: str, password: str) -> None:
    """A server reads name and password as they are; nobody's rights are asked for but their own (RFC 4616 §2)."""
    name = name.encode("utf-8", "ignore").decode()
    assert sasl.plain(SignIn(name, password)).split(b"\0") == [b"", name.encode(), password.encode()]


@pytest.mark.parametrize("sign_in", [ME, TOKEN])
@any_dialogue
@given(challenges=CHALLENGES, end=st.sampled_from(["{tag} NO no", "{tag} OK welcome", "{tag} BAD what"]))
async def test_any_challenge_of_imap(reach: Reach, sign_in: SignIn, challenges: list[str], end: str) -> None:
    """The secret goes out once and no more, however often an IMAP server asks."""

    async def ask(peer: Peer) -> None:
        for challenge in challenges:
            await peer.write(f"+ {challenge}\r\n".replace("{tag}", peer.tag).encode())
            await peer.line()
        await peer.write(end.replace("{tag}", peer.tag).encode() + b"\r\n")

    offer = say("* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2", "{tag} OK done")
    async with Scripted([say("* OK ready"), hear("CAPABILITY"), offer, hear("AUTHENTICATE"), ask]) as server:
        with suppress(RemoteError):
            await probe(reach, at(server.port, sign_in=sign_in), timeout_s=0.1)
    message = sasl.xoauth2(sign_in) if sign_in.oauth2 else sasl.plain(sign_in)
    assert occurrences(server.heard, sign_in) == server.heard.count(b64encode(message).decode()) <= 1


@pytest.mark.parametrize("offer", ["PLAIN", "LOGIN", "XOAUTH2"])
@any_dialogue
@given(challenges=CHALLENGES, end=st.sampled_from(["535 no", "235 welcome", "334 ", "500 what", "250 "]))
async def test_any_challenge_of_smtp(reach: Reach, offer: str, challenges: list[str], end: str) -> None:
    """The secret goes out once and no more, however often an SMTP server asks."""
    sign_in = TOKEN if offer == "XOAUTH2" else ME

    async def ask(peer: Peer) -> None:
        for challenge in challenges:
            await peer.write(f"334 {challenge}\r\n".encode())
            await peer.line()
        await peer.write(end.encode() + b"\r\n")

    greeting = [say("220 ready"), hear("EHLO"), say("250-here", f"250 AUTH {offer}"), hear("AUTH")]
    async with Scripted([*greeting, ask]) as server:
        with suppress(RemoteError):
            await submit(reach, at(server.port, sign_in=sign_in), timeout_s=0.1)
    assert occurrences(server.heard, sign_in) <= 1


def occurrences(heard: Sequence[str], sign_in: SignIn) -> int:
    """Return in how many lines a server was told the secret, in whatever way it goes over the wire."""
    messages = [sign_in.secret.encode(), sasl.plain(sign_in), sasl.xoauth2(sign_in)]
    return sum(any(b64encode(each).decode() in line for each in messages) for line in heard)
