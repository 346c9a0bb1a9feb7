"""Credentials, encrypted in this process before they reach the database.

PyMongo's explicit client-side field level encryption: values are sealed with a data key
(AEAD_AES_256_CBC_HMAC_SHA_512), the data key lies in the collection ``keys``, sealed with the master key, and the
master key lies in a file outside the database. Each value is sealed by itself, so that one can be replaced without
reading the others.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bson.binary import STANDARD, UUID_SUBTYPE, Binary
from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClientEncryption
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, EncryptionError, PyMongoError

from gateway.errors import StartError
from storage.mongo import Document, Mongo, is_unavailable

KEYS = "keys"
INDEXES = {
    KEYS: [
        IndexModel(
            [("keyAltNames", ASCENDING)],
            unique=True,
            partialFilterExpression={"keyAltNames": {"$exists": True}},
        )
    ]
}
_DATA_KEY = "credentials"
_ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"
_MASTER_KEY_BYTES = 96  # what the key provider "local" asks for


class Vault:
    """Seals and opens credentials."""

    def __init__(self, mongo: Mongo, key_file: Path) -> None:
        self._mongo = mongo
        self._key_file = key_file
        self._encryption: AsyncIOMotorClientEncryption[Document] | None = None
        self._data_key = Binary(b"", UUID_SUBTYPE)

    async def open(self) -> None:
        """Read or make the master key, find or make the data key, and see that they fit.

        Raises StartError: the key file is missing, readable by others, malformed, or of another database.
        """
        try:
            sealed = await self._mongo.collection(KEYS).find_one({"keyAltNames": _DATA_KEY})
            master_key = read_key_file(self._key_file, may_make=sealed is None)
            self._encryption = AsyncIOMotorClientEncryption(
                {"local": {"key": master_key}},
                f"{self._mongo.database.name}.{KEYS}",
                self._mongo.client,
                CodecOptions[Document](uuid_representation=STANDARD),
            )
            self._data_key = sealed["_id"] if sealed else await self._make_data_key(self._encryption)
            await self._encrypt_one("")
        except PyMongoError as error:
            if is_unavailable(error) or not isinstance(error, EncryptionError):
                raise StartError("The database does not answer while the keys are read.") from error
            raise StartError(
                f"The key file {self._key_file} does not fit this database: its credentials were encrypted with"
                " another key. Put the right file back, or name it with storage.key_file."
            ) from error

    async def _make_data_key(self, encryption: AsyncIOMotorClientEncryption[Document]) -> Binary:
        try:
            return Binary(bytes(await encryption.create_data_key("local", key_alt_names=[_DATA_KEY])), UUID_SUBTYPE)
        except (DuplicateKeyError, EncryptionError):
            # Another process made it between our look and now.
            sealed = await self._mongo.collection(KEYS).find_one({"keyAltNames": _DATA_KEY})
            if sealed is None:
                raise
            return Binary(bytes(sealed["_id"]), UUID_SUBTYPE)

    async def encrypt(self, values: Mapping[str, str]) -> dict[str, bytes]:
        """Return the values sealed, each by itself."""
        return {key: await self._encrypt_one(value) for key, value in values.items()}

    async def decrypt(self, sealed: Mapping[str, bytes]) -> dict[str, str]:
        """Return the values that :meth:`encrypt` sealed."""
        return {key: await self._opened.decrypt(Binary(value, 6)) for key, value in sealed.items()}

    async def _encrypt_one(self, value: str) -> bytes:
        return await self._opened.encrypt(value, _ALGORITHM, key_id=self._data_key)

    @property
    def _opened(self) -> AsyncIOMotorClientEncryption[Document]:
        if self._encryption is None:
            raise RuntimeError("the vault is not open")
        return self._encryption

    async def close(self) -> None:
        """Forget the keys."""
        if self._encryption is not None:
            await self._encryption.close()
            self._encryption = None


def read_key_file(path: Path, *, may_make: bool) -> bytes:
    """Return the master key; make the file where there is none and nothing is sealed yet. Raises StartError."""
    try:
        if not path.exists():
            if not may_make:
                raise StartError(
                    f"The key file {path} is missing, and the database holds credentials encrypted with it. Put it"
                    " back from its copy, or name it with storage.key_file."
                )
            _make_key_file(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise StartError(f"The key file {path} can be read by other users. Run: chmod 600 {path}")
        key = path.read_bytes()
    except OSError as error:
        raise StartError(f"Cannot read or make the key file {path}: {error.strerror}.") from error
    if len(key) != _MASTER_KEY_BYTES:
        raise StartError(f"The key file {path} is damaged: it has {len(key)} bytes in place of 96.")
    return key


def _make_key_file(path: Path) -> None:
    """Write a new key under another name and link it into place: of two processes one wins, and none reads half."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A name of its own for every draft: two containers on one volume may both be process 1.
    descriptor, draft = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_MASTER_KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        Path(draft).unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Put the names in a directory on the disk: after a power cut no ciphertext may be there without its key."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
