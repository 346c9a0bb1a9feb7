"""The key file, and the settings of a key management service."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import StartError
from storage.keyring import (
    Keyring,
    drop_old_keys,
    ensure_next_key,
    name_of,
    prepare_next_key,
    read_key_file,
)

AWS = """
[aws]
accessKeyId = "id"
secretAccessKey = "very secret"
[aws.master_key]
region = "eu-west-1"
key = "arn"
[aws.tls]
tlsCAFile = "/ca.pem"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a key file with one key."""
    read_key_file(tmp_path / "key", may_make=True)
    return tmp_path / "key"


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    """The path of a file with the settings of a KMS."""
    file = tmp_path / "kms.toml"
    file.write_text(AWS)
    file.chmod(0o600)
    return file


def test_one_key_file(tmp_path: Path) -> None:
    """Of many that make the file at once, under one process id as containers have it, all read the same key."""
    with ThreadPoolExecutor(8) as threads:
        for n in range(20):
            path = tmp_path / f"key{n}"
            reads = [threads.submit(read_key_file, path, may_make=True) for _ in range(8)]
            assert len({tuple(read.result()) for read in reads}) == 1
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 97])
def test_damaged(path: Path, content: bytes) -> None:
    """A key file of another length is told as damaged."""
    path.write_bytes(content)
    with pytest.raises(StartError, match="damaged"):
        read_key_file(path)


def test_readable_by_others(path: Path) -> None:
    """A key file that others can read is refused, with the command that mends it."""
    path.chmod(0o640)
    with pytest.raises(StartError, match="chmod 600"):
        read_key_file(path)


def test_not_a_directory(path: Path) -> None:
    """A key file that cannot be made is told with the reason."""
    with pytest.raises(StartError, match="Cannot read or write the key file"):
        read_key_file(path / "key", may_make=True)


def test_prepare(path: Path) -> None:
    """Prepared is one more key, behind the old one, in a file that is as private as before; never a third."""
    old = read_key_file(path)
    prepare_next_key(path)
    keys = read_key_file(path)
    assert (len(keys), keys[:1]) == (2, old)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StartError, match="has a next key already"):
        prepare_next_key(path)
    assert read_key_file(path) == keys
    assert list(path.parent.iterdir()) == [path]


def test_ensure(path: Path) -> None:
    """A rotation adds a key, unless the newest one is not in use yet."""
    (old,) = read_key_file(path)
    ensure_next_key(path, name_of(old))
    keys = read_key_file(path)
    assert len(keys) == 2
    ensure_next_key(path, name_of(old))
    assert read_key_file(path) == keys


def test_drop(path: Path) -> None:
    """Only what is older than the current key and seals nothing is dropped."""
    one, two, three, four = (bytes([n]) * 96 for n in range(4))
    path.write_bytes(one + two + three + four)
    drop_old_keys(path, name_of(three), {name_of(one)})
    assert read_key_file(path) == [one, three, four]
    drop_old_keys(path, "local:of-another-machine", {})
    assert read_key_file(path) == [one, three, four]
    drop_old_keys(path, name_of(three), {})
    assert read_key_file(path) == [three, four]


def test_many_changes_at_once(path: Path) -> None:
    """Of many that prepare at once one adds a key, and the others are told."""
    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(prepare_next_key, path) for _ in range(8)]
        assert sum(result.exception() is None for result in results) == 1
    assert len(read_key_file(path)) == 2


def test_lock_is_let_go(path: Path) -> None:
    """After a change the lock is free again."""
    prepare_next_key(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_owner(path: Path) -> None:
    """Root, who rotates, leaves the file to the user that the gateway runs as."""
    os.chown(path, 12345, 12345)
    prepare_next_key(path)
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (12345, 12345, 0o600)


def test_kms(path: Path, settings_file: Path) -> None:
    """The settings of a KMS are what PyMongo asks for; a key file beside it opens what it has sealed."""
    masters = Keyring(path, "aws", settings_file).read()
    (key,) = read_key_file(path)
    assert (masters.provider, masters.master_key) == ("aws", {"region": "eu-west-1", "key": "arn"})
    assert masters.providers == {
        "aws": {"accessKeyId": "id", "secretAccessKey": "very secret"},
        name_of(key): {"key": key},
    }
    assert masters.tls == {"aws": {"tlsCAFile": "/ca.pem"}}
    assert "secret" not in repr(masters)


def test_kms_alone(tmp_path: Path, settings_file: Path) -> None:
    """With a KMS no key file is needed, and none is made."""
    assert list(Keyring(tmp_path / "key", "aws", settings_file).read(may_make=True).providers) == ["aws"]
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[azure]", "tables .aws. and .aws.master_key."),
        ("[aws]", "tables .aws. and .aws.master_key."),
        ("secret = 'hush-hush'", "outside of tables"),
        ("'hush hush'", "not valid TOML"),
    ],
)
def test_wrong_settings(path: Path, settings_file: Path, text: str, said: str) -> None:
    """What is wrong with the settings is told, without quoting them."""
    settings_file.write_text(text)
    with pytest.raises(StartError, match=said) as told:
        Keyring(path, "aws", settings_file).read()
    assert "hush hush" not in str(told.value)


def test_settings_away(path: Path, settings_file: Path) -> None:
    """Settings that are missing, or can be read by others, are told."""
    with pytest.raises(StartError, match="key_settings_file has to name"):
        Keyring(path, "aws").read()
    settings_file.chmod(0o644)
    with pytest.raises(StartError, match="chmod 600"):
        Keyring(path, "aws", settings_file).read()
    settings_file.unlink()
    with pytest.raises(StartError, match="Cannot read"):
        Keyring(path, "aws", settings_file).read()
