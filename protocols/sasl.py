"""SASL messages of the mechanisms that sign in by name and secret, as they are before base64."""

from __future__ import annotations

from gateway.identity import SignIn


def plain(sign_in: SignIn) -> bytes:
    """RFC 4616 §2: no authorization identity, user name, password."""
    return f"\0{sign_in.username}\0{sign_in.secret}".encode()


def xoauth2(sign_in: SignIn) -> bytes:
    """https://developers.google.com/workspace/gmail/imap/xoauth2-protocol; Microsoft and Yahoo take the same."""
    return f"user={sign_in.username}\1auth=Bearer {sign_in.secret}\1\1".encode()
