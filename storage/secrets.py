"""Credentials, encrypted in this process before they reach the database.

PyMongo's explicit client-side field level encryption: values are sealed with a data key
(AEAD_AES_256_CBC_HMAC_SHA_512), the data keys lie in the collection ``keys``, sealed with a master key, and the
master keys lie outside the database (``storage/keyring.py``). Each value is sealed by itself, so that one can be
replaced without reading the others. A rotation (``storage/rotation.py``) changes all keys under running gateways:

- Before every sealing it is asked which data key is the newest: that is the current one. A sealed value is written
  within ``Mongo.operation_s`` of that, so a rotation knows when nobody writes with the old data key any more.
- What cannot be opened is tried again if the master keys have changed on the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from bson.binary import STANDARD, Binary
from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClientEncryption
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import ConfigurationError, DuplicateKeyError, EncryptionError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongocrypt.errors import MongoCryptError  # type: ignore[import-untyped] # it ships no annotations

from gateway.errors import StartError, Unavailable
from gateway.notice import GATEWAY_ID
from storage.keyring import LOCAL, Keyring, MasterKeys
from storage.mongo import Document, Mongo, is_unavailable

logger = logging.getLogger(__name__)

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
_SEALED: Document = {"credentials": {"$nin": [None, {}]}}
# The modules that these collections are of import this one.
HOLDERS: Mapping[str, Document] = {
    "identities": _SEALED,
    "domains": _SEALED,
    "dimail": _SEALED,
    "raws": _SEALED | {"user_id": GATEWAY_ID},  # an index finds these few
}
"""The collections that have documents with sealed values, and what finds these."""

_ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"
_CIPHERTEXT = 6  # BSON binary subtype 6, encrypted
_AWAY = "The stored credentials cannot be opened at the moment. Try again."

Encryption = AsyncIOMotorClientEncryption[Document]
Key = TypeVar("Key")
Result = TypeVar("Result")


class Vault:
    """Seals and opens credentials."""

    def __init__(
        self, mongo: Mongo, key_file: Path, provider: str = LOCAL, settings_file: Path | None = None
    ) -> None:
        self._mongo = mongo
        self.keyring = Keyring(key_file, provider, settings_file)
        # As libmongocrypt reads them: what one of the two saw, the other must find.
        self.keys = mongo.collection(KEYS).with_options(read_concern=ReadConcern("majority"))
        self._masters: MasterKeys | None = None
        self._encryption: Encryption | None = None

    async def open(self) -> None:
        """Read or make the master key, find or make the data key, and see that they fit.

        Raises StartError: the key file is missing, readable by others, malformed, or of another database; the KMS
        does not answer or refuses; the data keys are gone.
        """
        try:
            data_keys = await self.keys.find().to_list(None)
            self._read_masters(may_make=not data_keys)
            if not data_keys:
                await self._make_first_data_key()
            for data_key in data_keys:
                await self._check(data_key)
        except PyMongoError as error:
            raise StartError("The database does not answer while the keys are read.") from error

    async def _make_first_data_key(self) -> None:
        for name, sealed in HOLDERS.items():
            if await self._mongo.collection(name).find_one(sealed, {"_id": 1}):
                raise StartError(
                    f"The database holds sealed credentials, and its collection {KEYS!r} is empty. Restore the"
                    " whole database from its copy, this collection included."
                )
        await self.make_data_key(1)
        await self._check(await self.current())  # another process may have made it, with another key file

    async def _check(self, data_key: Document) -> None:
        """See that a data key opens, unless a rotation has deleted it meanwhile."""
        used = self.encryption
        try:
            await used.encrypt("", _ALGORITHM, key_id=data_key["_id"])
        except EncryptionError as error:
            now = await self.keys.find_one({"_id": data_key["_id"]})
            self.refresh()
            if now == data_key and self.encryption is used:
                raise self._refusal(data_key["masterKey"]["provider"], error) from error
            if now is not None:
                await self._check(now)

    def _refusal(self, provider: str, error: EncryptionError) -> StartError:
        if not provider.startswith(LOCAL):
            return StartError(
                f"The KMS {provider} does not seal or open the keys of this database: {error}. See that it answers,"
                " and that storage.key_settings_file fits."
            )
        if is_unavailable(error):
            return StartError("The database does not answer while the keys are read.")
        return StartError(
            f"The key file {self.keyring.key_file} does not fit this database: its credentials were encrypted with"
            " another key. Put the right file back, or name it with storage.key_file."
        )

    async def current(self) -> Document:
        """Return the current data key. Raises Unavailable when there is none."""
        newest = await self.keys.find_one({}, sort=[("keyAltNames", DESCENDING)])
        if newest is None:
            raise Unavailable(_AWAY)  # they were removed under a running gateway
        return newest

    async def make_data_key(self, generation: int) -> None:
        """Make a data key, sealed with the newest master key, unless another process has made this generation.

        Raises StartError when the KMS does not serve.
        """
        masters = self.masters
        try:
            await self.encryption.create_data_key(
                masters.provider, masters.master_key or None, key_alt_names=[_name(generation)]
            )
        except EncryptionError as error:
            if not isinstance(error.cause, DuplicateKeyError):
                raise self._refusal(masters.provider, error) from error

    async def rewrap(self, which: Document, provider: str, master_key: Document) -> None:
        """Seal data keys with this master key. Raises Unavailable where that does not work."""
        await self._with_keys(lambda encryption: encryption.rewrap_many_data_key(which, provider, master_key))

    async def encrypt(self, values: Mapping[Key, str]) -> dict[Key, bytes]:
        """Return the values sealed, each by itself; to be written within ``Mongo.operation_s``."""
        if not values:
            return {}
        key_id = (await self.current())["_id"]

        async def seal(encryption: Encryption) -> dict[Key, bytes]:
            return {
                key: await encryption.encrypt(value, _ALGORITHM, key_id=key_id) for key, value in values.items()
            }

        return await self._with_keys(seal)

    async def decrypt(self, sealed: Mapping[Key, bytes]) -> dict[Key, str]:
        """Return the values that :meth:`encrypt` sealed. Raises Unavailable where no key opens them."""

        async def unseal(encryption: Encryption) -> dict[Key, str]:
            return {key: await encryption.decrypt(Binary(value, _CIPHERTEXT)) for key, value in sealed.items()}

        return await self._with_keys(unseal)

    async def _with_keys(self, work: Callable[[Encryption], Awaitable[Result]]) -> Result:
        """Run ``work``; where it fails, run it again as long as there are other master keys to try it with."""
        while True:
            used = self.encryption
            try:
                return await work(used)
            except EncryptionError as error:
                if is_unavailable(error):
                    raise
                with suppress(StartError):  # a key file amid its replacement by hand
                    self.refresh()
                if self.encryption is used:
                    logger.warning("credentials cannot be opened: do the key file and the KMS fit? %s", error)
                    raise Unavailable(_AWAY) from error

    def refresh(self) -> None:
        """Take up the master keys of now. Raises StartError."""
        if self.keyring.read() != self._masters:
            self._read_masters()

    def _read_masters(self, *, may_make: bool = False) -> None:
        masters = self.keyring.read(may_make=may_make)
        try:
            self._encryption = AsyncIOMotorClientEncryption(
                masters.providers,
                f"{self._mongo.database.name}.{KEYS}",
                self._mongo.client,
                CodecOptions[Document](uuid_representation=STANDARD),
                kms_tls_options=masters.tls,
            )
        except (ConfigurationError, OSError, TypeError, ValueError, MongoCryptError) as error:
            raise StartError(f"storage.key_settings_file is wrong: {error}. See docs/keys.md.") from error
        self._masters = masters

    @property
    def masters(self) -> MasterKeys:
        """The master keys, as last read."""
        if self._masters is None:
            raise RuntimeError("the vault is not open")
        return self._masters

    @property
    def encryption(self) -> Encryption:
        """The driver's encryption with these master keys."""
        if self._encryption is None:
            raise RuntimeError("the vault is not open")
        return self._encryption

    async def close(self) -> None:
        """Forget the keys.

        An operation that was canceled may still run in a thread of the driver's. To close the encryption under it
        would end the process; as it is, the last user frees it.
        """
        self._masters = self._encryption = None


def generation_of(data_key: Document) -> int:
    """Return the generation of a data key; each rotation begins one."""
    return int(data_key["keyAltNames"][0].rpartition(" ")[2])


def _name(generation: int) -> str:
    """Return a name that is unique, and orders as the generations do."""
    return f"credentials {generation:09}"
