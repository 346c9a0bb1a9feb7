"""Credentials at rest, and the key file."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import StartError
from storage.mongo import Mongo
from storage.secrets import INDEXES, Vault, read_key_file

SECRETS = {"inusername": "me", "inpassword": "correct horse 🐎", "empty": ""}


async def opened(mongo: Mongo, key_file: Path) -> Vault:
    """Return an open vault."""
    await mongo.ensure_indexes(INDEXES)
    vault = Vault(mongo, key_file)
    await vault.open()
    return vault


async def test_round_trip(mongo: Mongo, tmp_path: Path) -> None:
    """What is sealed opens again, also after a restart, and shows nothing of what it holds."""
    key_file = tmp_path / "made" / "key"
    vault = await opened(mongo, key_file)
    sealed = await vault.encrypt(SECRETS)
    assert b"horse" not in b"".join(sealed.values())
    assert sealed != await vault.encrypt(SECRETS)
    await vault.close()
    again = await opened(mongo, key_file)
    assert await again.decrypt(sealed) == SECRETS
    await again.close()


async def test_key_file(mongo: Mongo, tmp_path: Path) -> None:
    """The key file is made with 96 bytes that only its owner reads, and leaves no draft behind."""
    vault = await opened(mongo, tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "key").read_bytes()) == 96
    assert os.listdir(tmp_path) == ["key"]  # noqa: PTH208 - nothing here blocks for long
    await vault.close()


async def test_two_first_starts(mongo: Mongo, tmp_path: Path) -> None:
    """Gateways that start at once on a new database agree on one key."""
    await mongo.ensure_indexes(INDEXES)
    vaults = [Vault(mongo, tmp_path / "key") for _ in range(4)]
    await asyncio.gather(*(vault.open() for vault in vaults))
    sealed = await vaults[0].encrypt(SECRETS)
    for vault in vaults:
        assert await vault.decrypt(sealed) == SECRETS
        await vault.close()
    assert await mongo.collection("keys").count_documents({}) == 1


def test_one_key_file(tmp_path: Path) -> None:
    """Of many that make the file at once, under one process id as containers have it, all read the same key."""
    with ThreadPoolExecutor(8) as threads:
        for n in range(20):
            path = tmp_path / f"key{n}"
            reads = [threads.submit(read_key_file, path, may_make=True) for _ in range(8)]
            assert len({read.result() for read in reads}) == 1
    assert len(list(tmp_path.iterdir())) == 20


async def test_wrong_key(mongo: Mongo, tmp_path: Path) -> None:
    """A key of another database stops the start."""
    await (await opened(mongo, tmp_path / "key")).close()
    (tmp_path / "key").write_bytes(b"x" * 96)
    with pytest.raises(StartError, match="does not fit this database"):
        await opened(mongo, tmp_path / "key")


async def test_lost_key(mongo: Mongo, tmp_path: Path) -> None:
    """A lost key is told and not replaced by a new one."""
    await (await opened(mongo, tmp_path / "key")).close()
    (tmp_path / "key").unlink()
    with pytest.raises(StartError, match="is missing"):
        await opened(mongo, tmp_path / "key")
    assert not (tmp_path / "key").exists()


async def test_readable_key(mongo: Mongo, tmp_path: Path) -> None:
    """A key that others can read stops the start with the command that mends it."""
    await (await opened(mongo, tmp_path / "key")).close()
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(StartError, match="chmod 600"):
        await opened(mongo, tmp_path / "key")


async def test_damaged_key(mongo: Mongo, tmp_path: Path) -> None:
    """A key file of another length stops the start."""
    (tmp_path / "key").write_bytes(b"short")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(StartError, match="damaged"):
        await opened(mongo, tmp_path / "key")


async def test_unwritable_directory(mongo: Mongo, tmp_path: Path) -> None:
    """A key file that cannot be made stops the start with the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="Cannot read or make the key file"):
        await opened(mongo, tmp_path / "file" / "key")
