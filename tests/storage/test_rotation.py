"""Rotation: new keys under running gateways, through every interruption."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from http.client import HTTPSConnection
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import trustme
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from werkzeug.serving import make_server

from gateway.errors import StartError, Unavailable
from gateway.identity import Credentials, IdentityStatus, IdentityType, UserIdentity
from gateway.notice import GATEWAY_ID
from gateway.ports import system_clock
from gateway.progress import Progress
from storage.embedded import EmbeddedMongod
from storage.identities import INDEXES as IDENTITY_INDEXES
from storage.identities import MongoIdentities
from storage.keyring import name_of, prepare_next_key, read_key_file
from storage.mongo import Mongo
from storage.raws import INDEXES as RAW_INDEXES
from storage.raws import MongoRaws
from storage.rotation import GRACE_S, Rotation
from storage.secrets import INDEXES, Vault
from tests.users import exist

Key = TypeVar("Key")
Sleep = Callable[[float], Any]


@dataclass
class Place:
    """A database with a gateway that was started before any rotation, and what its identities hold."""

    mongo: Mongo
    key_file: Path
    gateway: MongoIdentities
    vault: Vault
    held: dict[str, Credentials]

    async def add(self, **values: str) -> UserIdentity:
        """Let the gateway store an identity with these credentials."""
        identity = remote()
        await self.gateway.add(identity, Credentials(values))
        self.held[identity.identity_id] = Credentials(values)
        return identity

    async def check(self) -> None:
        """See that the gateway reads all, and that one that starts now does so too."""
        started = await opened(self.mongo, self.key_file)
        for gateway in (self.gateway, MongoIdentities(self.mongo, started, system_clock)):
            for identity_id, credentials in self.held.items():
                assert (await gateway.with_credentials("user", identity_id))[1] == credentials
        await started.close()

    async def sealed_with(self) -> set[bytes]:
        """Return the ids of the data keys that any value is sealed with."""
        values = set()
        for name in ("identities", "raws"):
            async for document in self.mongo.collection(name).find({"credentials": {"$exists": True}}):
                values |= set(document["credentials"].values())
        return {value[1:17] for value in values}

    async def data_keys(self) -> dict[bytes, str]:
        """Return the data keys, each with the name of the master key that opens it."""
        return {bytes(k["_id"]): k["masterKey"]["provider"] async for k in self.mongo.collection("keys").find()}

    async def is_rotated(self, before: set[bytes]) -> None:
        """See that none of the data keys of before is left, and that one file, key and data key fit."""
        (key,) = read_key_file(self.key_file)
        ((data_key, master),) = (await self.data_keys()).items()
        assert data_key not in before
        assert master == name_of(key)
        assert await self.sealed_with() == {data_key}


def remote() -> UserIdentity:
    """Return an identity of another provider."""
    return UserIdentity(
        identity_id=str(uuid4()),
        user_id="user",
        type=IdentityType.REMOTE,
        protocol="smtp",
        identifier=f"{uuid4().hex}@elsewhere.example",
        display_name="",
        status=IdentityStatus.ACTIVE,
        infos={},
        last_check=None,
    )


async def opened(mongo: Mongo, key_file: Path, *more: Any) -> Vault:
    """Return an open vault."""
    vault = Vault(mongo, key_file, *more)
    await vault.open()
    return vault


async def rotated(
    mongo: Mongo, vault: Vault, *, grace_s: float = 0, sleep: Sleep = asyncio.sleep
) -> list[Progress]:
    """Rotate; return the progress."""
    return [progress async for progress in Rotation(mongo, vault, grace_s=grace_s, sleep=sleep).run()]


@pytest.fixture
async def place(mongo: Mongo, tmp_path: Path) -> AsyncIterator[Place]:
    """A place with a few identities."""
    await mongo.ensure_indexes(INDEXES | IDENTITY_INDEXES | RAW_INDEXES)
    await exist(mongo, "user")
    vault = await opened(mongo, tmp_path / "key")
    place = Place(mongo, tmp_path / "key", MongoIdentities(mongo, vault, system_clock), vault, {})
    for n in range(3):
        await place.add(inusername=f"me{n}", inpassword=f"secret {n}", **{"a.$b%": "odd"})
    await place.add()
    yield place
    await vault.close()


@pytest.fixture
async def vault(place: Place) -> AsyncIterator[Vault]:
    """The vault of the command that rotates."""
    vault = await opened(place.mongo, place.key_file)
    yield vault
    await vault.close()


async def test_all_is_new(place: Place, vault: Vault) -> None:
    """Afterwards the master key, the data key and every ciphertext are new, and running gateways read and write."""
    (old,) = read_key_file(place.key_file)
    before = set(await place.data_keys())
    progress = await rotated(place.mongo, vault)
    assert old not in read_key_file(place.key_file)
    await place.is_rotated(before)
    await place.add(inpassword="written afterwards")
    await place.is_rotated(before)
    await place.check()
    assert progress[-1] == Progress("credentials, a last look", 3, 3)


async def test_the_old_key_opens_nothing(place: Place, vault: Vault, tmp_path: Path) -> None:
    """Who has a copy of the old key file cannot start on the data any more."""
    shutil.copy(place.key_file, tmp_path / "copy")
    await rotated(place.mongo, vault)
    with pytest.raises(StartError, match="does not fit this database"):
        await opened(place.mongo, tmp_path / "copy")


async def test_many(place: Place, vault: Vault) -> None:
    """More identities than one page holds are all done, each counted."""
    values = await place.vault.encrypt({"inpassword": "the same"})
    for _ in range(450):
        await place.gateway.insert(remote(), values, system_clock())
    before = set(await place.data_keys())
    progress = await rotated(place.mongo, vault)
    await place.is_rotated(before)
    assert [step.done for step in progress] == [200, 400, 453] * 2


async def test_own_mails(place: Place, vault: Vault) -> None:
    """A mail of the gateway's own that is under way is sealed anew too; mails of users are left alone."""
    raws, raw = MongoRaws(place.mongo, place.vault), b"here is your link"
    for user_id in (GATEWAY_ID, "user"):
        await raws.put(user_id, "message", user_id, _pieces(raw))
    before = set(await place.data_keys())
    progress = await rotated(place.mongo, vault)
    await place.is_rotated(before)
    for user_id in (GATEWAY_ID, "user"):
        assert [piece async for piece in (await raws.read(user_id, user_id)).pieces] == [raw]
    assert progress[-1] == Progress("credentials, a last look", 4, 4)


