"""SMTP replies as errors and verdicts, and servers' texts as they may be shown."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.delivery import RecipientState
from gateway.errors import Deferred, Insecure, Refused, RemoteError, SignInRefused, Unreachable
from gateway.identity import SignIn
from protocols.replies import printable, recipient_verdict, refusal, sign_in_refusal, verdict
from tests.protocols.conftest import at

SERVER = at(587)
SECRET = SignIn("me@elsewhere.example", 'p"ss wörd\\')
TOKEN = SignIn("me@elsewhere.example", "ya29.token", oauth2=True)
PLAIN = b64encode(b"\0" + SECRET.username.encode() + b"\0" + SECRET.secret.encode()).decode()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("5.1.1 no such\nmailbox here", "5.1.1 no such mailbox here"),
        ("a\0b\x1b[31mc\x7f\x9bd", "a b [31mc d"),
        ("left\u202eright\u2028next\u00a0word\ufeff", "left right next word"),
        (b"gesperrt f\xfcr".decode("utf-8", "surrogateescape"), "gesperrt f\ufffdr"),
        ("für 收件人 🐴", "für 收件人 🐴"),
        ("x" * 1000, "x" * 500),
    ],
)
def test_text_of_servers(raw: str, shown: str) -> None:
    """A server's text becomes one line of at most 500 characters, without controls and undecodable bytes."""
    assert printable(raw) == shown


@pytest.mark.parametrize(
    ("sign_in", "echo"),
    [
        (SECRET, f"500 unknown command AUTH PLAIN {PLAIN}"),
        (SECRET, f"500 unknown command AUTH PLAIN {PLAIN[:20]}"),
        (SECRET, f"500 UNKNOWN COMMAND AUTH PLAIN {PLAIN.upper()}"),
        (SECRET, f"500 unknown command {b64encode(SECRET.secret.encode()).decode()}"),
        (SECRET, r'BAD LOGIN "me@elsewhere.example" "p\"ss wörd\\" is unknown'),
        (SECRET, f"NO {SECRET.secret} is wrong"),
        (TOKEN, "535 ya29.token is no token"),
        (TOKEN, f"500 {b64encode(b'user=me@elsewhere.example' + bytes([1]) + b'auth=Bearer ya29.token').decode()}"),
    ],
)
def test_echoed_secrets_are_struck_out(sign_in: SignIn, echo: str) -> None:
    """A server that echoes a command does not get the secret into our errors: whole, cut short or in upper case."""
    shown = printable(echo, sign_in)
    assert "***" in shown
    for form in (sign_in.secret, PLAIN[8:20], b64encode(sign_in.secret.encode()).decode()):
        assert form.lower() not in shown.lower()
    assert echo.startswith(shown.split("***")[0])


@given(st.binary(max_size=2000))
def test_any_bytes_of_a_server_are_printable(raw: bytes) -> None:
    """Whatever bytes a server sends, what we keep of them is a printable line that JSON and UTF-8 can hold."""
    shown = printable(raw.decode("utf-8", "surrogateescape"), SECRET)
    assert len(shown) <= 500
    assert shown.isprintable()
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown


