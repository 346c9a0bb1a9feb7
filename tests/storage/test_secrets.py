"""Credentials at rest: sealed, opened, and refused when the keys do not fit."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StartError, Unavailable
from storage.keyring import prepare_next_key
from storage.mongo import Mongo
from storage.secrets import INDEXES, Vault

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


async def test_lost_data_keys(mongo: Mongo, tmp_path: Path) -> None:
    """Credentials whose data key is gone are told, in place of a start with a new one that opens none of them."""
    vault = await opened(mongo, tmp_path / "key")
    await mongo.collection("identities").insert_one({"credentials": await vault.encrypt(SECRETS)})
    await vault.close()
    await mongo.collection("keys").delete_many({})
    with pytest.raises(StartError, match="collection 'keys' is empty"):
        await opened(mongo, tmp_path / "key")


async def test_key_file_replaced_while_running(mongo: Mongo, tmp_path: Path) -> None:
    """A gateway whose key file lacks a key says "later", and needs no restart when the file is put right."""
    gateway = await opened(mongo, tmp_path / "key")
    copy = tmp_path / "copy"
    copy.write_bytes((tmp_path / "key").read_bytes())
    copy.chmod(0o600)
    prepare_next_key(copy)
    other = Vault(mongo, copy)
    await other.open()
    await other.make_data_key(2)
    sealed = await other.encrypt(SECRETS)
    with pytest.raises(Unavailable):
        await gateway.decrypt(sealed)
    with pytest.raises(Unavailable):
        await gateway.encrypt(SECRETS)
    copy.replace(tmp_path / "key")
    assert await asyncio.gather(*(gateway.decrypt(sealed) for _ in range(8))) == [SECRETS] * 8
    assert await other.decrypt(await gateway.encrypt(SECRETS)) == SECRETS
    await gateway.close()
    await other.close()


async def test_key_file_gone_while_running(mongo: Mongo, tmp_path: Path) -> None:
    """A running gateway works on when its key file is away, and a damaged value is no more than unavailable."""
    vault = await opened(mongo, tmp_path / "key")
    sealed = await vault.encrypt(SECRETS)
    (tmp_path / "key").unlink()
    assert await vault.decrypt(sealed) == SECRETS
    with pytest.raises(Unavailable):
        await vault.decrypt({"inpassword": sealed["inpassword"][:-1]})
    await vault.close()


async def test_no_data_key_while_running(mongo: Mongo, tmp_path: Path) -> None:
    """Nothing is sealed when the data keys vanish under a running gateway."""
    vault = await opened(mongo, tmp_path / "key")
    await mongo.collection("keys").delete_many({})
    with pytest.raises(Unavailable):
        await vault.encrypt(SECRETS)
    await vault.close()


@given(junk=st.dictionaries(st.text(max_size=5), st.binary(max_size=80), min_size=1, max_size=3))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
async def test_junk(mongo: Mongo, tmp_path: Path, junk: dict[str, bytes]) -> None:
    """Whatever lies in the database in place of a sealed value is unavailable, and nothing worse."""
    vault = await opened(mongo, tmp_path / "key")
    with pytest.raises(Unavailable):
        await vault.decrypt(junk)
    await vault.close()


async def test_closed_in_use(mongo: Mongo, tmp_path: Path) -> None:
    """To stop amid an operation is safe, although its thread goes on for a moment."""
    for _ in range(50):
        vault = await opened(mongo, tmp_path / "key")
        task = asyncio.ensure_future(vault.encryption.rewrap_many_data_key({}))
        await mongo.ping()
        task.cancel()
        await vault.close()


async def test_repr(mongo: Mongo, tmp_path: Path) -> None:
    """No repr of what carries the keys shows one."""
    vault = await opened(mongo, tmp_path / "key")
    key = (tmp_path / "key").read_bytes()
    for shown in (repr(vault), repr(vault.masters), repr(vault.keyring), repr(vars(vault))):
        assert repr(key)[2:20] not in shown
    await vault.close()