async def _pieces(raw: bytes) -> AsyncIterator[bytes]:
    yield raw


async def test_again(place: Place, vault: Vault) -> None:
    """A rotation can follow a rotation."""
    for _ in range(3):
        before = set(await place.data_keys())
        await rotated(place.mongo, vault)
        await place.is_rotated(before)
    await place.check()


class Interruption(CommandListener):
    """Ends a task while a command of its is on the way, the n-th one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.loop = asyncio.get_running_loop()
        self.task: asyncio.Task[Any] | None = None

    def started(self, _: CommandStartedEvent) -> None:
        """Count, in the thread of the driver."""
        if self.task is not None:
            self.count -= 1
            if self.count == 0:
                self.loop.call_soon_threadsafe(self.task.cancel)

    def succeeded(self, _: CommandSucceededEvent) -> None:
        """Be told, as the driver asks for it."""

    def failed(self, _: CommandFailedEvent) -> None:
        """Be told, as the driver asks for it."""


async def interrupted(mongod: EmbeddedMongod, place: Place, count: int) -> bool:
    """Rotate until the n-th command, from a client of its own; True when the rotation was cut off there."""
    interruption = Interruption(count)
    mongo = Mongo(mongod.uri, place.mongo.database.name, listeners=[interruption])
    vault = await opened(mongo, place.key_file)
    interruption.task = asyncio.create_task(rotated(mongo, vault))
    with suppress(asyncio.CancelledError):
        await interruption.task
    await vault.close()
    mongo.close()
    return interruption.task.cancelled()


async def test_interrupted_anywhere(mongod: EmbeddedMongod, place: Place) -> None:
    """Cut off at any command to the database nothing is lost, and the next run completes it."""
    count, before = 1, set(await place.data_keys())
    while await interrupted(mongod, place, count):
        await place.check()
        assert not await interrupted(mongod, place, 10_000)
        await place.is_rotated(before)
        await place.check()
        count, before = count + 1, set(await place.data_keys())
    assert count > 10


async def test_at_once(place: Place, vault: Vault) -> None:
    """Rotations that run at the same time complete each other."""
    others = [await opened(place.mongo, place.key_file) for _ in range(2)]
    before, all_wait = set(await place.data_keys()), asyncio.Barrier(3)

    async def wait_for_each_other(_: float) -> None:
        await all_wait.wait()

    vaults = [vault, *others]
    rotations = (rotated(place.mongo, each, grace_s=1, sleep=wait_for_each_other) for each in vaults)
    await asyncio.gather(*rotations)
    await place.check()
    await place.is_rotated(before)
    for each in others:
        await each.close()


async def test_starts_meanwhile(place: Place, vault: Vault) -> None:
    """Gateways can start at any moment of a rotation."""

    async def start() -> None:
        while not rotations.done():
            await (await opened(place.mongo, place.key_file)).close()

    async def rotate() -> None:
        for _ in range(5):
            await rotated(place.mongo, vault)

    rotations = asyncio.ensure_future(rotate())
    await asyncio.gather(rotations, *(start() for _ in range(3)))
    await place.check()


def test_grace() -> None:
    """Grace is longer than what began before the change of keys can last: its commit, then a slow operation."""
    mongo = Mongo("mongodb://127.0.0.1", "unused")
    assert 2 * (mongo.operation_s + 1) < GRACE_S
    mongo.close()


async def test_slow_gateway(place: Place, vault: Vault) -> None:
    """A value that a slow gateway has sealed before the change of keys, and writes after it, is not stranded."""
    late, before = remote(), set(await place.data_keys())
    sealed = await place.vault.encrypt({"inpassword": "late"})
    waits = []

    async def write_at_the_last_moment(seconds: float) -> None:
        waits.append(seconds)
        if sum(waits) < GRACE_S:
            return
        assert await place.sealed_with() & before == set()  # all that was there is done already
        await place.gateway.insert(late, sealed, system_clock())
        assert await place.sealed_with() & before == before
        assert before <= set(await place.data_keys())

    progress = await rotated(place.mongo, vault, grace_s=GRACE_S, sleep=write_at_the_last_moment)
    place.held[late.identity_id] = Credentials({"inpassword": "late"})
    await place.check()
    await place.is_rotated(before)
    assert sum(waits) == GRACE_S
    assert Progress("waiting for running gateways", 30, GRACE_S) in progress


async def test_new_data_key_at_once(place: Place, vault: Vault) -> None:
    """Once the change of keys is made, a running gateway seals with the new data key, without any delay."""
    before = set(await place.data_keys())
    async for _ in (run := Rotation(place.mongo, vault).run()):
        break
    assert before.isdisjoint({value[1:17] for value in (await place.vault.encrypt({"x": "y"})).values()})
    await run.aclose()


class Meanwhile(Vault):
    """A vault in whose rotation somebody is quick: between the reading of a value and its writing."""

    async def decrypt(self, sealed: Mapping[Key, bytes]) -> dict[Key, str]:
        """Open as ever, and do what is to happen meanwhile."""
        values = await super().decrypt(sealed)
        await self.meanwhile()
        return values

    async def meanwhile(self) -> None:
        """Do nothing, unless the test says what."""


async def test_clients_win(place: Place) -> None:
    """What a client changes, or deletes with its identity, while it is sealed anew stays as the client wants."""
    (changed, deleted) = [await place.gateway.get("user", identity_id) for identity_id in list(place.held)[:2]]
    vault, before = Meanwhile(place.mongo, place.key_file), set(await place.data_keys())
    await vault.open()

    async def be_quick() -> None:
        vault.meanwhile = done  # type: ignore[method-assign] # what happens meanwhile happens once
        new = Credentials({"inpassword": "newer"})
        assert await place.gateway.change(changed, replace(changed, display_name="x"), new, exactly=False)
        assert await place.gateway.delete(deleted, exactly=False)
        place.held[changed.identity_id] = new
        del place.held[deleted.identity_id]

    async def done() -> None:
        pass

    vault.meanwhile = be_quick  # type: ignore[method-assign] # as above
    await rotated(place.mongo, vault)
    await place.check()
    await place.is_rotated(before)
    gone = await place.mongo.collection("identities").find_one({"_id": deleted.identity_id})
    assert gone is not None
    assert gone["credentials"] == {}
    await vault.close()


async def test_several_machines(place: Place, vault: Vault, tmp_path: Path) -> None:
    """With the next key prepared and copied, the gateways of other machines work through a rotation."""
    prepare_next_key(place.key_file)
    prepared = read_key_file(place.key_file)[-1]
    shutil.copy(place.key_file, tmp_path / "copy")
    other = await opened(place.mongo, tmp_path / "copy")
    gateway = MongoIdentities(place.mongo, other, system_clock)
    async for _ in Rotation(place.mongo, vault, grace_s=0).run():
        for identity_id, credentials in place.held.items():
            assert (await gateway.with_credentials("user", identity_id))[1] == credentials
    assert read_key_file(place.key_file) == [prepared]
    await place.check()
    await other.close()


async def test_machine_without_the_key(place: Place, vault: Vault, tmp_path: Path) -> None:
    """A gateway on a machine that was forgotten works again as soon as it has the file, without a restart."""
    shutil.copy(place.key_file, tmp_path / "copy")
    other = await opened(place.mongo, tmp_path / "copy")
    gateway = MongoIdentities(place.mongo, other, system_clock)
    await rotated(place.mongo, vault)
    with pytest.raises(Unavailable):
        await gateway.with_credentials("user", next(iter(place.held)))
    shutil.copy(place.key_file, tmp_path / "copy")
    for identity_id, credentials in place.held.items():
        assert (await gateway.with_credentials("user", identity_id))[1] == credentials
    await other.close()


async def test_damaged_value(place: Place, vault: Vault) -> None:
    """A value that does not open stops the rotation with the name of its identity; without it, it completes."""
    before = set(await place.data_keys())
    damaged = await place.add(inpassword="good")
    sealed = (await place.vault.encrypt({"x": "y"}))["x"]
    await place.mongo.collection("identities").update_one(
        {"_id": damaged.identity_id}, {"$set": {"credentials.inpassword": sealed[:-1] + b"?"}}
    )
    del place.held[damaged.identity_id]
    with pytest.raises(Unavailable, match=damaged.identity_id):
        await rotated(place.mongo, vault)
    await place.check()
    await place.gateway.delete(damaged, exactly=False)
    await rotated(place.mongo, vault)
    await place.check()
    await place.is_rotated(before)


async def test_unwritable_key_file(place: Place, vault: Vault) -> None:
    """Where the key file cannot be replaced nothing is changed."""
    before = await place.data_keys()
    os.replace(place.key_file, place.key_file.with_name("elsewhere"))  # noqa: PTH105 - nothing here blocks for long
    with pytest.raises(StartError, match="key file"):
        await rotated(place.mongo, vault)
    os.replace(place.key_file.with_name("elsewhere"), place.key_file)  # noqa: PTH105 - as above
    assert await place.data_keys() == before
    await place.check()


async def test_no_data_key(place: Place, vault: Vault) -> None:
    """Where the data keys are gone, a rotation says so and makes none."""
    await place.mongo.collection("keys").delete_many({})
    with pytest.raises(Unavailable):
        await rotated(place.mongo, vault)
    assert await place.data_keys() == {}


@pytest.fixture(scope="module")
def kms(authority: trustme.CA) -> Iterator[str]:
    """A server that speaks as AWS KMS does, on TLS; its host:port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, ssl_context=context)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def create_key(kms: str, tls: ssl.SSLContext) -> str:
    """Let the KMS make a master key; return its name."""
    headers = {
        "X-Amz-Target": "TrentService.CreateKey",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": "AWS4-HMAC-SHA256 Credential=id/20260101/eu-west-1/kms/aws4_request",
    }
    with closing(HTTPSConnection(kms, context=tls)) as connection:
        connection.request("POST", "/", "{}", headers)
        name: str = json.loads(connection.getresponse().read())["KeyMetadata"]["Arn"]
    return name


