"""The master keys: 96 bytes each in a key file of this machine, or kept by a key management service (KMS).

The key file holds one master key or, during a rotation, several, the newest last. Each has a name made of its own
hash, so that a data key tells which master key opens it. The file is only ever replaced as a whole, and what was
written is on the disk before anything is sealed with it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.errors import StartError

LOCAL = "local"
_MASTER_KEY_BYTES = 96  # what the key provider "local" asks for


@dataclass(frozen=True)
class MasterKeys:
    """What PyMongo's ClientEncryption asks for.

    New data keys are sealed by ``provider`` with its ``master_key``; all of ``providers`` can open them.
    """

    provider: str
    master_key: Mapping[str, Any] = field(repr=False)
    providers: Mapping[str, Mapping[str, Any]] = field(repr=False)
    tls: Mapping[str, Mapping[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class Keyring:
    """Where the master keys are. ``provider`` is local, aws, azure, gcp or kmip."""

    key_file: Path
    provider: str = LOCAL
    settings_file: Path | None = None

    def read(self, *, may_make: bool = False) -> MasterKeys:
        """Return the master keys; ``may_make`` a first key file where there is none. Raises StartError.

        With a KMS the key file is read as well, if it is there: what it sealed stays readable until a rotation.
        """
        services = _read_settings(self.settings_file) if self.settings_file else {}
        providers = {name: _without(table, "master_key", "tls") for name, table in services.items()}
        tls = {name: table["tls"] for name, table in services.items() if "tls" in table}
        if self.provider == LOCAL or self.key_file.exists():
            keys = read_key_file(self.key_file, may_make=may_make and self.provider == LOCAL)
            providers |= {name_of(key): {"key": key} for key in keys}
        if self.provider == LOCAL:
            return MasterKeys(name_of(keys[-1]), {}, providers, tls)
        if "master_key" not in services.get(self.provider, {}):
            raise StartError(
                f"storage.key_provider is {self.provider}, so storage.key_settings_file has to name a file with the"
                f" tables [{self.provider}] and [{self.provider}.master_key]: see docs/keys.md."
            )
        return MasterKeys(self.provider, services[self.provider]["master_key"], providers, tls)


def name_of(key: bytes) -> str:
    """Return the name of a master key, as a key provider of libmongocrypt; it tells nothing of the key."""
    return f"{LOCAL}:{sha256(key).hexdigest()[:16]}"


def read_key_file(path: Path, *, may_make: bool = False) -> list[bytes]:
    """Return the master keys, the newest last; make the file with one where there is none. Raises StartError."""
    with _file_errors(path):
        if not path.exists():
            if not may_make:
                raise StartError(
                    f"The key file {path} is missing, and the database holds credentials encrypted with it. Put it"
                    " back from its copy, or name it with storage.key_file."
                )
            _make_key_file(path)
        content = _read_private(path)
    if not content or len(content) % _MASTER_KEY_BYTES:
        raise StartError(
            f"The key file {path} is damaged: it has {len(content)} bytes, and 96 or a multiple of it are right."
            " Put it back from its copy."
        )
    return [content[start : start + _MASTER_KEY_BYTES] for start in range(0, len(content), _MASTER_KEY_BYTES)]


def prepare_next_key(path: Path) -> None:
    """Add the master key that the next rotation will use. Raises StartError, also when there is one already."""
    with _file_errors(path), _locked(path):
        keys = read_key_file(path)
        if len(keys) > 1:
            raise StartError(
                f"The key file {path} has a next key already. Copy the file to all machines that share the"
                " database, then run: mail-gateway keys rotate"
            )
        _add_key(path, keys)


def ensure_next_key(path: Path, current: str) -> None:
    """Add a master key unless one newer than ``current`` was prepared. Raises StartError."""
    with _file_errors(path), _locked(path):
        keys = read_key_file(path)
        if name_of(keys[-1]) == current:
            _add_key(path, keys)


def drop_old_keys(path: Path, current: str, used: Collection[str]) -> None:
    """Remove the keys that are older than the current one and seal nothing any more. Raises StartError.

    What is newer may be about to be used: it stays.
    """
    with _file_errors(path), _locked(path):
        keys = read_key_file(path)
        names = [name_of(key) for key in keys]
        older = names[: names.index(current)] if current in names else []
        if drop := set(older) - set(used):
            _replace(path, [key for key, name in zip(keys, names, strict=True) if name not in drop])


def _read_settings(path: Path) -> dict[str, dict[str, Any]]:
    """Return the table of each KMS."""
    try:
        services = tomllib.loads(_read_private(path).decode())
    except OSError as error:
        raise StartError(f"Cannot read storage.key_settings_file {path}: {error.strerror}.") from error
    except ValueError as error:  # without the library's words, which may quote
        raise StartError(f"storage.key_settings_file {path} is not valid TOML.") from error
    if not all(isinstance(table, dict) for table in services.values()):
        raise StartError(f"storage.key_settings_file {path} has keys outside of tables such as [aws].")
    return services


def _read_private(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise StartError(f"The file {path} can be read by other users. Run: chmod 600 {path}")
    return path.read_bytes()


def _without(table: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in names}


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StartError(f"Cannot read or write the key file {path}: {error.strerror}.") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time change the file: the lock is on its directory, for the file itself is replaced."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_key_file(path: Path) -> None:
    """Link a new key into place: of two processes that start at once one wins, and none reads half."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _draft(path, secrets.token_bytes(_MASTER_KEY_BYTES)) as draft, suppress(FileExistsError):
        path.hardlink_to(draft)
    _sync_directory(path.parent)


def _add_key(path: Path, keys: Sequence[bytes]) -> None:
    _replace(path, [*keys, secrets.token_bytes(_MASTER_KEY_BYTES)])


def _replace(path: Path, keys: Sequence[bytes]) -> None:
    with _draft(path, b"".join(keys)) as draft:
        # Whoever rotates, root perhaps, is not to lock out the gateway.
        owner = path.stat()
        os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(path)
    _sync_directory(path.parent)


@contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file of mode 0600 beside ``path``; it is removed at the end if it is still there."""
    # A name of its own for every draft: two containers on one volume may both be process 1.
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    """Put the names in a directory on the disk: after a power cut no ciphertext may be there without its key."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