@given(st.text(min_size=4, max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    """A secret that stands anywhere in a text is not in what is shown, whatever characters it has."""
    assume(not any("\ud800" <= character <= "\udfff" for character in secret))
    assume(secret.lower() not in (before + "***" + after).lower())
    assert secret not in printable(before + secret + after, SignIn("me", secret))


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (421, "4.3.2 shutting down", Deferred),
        (450, "greylisted", Deferred),
        (454, "TLS not available", Deferred),
        (530, "5.7.0 Authentication required", SignInRefused),
        (530, "5.7.0 Must issue a STARTTLS command first", Insecure),
        (550, "5.7.1 no", Refused),
        (554, "no SMTP service here", Refused),
        (250, "OK at the wrong moment", Unreachable),
        (354, "go ahead, at the wrong moment", Unreachable),
        (-1, "Malformed SMTP response line", Unreachable),
        (99, "", Unreachable),
        (699, "", Unreachable),
    ],
)
def test_refusal_of_a_session(code: int, text: str, kind: type[RemoteError]) -> None:
    """The first digit tells later from never; what is no refusal at all decides nothing and is temporary."""
    error = refusal(code, text, SERVER)
    assert type(error) is kind
    assert error.reply == text
    assert error.code == (None if kind is Unreachable else code)
    assert error.temporary is (kind not in (Refused, SignInRefused))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (421, Deferred),
        (432, Deferred),
        (454, Deferred),
        (500, SignInRefused),
        (504, SignInRefused),
        (534, SignInRefused),
        (535, SignInRefused),
        (538, Insecure),
        (235, Unreachable),
        (334, Unreachable),
    ],
)
def test_refusal_of_a_sign_in(code: int, kind: type[RemoteError]) -> None:
    """Only 5yz is the credentials' fault, and 538 the connection's (RFC 4954 §6)."""
    error = sign_in_refusal(code, "text", SERVER)
    assert type(error) is kind
    assert "text" in error.reply


def test_refused_token() -> None:
    """A refused access token asks for a new connection of the account, not for another password."""
    error = sign_in_refusal(535, "5.7.8 expired", at(587, sign_in=TOKEN))
    assert "Connect the account again" in str(error)


@pytest.mark.parametrize(
    ("code", "text", "others_accepted", "state", "shown"),
    [
        (250, "OK", False, RecipientState.ACCEPTED, 250),
        (251, "will forward", False, RecipientState.ACCEPTED, 251),
        (252, "cannot verify, will try", False, RecipientState.ACCEPTED, 252),
        (450, "greylisted", False, RecipientState.QUEUED, 450),
        (452, "too many recipients", True, RecipientState.QUEUED, 452),
        (550, "no such user", True, RecipientState.REJECTED, 550),
        (552, "too many recipients", True, RecipientState.QUEUED, 452),
        (552, "5.5.3 too many recipients", True, RecipientState.QUEUED, 452),
        (552, "5.2.2 mailbox full", True, RecipientState.REJECTED, 552),
        (552, "mailbox full", False, RecipientState.REJECTED, 552),
    ],
)
def test_verdict_on_a_recipient(
    code: int, text: str, others_accepted: bool, state: RecipientState, shown: int
) -> None:
    """RCPT's reply decides by its first digit; 552 after others were accepted means 452 (RFC 5321 §4.5.3.1.10)."""
    reply = recipient_verdict(code, text, SERVER, others_accepted=others_accepted)
    assert (reply.state, reply.code, reply.text) == (state, shown, text)


@pytest.mark.parametrize(("code", "kind"), [(421, Deferred), (530, SignInRefused), (354, Unreachable)])
def test_replies_to_rcpt_that_blame_no_recipient(code: int, kind: type[RemoteError]) -> None:
    """421, 530 and nonsense in answer to RCPT are about the session."""
    with pytest.raises(kind):
        recipient_verdict(code, "text", SERVER, others_accepted=True)


def test_final_reply() -> None:
    """The answer to the message is a verdict, 421 included; one that is out of turn is none."""
    assert verdict(421, "later", SERVER).state is RecipientState.QUEUED
    with pytest.raises(Unreachable):
        verdict(354, "go ahead", SERVER)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("5.7.9 Application-specific password required.", "wants an app password: make one"),
        ("[ALERT] Application-specific password required: https://mail.example/help", "wants an app password"),
        ("Please log in with an app password", "wants an app password"),
        ("5.7.139 Authentication unsuccessful, basic authentication is disabled.", "with OAuth 2.0"),
        ("5.7.8 Username and Password not accepted", "Are they right?"),
    ],
)
def test_advice(text: str, advice: str) -> None:
    """What a user can do about a refused sign-in follows from what the server says of it."""
    assert advice in str(sign_in_refusal(535, text, at(587, sign_in=SignIn("me", "secret"))))