@pytest.fixture
def services(kms: str, client_tls: ssl.SSLContext, ca_file: Path, tmp_path: Path) -> list[Path]:
    """Two settings files, each with a master key of its own at the KMS."""
    files = [tmp_path / "one.toml", tmp_path / "two.toml"]
    for file in files:
        file.write_text(
            f"""
            [aws]
            accessKeyId = "id"
            secretAccessKey = "a secret of the operator"
            [aws.master_key]
            region = "eu-west-1"
            key = "{create_key(kms, client_tls)}"
            endpoint = "{kms}"
            [aws.tls]
            tlsCAFile = "{ca_file}"
            """
        )
        file.chmod(0o600)
    return files


async def test_kms(place: Place, services: list[Path]) -> None:
    """A rotation moves the keys into a KMS, there to another master key, and back to a key file."""
    before = set(await place.data_keys())
    for settings_file in services:
        vault = await opened(place.mongo, place.key_file, "aws", settings_file)
        await rotated(place.mongo, vault)
        (data_key,) = await place.mongo.collection("keys").find().to_list(None)
        assert data_key["masterKey"] == {"provider": "aws", **vault.masters.master_key}
        assert await place.sealed_with() == {bytes(data_key["_id"])}
        assert bytes(data_key["_id"]) not in before
        before.add(bytes(data_key["_id"]))
        gateway = MongoIdentities(place.mongo, vault, system_clock)
        for identity_id, credentials in place.held.items():
            assert (await gateway.with_credentials("user", identity_id))[1] == credentials
        await vault.close()
    with pytest.raises(StartError, match="The KMS aws does not"):
        await opened(place.mongo, place.key_file)
    vault = await opened(place.mongo, place.key_file, "local", services[1])
    await rotated(place.mongo, vault)
    await place.is_rotated(before)
    await place.check()
    await vault.close()


