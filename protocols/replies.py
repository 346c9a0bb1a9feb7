"""SMTP reply codes → our errors (RFC 5321 §4.2, RFC 4954 §6), and servers' texts made fit to be shown."""

from __future__ import annotations

import re
from base64 import b64encode

from gateway.delivery import Reply
from gateway.errors import Deferred, Insecure, Refused, RemoteError, SignInRefused, Unreachable
from gateway.identity import Endpoint, SignIn
from protocols import sasl

_MAX_TEXT = 500
_TELLING = 8  # characters; so much of a base64 form stands in no text by chance
# In words only: Google's "534 5.7.9 Application-specific password required" and what others made of it, Microsoft's
# "535 5.7.139 Authentication unsuccessful, basic authentication is disabled".
_WANTS_APP_PASSWORD = re.compile(r"app(lication)?[- ]?(specific)?[- ]?password", re.IGNORECASE)
_WANTS_OAUTH2 = re.compile(r"basic auth\w* is disabled|5\.7\.139", re.IGNORECASE)
# What decoders make of bytes that are not UTF-8 (PEP 383); neither JSON nor BSON can hold it.
_SURROGATES = re.compile("[\ud800-\udfff]")
_POSITIVE, _TRANSIENT, _PERMANENT = 2, 4, 5  # RFC 5321 §4.2.1: the first digit is the class


def printable(text: str, sign_in: SignIn | None = None) -> str:
    """Return a server's text as one line that may be shown and stored.

    A server may echo what it was sent, e.g. in "500 unknown command AUTH PLAIN …": the secret is struck out in
    every form in which it goes over the wire, also where the server cuts the echo short or changes its case.
    """
    for pattern in _echoes(sign_in) if sign_in and sign_in.secret else ():
        text = re.sub(pattern, "***", text, flags=re.IGNORECASE)
    text = _SURROGATES.sub("\ufffd", text)
    # Not printable are controls, but also what turns the direction of writing, and separators other than space.
    text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())[:_MAX_TEXT]


def _echoes(sign_in: SignIn) -> list[str]:
    """Return patterns for the secret as it goes over the wire: base64 whole or cut short, quoted, as it is."""
    encoded = [b64encode(token).decode() for token in (sasl.plain(sign_in), sasl.xoauth2(sign_in))]
    quoted = sign_in.secret.replace("\\", r"\\").replace('"', r"\"")
    exact = [b64encode(sign_in.secret.encode()).decode(), quoted, sign_in.secret]
    return [
        *(rf"{re.escape(form[:_TELLING])}[A-Za-z0-9+/=]*" for form in encoded),
        *(re.escape(form) for form in exact),
    ]


def refusal(code: int, text: str, endpoint: Endpoint) -> RemoteError:
    """Return the error for a reply that refuses the session or the message as a whole."""
    text = printable(text, endpoint.sign_in)
    message = f"{endpoint.host}: {code} {text}".rstrip()
    match code // 100:
        case 4:
            return Deferred(message, code=code, reply=text)
        case 5 if code == 530:  # noqa: PLR2004 - RFC 4954 §6 and RFC 3207 §4 give it two meanings
            return _demand(text, endpoint)
        case 5:
            return Refused(message, code=code, reply=text)
    # Not a reply at all, or one of another class than the command can have: nobody decided anything.
    return Unreachable(
        f"{endpoint.host} port {endpoint.port} answered otherwise than a mail server should: {text}", reply=text
    )


def _demand(text: str, endpoint: Endpoint) -> RemoteError:
    if "STARTTLS" in text.upper():
        return Insecure(f"{endpoint.host} wants TLS first.", code=530, reply=text)
    return SignInRefused(f"{endpoint.host} wants a sign-in first: 530 {text}", code=530, reply=text)


def sign_in_refusal(code: int, text: str, endpoint: Endpoint) -> RemoteError:
    """Return the error for a refused AUTH.

    RFC 4954 §6: 535 wrong credentials, 534 mechanism too weak, 538 encryption required; 454 and every other 4yz are
    the server's trouble and say nothing of the password.
    """
    if code // 100 not in (_TRANSIENT, _PERMANENT):
        return refusal(code, text, endpoint)
    text = printable(text, endpoint.sign_in)
    if code // 100 == _TRANSIENT:
        return Deferred(f"{endpoint.host} cannot sign in anybody now: {code} {text}", code=code, reply=text)
    if code == 538:  # noqa: PLR2004 - RFC 4954 §6
        return Insecure(f"{endpoint.host} wants TLS before the sign-in.", code=code, reply=text)
    return SignInRefused(f"{sign_in_advice(endpoint, text)} It said: {code} {text}", code=code, reply=text)


def sign_in_advice(endpoint: Endpoint, text: str) -> str:
    """Return what a user can do about a refused sign-in; ``text`` is what the server said of it."""
    if _WANTS_APP_PASSWORD.search(text):
        return (
            f"{endpoint.host} wants an app password: make one in the account's security settings there, and give it"
            " in place of the usual password."
        )
    if _WANTS_OAUTH2.search(text):
        return f"{endpoint.host} takes no passwords any more. Connect the account with OAuth 2.0."
    if endpoint.sign_in and endpoint.sign_in.oauth2:
        return f"{endpoint.host} does not take the access token. Connect the account again."
    return (
        f"{endpoint.host} does not take this user name and password. Are they right? Some providers want an app"
        " password."
    )


def verdict(code: int, text: str, endpoint: Endpoint) -> Reply:
    """Return a reply that decides on recipients. Raises RemoteError for one that cannot."""
    if code // 100 not in (_POSITIVE, _TRANSIENT, _PERMANENT):
        raise refusal(code, text, endpoint)
    return Reply(code, printable(text, endpoint.sign_in))


def recipient_verdict(code: int, text: str, endpoint: Endpoint, *, others_accepted: bool) -> Reply:
    """Return the reply to RCPT. Raises RemoteError where it speaks of the session: 421, 530, or no sense.

    RFC 5321 §4.5.3.1.10: 552 is how old servers say that these are too many recipients for one message, and means
    452; a full mailbox is 552 as well, by today's servers with the enhanced code 5.2.2 (RFC 3463 §3.3).
    """
    if code in (421, 530):
        raise refusal(code, text, endpoint)
    if code == 552 and others_accepted and "5.2." not in text:  # noqa: PLR2004 - see above
        code = 452
    return verdict(code, text, endpoint)
