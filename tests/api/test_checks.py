"""Checks in the background, and their history over REST."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.api.conftest import CLOSED_PORT
from tests.client import Client, remote
from tests.conftest import ME

REMOTES = "/api/v2/identities/remotes"
LOCALS = "/api/v2/identities/locals"
CHECK = {"actions": ["check"]}

by_itself = pytest.mark.configured(checks={"poll_s": 0.02})


async def until(user: Client, path: str, holds: Callable[[Any], bool]) -> Any:
    """Return the answer as soon as this holds for it."""
    async with asyncio.timeout(30):
        while True:
            answer = (await user.get(path)).json
            if holds(answer):
                return answer
            await asyncio.sleep(0.02)


async def make_due(mongo: Mongo) -> None:
    """Let all identities that are checked be due now."""
    due = {"$set": {"check_at": datetime.now(UTC)}}
    await mongo.collection("identities").update_many({"check_at": {"$exists": True}}, due)


@by_itself
async def test_added(user: Client, provider: Provider) -> None:
    """What is added is checked at once: a remote identity, and a local one by the relay."""
    identity_id = await user.add_remote(provider)
    identity = await until(user, f"{REMOTES}/{identity_id}", lambda answer: answer["last_check"])
    assert identity["infos"]["sentfolder"] == "Sent"
    local = await user.local_identity()
    local = await until(user, f"{LOCALS}/{local['identity_id']}", lambda answer: answer["last_check"])
    assert local["infos"].keys() == {"lastsync"}


@by_itself
async def test_given_up(user: Client, provider: Provider, mongo: Mongo) -> None:
    """After three refused sign-ins the identity is inactive, and new credentials with active start it again."""
    wrong = {"inusername": ME.address, "inpassword": "wrong"}
    identity_id = await user.add_remote(provider, credentials=wrong)
    path = f"{REMOTES}/{identity_id}"
    for count in ("1", "2", "3"):
        await until(user, path, lambda answer, count=count: answer["infos"].get("errorsCount") == count)  # type: ignore[misc]
        await make_due(mongo)
    identity = (await user.get(path)).json
    assert (identity["status"], identity["infos"]["inactivereason"]) == ("inactive", "credentials")
    assert (
        await mongo.collection("identities").count_documents({"_id": identity_id, "check_at": {"$exists": True}})
        == 0
    )
    patch = {"status": "active", "credentials": {"inpassword": ME.password}}
    assert (await user.call("PATCH", path, patch)).status == 204
    identity = await until(user, path, lambda answer: "lastsync" in answer["infos"])
    assert not {"inactivereason", "errorsCount", "lastFetchError"} & identity["infos"].keys()


@by_itself
async def test_new_credentials_are_checked_at_once(user: Client, provider: Provider) -> None:
    """A client that mends the credentials need not wait for the next check, nor does the row of refusals go on."""
    wrong = {"inusername": ME.address, "inpassword": "wrong"}
    identity_id = await user.add_remote(provider, credentials=wrong)
    path = f"{REMOTES}/{identity_id}"
    await until(user, path, lambda answer: "errorsCount" in answer["infos"])
    await user.call("PATCH", path, {"credentials": {"inpassword": ME.password}})
    await until(user, path, lambda answer: "lastsync" in answer["infos"])


@by_itself
async def test_not_while_inactive(user: Client, provider: Provider) -> None:
    """What the user made inactive is not checked, until it is active again."""
    identity_id = await user.add_remote(provider, status="inactive")
    other_id = await user.add_remote(provider, identifier="other@elsewhere.example")
    await until(user, f"{REMOTES}/{other_id}", lambda answer: answer["last_check"])
    assert (await user.get(f"{REMOTES}/{identity_id}")).json["last_check"] is None
    await user.call("PATCH", f"{REMOTES}/{identity_id}", {"status": "active"})
    await until(user, f"{REMOTES}/{identity_id}", lambda answer: answer["last_check"])


@by_itself
async def test_refused_while_sending(user: Client, provider: Provider, mongo: Mongo) -> None:
    """A refused sign-in of a sending puts the identity up for a check."""
    identity_id = await user.add_remote(provider)
    path = f"{REMOTES}/{identity_id}"
    await until(user, path, lambda answer: answer["last_check"])
    await user.call("PATCH", path, {"credentials": {"outpassword": "wrong"}, "status": "active"})
    await until(user, path, lambda answer: "errorsCount" in answer["infos"])
    message_id = await user.draft(identity_id)
    assert (await user.send(message_id)).status == 424
    await until(user, path, lambda answer: answer["infos"]["errorsCount"] == "2")


@pytest.fixture
def slow_port(settings: dict[str, Any]) -> Iterator[int]:
    """The port of a server to which one can connect, and which says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        settings["network"]["ports"].append(port)
        yield port


@pytest.mark.configured(checks={"poll_s": 0.02, "per_host": 2, "concurrency": 4})
@pytest.mark.parametrize("beside", ["127.0.0.1:{port}", "10.0.0.{n}:1"])
async def test_a_slow_host_holds_up_no_other(slow_port: int, user: Client, provider: Provider, beside: str) -> None:
    """While one host keeps many checks waiting those of others go on, whatever servers stand beside it."""
    slow = remote(provider)["infos"] | {"outserver": f"127.0.0.1:{slow_port}"}
    for n in range(8):
        infos = slow | {"inserver": beside.format(port=slow_port, n=n)}
        await user.add_remote(provider, identifier=f"n{n}@slow.example", infos=infos)
    other = {key: value.replace("127.0.0.1", "localhost") for key, value in remote(provider)["infos"].items()}
    identity_id = await user.add_remote(provider, infos=other)
    await until(user, f"{REMOTES}/{identity_id}", lambda answer: answer["last_check"])
    listed = (await user.get(REMOTES)).json["remote_identities"]
    assert [each["last_check"] for each in listed[:8]] == [None] * 8