async def test_first_start_on_a_kms(mongo: Mongo, services: list[Path], tmp_path: Path) -> None:
    """A new installation can begin with a KMS, and then has no key file."""
    await mongo.ensure_indexes(INDEXES)
    for _ in range(2):
        vault = await opened(mongo, tmp_path / "key", "aws", services[0])
        assert await vault.decrypt(await vault.encrypt({"a": "b"})) == {"a": "b"}
        await vault.close()
    assert not (tmp_path / "key").exists()


REFUSED = "The KMS aws does not"
WRONG = "storage.key_settings_file is wrong"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(('"127.0.0.1:', '"127.0.0.1:1" #'), REFUSED, id="away"),
        pytest.param(("key/", "key/0"), REFUSED, id="no such key"),
        pytest.param(("region =", "regions ="), REFUSED, id="half a master key"),
        pytest.param(("tlsCAFile", "tlsCAFle"), WRONG, id="no such option"),
        pytest.param(("tlsCAFile = ", "tlsCAFile = '/none' #"), WRONG, id="no such file"),
        pytest.param(("accessKeyId", "accessKey"), WRONG, id="half the credentials"),
        pytest.param(("[aws]", "[none]\n[aws]"), WRONG, id="no such KMS"),
    ],
)
async def test_wrong_kms(
    mongo: Mongo, services: list[Path], tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    """Wrong settings of a KMS stop the start with what is wrong, without a word of the credentials."""
    await mongo.ensure_indexes(INDEXES)
    services[0].write_text(services[0].read_text().replace(*change))
    with pytest.raises(StartError, match=said) as told:
        await opened(mongo, tmp_path / "key", "aws", services[0])
    assert "operator" not in str(told.value)
