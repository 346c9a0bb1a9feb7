"""How an IMAP session is entered: TLS, PREAUTH, SASL, LOGIN."""

from __future__ import annotations

import ssl
from base64 import b64encode

import pytest

from gateway.errors import Insecure, SignInRefused
from gateway.identity import SignIn, TLSMode
from tests.protocols.conftest import ME, PASSWORD, Reach, at
from tests.protocols.imap_dialogue import (
    GOODBYE,
    GREETING,
    TOKEN,
    probe,
    session,
)
from tests.protocols.scripted import (
    Peer,
    Scripted,
    Step,
    hear,
    say,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_preauth_does_not_keep_us_from_tls(reach: Reach) -> None:
    """PREAUTH, which forbids STARTTLS, is Insecure: the session would go on in plain text (RFC 3501 §6.2.1)."""
    async with Scripted([say("* PREAUTH welcome"), *GREETING[1:], *GOODBYE]) as server:
        with pytest.raises(Insecure):
            await probe(reach, at(server.port, TLSMode.STARTTLS))


@pytest.mark.parametrize("sign_in", [ME, None])
async def test_preauth(reach: Reach, sign_in: SignIn | None) -> None:
    """A server that greets with PREAUTH wants no sign-in."""
    status = [hear("STATUS INBOX"), say("* STATUS INBOX (UNSEEN 3)", "{tag} OK done")]
    dialogue = [say("* PREAUTH welcome"), *GREETING[1:], *status, hear("LIST"), say("{tag} OK done"), *GOODBYE]
    async with Scripted(dialogue) as server:
        found = await probe(reach, at(server.port, sign_in=sign_in))
    assert found == {"unseen": "3", "capabilities": "IMAP4rev1"}


async def test_sign_in_wanted_and_none_given(reach: Reach) -> None:
    """A server that wants a sign-in refuses an account without credentials: SignInRefused."""
    async with Scripted([*GREETING, *GOODBYE]) as server:
        with pytest.raises(SignInRefused, match="no user name"):
            await probe(reach, at(server.port, sign_in=None))


async def test_login(reach: Reach) -> None:
    """Where a server has LOGIN only, name and password go as quoted strings (RFC 3501 §4.3)."""
    login = [hear(r'LOGIN "a \\"name\\"" "corréct \\"horse\\" \\\\ battery"$'), say("{tag} NO no"), *GOODBYE]
    async with Scripted([*GREETING, *login]) as server:
        with pytest.raises(SignInRefused):
            await probe(reach, at(server.port, sign_in=SignIn('a "name"', PASSWORD)))


@pytest.mark.parametrize("secret", ["two\nlines", "two\rlines", "nul\0"])
async def test_login_that_cannot_be_said(reach: Reach, secret: str) -> None:
    """A password that no string of LOGIN can hold is SignInRefused, and no command is injected by it."""
    async with Scripted([*GREETING, *GOODBYE]) as server:
        with pytest.raises(SignInRefused, match="cannot be sent"):
            await probe(reach, at(server.port, sign_in=SignIn("me", secret)))


async def test_sasl_without_initial_response(reach: Reach) -> None:
    """Where a server takes no initial response, name and password follow its challenge (RFC 3501 §6.2.2)."""
    message = b64encode(f"\0{ME.username}\0two\r\nlines".encode()).decode()
    dialogue = [
        say("* OK ready"),
        hear("CAPABILITY$"),
        say("* CAPABILITY imap4REV1 auth=plain LOGINDISABLED", "{tag} OK done"),
        hear("AUTHENTICATE PLAIN$"),
        say("+ "),
        hear(message.replace("+", r"\+") + "$"),
        say("{tag} NO [AUTHENTICATIONFAILED] no"),
        *GOODBYE,
    ]
    async with Scripted(dialogue) as server:
        with pytest.raises(SignInRefused):
            await probe(reach, at(server.port, sign_in=SignIn(ME.username, "two\r\nlines")))


@pytest.mark.parametrize("initial", ["SASL-IR ", ""])
async def test_access_token(reach: Reach, initial: str) -> None:
    """An OAuth 2.0 token goes by XOAUTH2; the error challenge is answered, and the refusal is SignInRefused."""
    message = b64encode(b"user=me@elsewhere.example\1auth=Bearer ya29.token\1\1").decode()
    asking: list[Step] = [hear(f"AUTHENTICATE XOAUTH2 {message}$"), say("+ eyJzdGF0dXMiOiI0MDAifQ==")]
    if not initial:
        asking = [
            hear("AUTHENTICATE XOAUTH2$"),
            say("+ "),
            hear(message),
            say("+ eyJzdGF0dXMiOiI0MDAifQ=="),
        ]
    dialogue = [
        say("* OK ready"),
        hear("CAPABILITY$"),
        say(f"* CAPABILITY IMAP4rev1 {initial}AUTH=PLAIN AUTH=XOAUTH2", "{tag} OK done"),
        *asking,
        hear("$"),
        say("{tag} NO [AUTHENTICATIONFAILED] Invalid credentials"),
        *GOODBYE,
    ]
    async with Scripted(dialogue) as server:
        with pytest.raises(SignInRefused, match="access token"):
            await probe(reach, at(server.port, sign_in=TOKEN))


@pytest.mark.parametrize(("offer", "sign_in"), [("AUTH=PLAIN", TOKEN), ("AUTH=XOAUTH2 LOGINDISABLED", ME)])
async def test_no_common_mechanism(reach: Reach, server_tls: ssl.SSLContext, offer: str, sign_in: SignIn) -> None:
    """No secret goes out by a mechanism that the server does not offer."""
    dialogue = [
        say("* OK ready"),
        hear("CAPABILITY$"),
        say(f"* CAPABILITY IMAP4rev1 {offer}", "{tag} OK done"),
        *GOODBYE,
    ]
    async with Scripted(dialogue, server_tls, implicit=True) as server:
        with pytest.raises(SignInRefused, match="no way to sign in"):
            await probe(reach, at(server.port, TLSMode.IMPLICIT, sign_in))


async def test_echoed_password(reach: Reach, server_tls: ssl.SSLContext) -> None:
    """A server that echoes the sign-in does not get the password into the error."""

    async def echo(peer: Peer) -> None:
        await peer.write(f"{peer.tag} NO unknown: {peer.server.heard[-1]} {PASSWORD}\r\n".encode())

    async with Scripted(session("sign-in", echo, *GOODBYE), server_tls) as server:
        with pytest.raises(SignInRefused) as caught:
            await probe(reach, at(server.port, TLSMode.STARTTLS))
    secret = next(line for line in server.heard if "AUTHENTICATE" in line).split()[-1]
    assert caught.value.reply.endswith("AUTHENTICATE PLAIN *** ***")
    assert secret not in str(caught.value)
