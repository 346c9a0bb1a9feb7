"""Reply codes and enhanced status codes → our errors (RFC 5321 §4.2, RFC 3463, RFC 4954 §6)."""

from __future__ import annotations

import base64
import re

from gateway.errors import Deferred, Insecure, Refused, RemoteError, SignInRefused
from gateway.identity import Endpoint, SignIn

_MAX_TEXT = 500
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def printable(text: str, sign_in: SignIn | None = None) -> str:
    """Return a server's text as one line that may be shown and stored.

    A server may echo what it was sent, e.g. in "500 unknown command AUTH PLAIN …": the secret is struck out in
    every form in which it goes over the wire.
    """
    line = _UNPRINTABLE.sub(" ", text).strip()
    for secret in _wire_forms(sign_in) if sign_in else ():
        line = line.replace(secret, "***")
    return line[:_MAX_TEXT]


def _wire_forms(sign_in: SignIn) -> list[str]:
    user, secret = sign_in.username.encode(), sign_in.secret.encode()
    tokens = (secret, b"\0" + user + b"\0" + secret, b"user=" + user + b"\1auth=Bearer " + secret + b"\1\1")
    return [sign_in.secret, *(base64.b64encode(token).decode() for token in tokens)] if secret else []


def refusal(code: int, text: str, what: str, sign_in: SignIn | None = None) -> RemoteError:
    """Return the error for a refused command; ``what`` names it in the sentence for the user."""
    text = printable(text, sign_in)
    message = f"{what}: {code} {text}".rstrip()
    if code // 100 == 4:  # noqa: PLR2004 - RFC 5321 §4.2.1: the first digit is the class
        return Deferred(message, code=code, reply=text)
    return Refused(message, code=code, reply=text)


def sign_in_refusal(code: int, text: str, endpoint: Endpoint) -> RemoteError:
    """Return the error for a refused AUTH.

    RFC 4954 §6: 535 wrong credentials, 534 mechanism too weak, 538 encryption required; 454 and every other 4yz are
    the server's trouble and say nothing of the password.
    """
    text = printable(text, endpoint.sign_in)
    if code // 100 == 4:  # noqa: PLR2004 - RFC 5321 §4.2.1: the first digit is the class
        return Deferred(f"{endpoint.host} cannot sign in anybody now: {code} {text}", code=code, reply=text)
    if code == 538:  # noqa: PLR2004 - RFC 4954 §6
        return Insecure(f"{endpoint.host} wants TLS before the sign-in.", code=code, reply=text)
    return SignInRefused(f"{sign_in_advice(endpoint)} It said: {code} {text}", code=code, reply=text)


def sign_in_advice(endpoint: Endpoint) -> str:
    """Return what a user can do about a refused sign-in."""
    if endpoint.sign_in and endpoint.sign_in.oauth2:
        return f"{endpoint.host} does not take the access token. Connect the account again."
    return (
        f"{endpoint.host} does not take this user name and password. Are they right? Some providers want an app"
        " password."
    )