@by_itself
async def test_one_look_at_the_relay(api: Client, provider: Provider) -> None:
    """What the relay said to the check of one local identity holds for those of others within a minute."""
    for name in ("first", "second"):
        user = await api.register(name)
        path = f"{LOCALS}/{(await user.local_identity())['identity_id']}"
        infos = (await until(user, path, lambda answer: answer["last_check"]))["infos"]
        assert infos.keys() == {"lastsync"}
        await provider.stop()


async def test_inactive_is_checked_on_demand(user: Client, provider: Provider) -> None:
    """The action checks an inactive identity too, and leaves it so where that is the user's decision."""
    identity_id = await user.add_remote(provider, status="inactive")
    reply = await user.post(f"{REMOTES}/{identity_id}/actions", CHECK)
    assert (reply.json["status"], "lastsync" in reply.json["infos"]) == ("inactive", True)


async def test_on_demand_counts(user: Client, provider: Provider) -> None:
    """Checks on demand count towards the failure policy, and a success makes active again."""
    wrong = {"inusername": ME.address, "inpassword": "wrong"}
    identity_id = await user.add_remote(provider, credentials=wrong)
    path = f"{REMOTES}/{identity_id}"
    for _ in range(3):
        reply = await user.post(f"{path}/actions", CHECK)
    assert (reply.json["status"], reply.json["infos"]["inactivereason"]) == ("inactive", "credentials")
    await user.call("PATCH", path, {"credentials": {"inpassword": ME.password}})
    assert (await user.get(path)).json["status"] == "inactive"
    reply = await user.post(f"{path}/actions", CHECK)
    assert (reply.json["status"], "inactivereason" in reply.json["infos"]) == ("active", False)


async def test_history(user: Client, provider: Provider) -> None:
    """Each check stands in the history, newest first, with what failed."""
    servers = remote(provider)["infos"] | {"outserver": f"127.0.0.1:{CLOSED_PORT}"}
    identity_id = await user.add_remote(provider, infos=servers)
    path = f"{REMOTES}/{identity_id}"
    assert (await user.get(f"{path}/checks")).json == {"total": 0, "checks": []}
    first = (await user.post(f"{path}/actions", CHECK)).json
    await user.call("PATCH", path, {"infos": {"outserver": remote(provider)["infos"]["outserver"]}})
    second = (await user.post(f"{path}/actions", CHECK)).json
    history = (await user.get(f"{path}/checks")).json
    assert history == (await user.get(f"/api/v2/remotes/{identity_id}/checks")).json
    assert history["total"] == 2
    assert [(each["at"], each["ok"], each["server"]) for each in history["checks"]] == [
        (second["last_check"], True, None),
        (first["last_check"], False, "outserver"),
    ]
    assert "outserver: 127.0.0.1 port 1 refuses connections" in history["checks"][1]["error"]
    later = {"since": second["last_check"]}
    assert (await user.get(f"{path}/checks", params=later)).json["total"] == 1
    assert len((await user.get(f"{path}/checks?limit=1&offset=1")).json["checks"]) == 1


async def test_history_of_others(user: Client, api: Client, provider: Provider) -> None:
    """History is told to the identity's user, under its own type; a query that makes no sense is 422."""
    other = await api.register("another")
    theirs = await other.add_remote(provider)
    local = (await user.local_identity())["identity_id"]
    assert (await user.get(f"{REMOTES}/{theirs}/checks")).status == 404
    assert (await user.get(f"{REMOTES}/{theirs}/checks?since=x")).status == 404
    assert (await user.get(f"{REMOTES}/{local}/checks")).status == 404
    assert (await user.get(f"{LOCALS}/{local}/checks")).json["total"] == 0
    for query in ("since=yesterday", "limit=0", "colour=red"):
        assert (await user.get(f"{LOCALS}/{local}/checks?{query}")).status == 422


async def test_deleted_with_the_identity(user: Client, provider: Provider, mongo: Mongo) -> None:
    """With an identity its history goes."""
    identity_id = await user.add_remote(provider)
    await user.post(f"{REMOTES}/{identity_id}/actions", CHECK)
    assert await mongo.collection("checks").count_documents({}) == 1
    await user.call("DELETE", f"{REMOTES}/{identity_id}")
    assert await mongo.collection("checks").count_documents({}) == 0


async def test_interval(user: Client, provider: Provider, mongo: Mongo) -> None:
    """The next check comes after the interval that the user chose, give or take a tenth."""
    infos = remote(provider)["infos"] | {"pollinterval": "100"}
    identity_id = await user.add_remote(provider, infos=infos)
    await user.post(f"{REMOTES}/{identity_id}/actions", CHECK)
    document = await mongo.collection("identities").find_one({"_id": identity_id})
    assert document
    assert timedelta(minutes=90) <= document["check_at"] - document["last_check"] <= timedelta(minutes=110)
