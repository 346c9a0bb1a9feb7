"""Making the keys with which mail is signed (DKIM, RFC 6376)."""

from __future__ import annotations

import asyncio
from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.domain import DkimKey

SELECTOR = "dkim"
_BITS = 2048  # RFC 8301 §3.2; what is longer does not fit into a DNS answer by UDP everywhere
_EXPONENT = 65537


async def make_key() -> tuple[DkimKey, str]:
    """Return the public half of a new RSA key and the private one, PKCS #8 in PEM (RFC 5958)."""
    return await asyncio.to_thread(_make_key)


def _make_key() -> tuple[DkimKey, str]:
    key = rsa.generate_private_key(_EXPONENT, _BITS)
    # RFC 6376 §3.6.1 names RSAPublicKey; by its erratum 3017 and its examples that is in a SubjectPublicKeyInfo.
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return DkimKey(SELECTOR, b64encode(public).decode("ascii")), private.decode("ascii")
