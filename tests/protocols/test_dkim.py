"""The keys with which mail is signed."""

from __future__ import annotations

from base64 import b64decode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key

from protocols import dkim


async def test_make_key() -> None:
    """The halves of a key belong together; it is an RSA key of the length that verifiers have to take."""
    public, private = await dkim.make_key()
    key = load_pem_private_key(private.encode(), password=None)
    published = load_der_public_key(b64decode(public.public, validate=True))
    assert isinstance(key, RSAPrivateKey)
    assert isinstance(published, RSAPublicKey)
    assert key.public_key() == published
    assert (key.key_size, public.selector) == (2048, "dkim")
    assert private.startswith("-----BEGIN PRIVATE KEY-----\n")


async def test_each_its_own() -> None:
    """No two domains have the same key."""
    (first, _), (second, _) = await dkim.make_key(), await dkim.make_key()
    assert first != second
