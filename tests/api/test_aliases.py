"""Aliases over REST. The names of domains end as the fake backend knows them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from gateway.forward import MOST_DESTINATIONS
from gateway.roles import ALLOWED, Action, Role
from storage.mongo import Mongo
from tests.client import Client, Reply

DOMAINS = "/api/v2/domains"
NAME = "bücher.ok.test"
ALIASES = f"{DOMAINS}/{NAME}/aliases"
TO = "me@elsewhere.example"
NEW = {"local_part": "info", "destination": TO}


@pytest.fixture
async def owner(api: Client) -> Client:
    """The owner of the domain."""
    owner = await api.register("owner")
    assert (await owner.post(DOMAINS, {"name": NAME})).status == 201
    return owner


async def delete(user: Client, local_part: str = "info", destination: str = TO) -> Reply:
    """Delete an alias."""
    return await user.call("DELETE", f"{ALIASES}/{quote(local_part, safe='')}/{quote(destination, safe='')}")


async def test_add_list_delete(owner: Client, mongo: Mongo) -> None:
    """An alias is there, here and at the backend, until it is deleted; it is shown in its one spelling."""
    reply = await owner.post(ALIASES, {"local_part": "INFO", "destination": "Me@XN--BCHER-KVA.example"})
    shown = {"local_part": "info", "destination": "me@bücher.example"}
    assert (reply.status, reply.json) == (201, shown)
    assert (await owner.get(ALIASES)).json == {"total": 1, "aliases": [shown]}
    kept = mongo.collection("fake_aliases")
    assert [each["_id"] async for each in kept.find()] == [{"from": f"info@{NAME}", "to": "me@bücher.example"}]
    reply = await delete(owner, "Info", "me@xn--bcher-kva.example")
    assert (reply.status, reply.content) == (204, b"")
    assert (await owner.get(ALIASES)).json == {"total": 0, "aliases": []}
    assert await kept.count_documents({}) == 0
    assert (await delete(owner, "info", "me@bücher.example")).status == 404


async def test_list(owner: Client) -> None:
    """Aliases are listed in order, in pages."""
    for local_part, destination in (("b", TO), ("a", TO), ("b", "a@elsewhere.example")):
        assert (await owner.post(ALIASES, {"local_part": local_part, "destination": destination})).status == 201
    page = (await owner.get(f"{ALIASES}?limit=2&offset=1")).json
    assert page == {
        "total": 3,
        "aliases": [
            {"local_part": "b", "destination": "a@elsewhere.example"},
            {"local_part": "b", "destination": TO},
        ],
    }


async def test_twice(owner: Client) -> None:
    """Of the same pair several times at once one is stored, the others are 409."""
    replies = await asyncio.gather(*(owner.post(ALIASES, NEW) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409, 409]
    assert (await owner.get(ALIASES)).json["total"] == 1


BAD: Sequence[tuple[dict[str, Any], str]] = [
    ({"local_part": "a b"}, "local_part"),
    ({"local_part": ""}, "local_part"),
    ({"destination": "nobody"}, "destination"),
    ({"destination": "a@b\r\nc"}, "destination"),
    ({"destination": f"Info@{NAME}"}, "destination"),
    ({"destination": "info@xn--bcher-kva.ok.test"}, "destination"),
    ({"destination": None}, "destination"),
    ({"colour": "red"}, "colour"),
]


async def test_bad_ones(owner: Client) -> None:
    """A bad local part or destination, and an alias to itself, is 422."""
    for change, field in BAD:
        reply = await owner.post(ALIASES, NEW | change)
        assert (reply.status, list(reply.json["errors"])) == (422, [field])
    assert (await owner.get(ALIASES)).json["total"] == 0


async def test_odd_ones(owner: Client) -> None:
    """Every character that an address can have can stand in the path, percent-encoded."""
    for local_part, destination in (
        ("a/b", '"a b/c"@elsewhere.example'),
        ("{a}", "a/b@[127.0.0.1]"),
        ("a%2fb", "a?b#c@elsewhere.example"),
    ):
        reply = await owner.post(ALIASES, {"local_part": local_part, "destination": destination})
        assert reply.json == {"local_part": local_part, "destination": destination}
        assert (await delete(owner, local_part, destination)).status == 204


async def test_too_many(owner: Client) -> None:
    """An address has a bounded number of destinations: 409."""
    for number in range(MOST_DESTINATIONS):
        body = {"local_part": "info", "destination": f"m{number}@elsewhere.example"}
        assert (await owner.post(ALIASES, body)).status == 201
    assert (await owner.post(ALIASES, NEW)).status == 409
    assert (await owner.post(ALIASES, NEW | {"local_part": "sales"})).status == 201


async def test_no_aliases_there(owner: Client) -> None:
    """A domain without the feature has no aliases: 422; a disabled one gets none: 403, and those there can go."""
    assert (await owner.post(DOMAINS, {"name": "other.ok.test", "features": ["mailbox"]})).status == 201
    assert (await owner.post(f"{DOMAINS}/other.ok.test/aliases", NEW)).status == 422
    assert (await owner.post(ALIASES, NEW)).status == 201
    assert (await owner.call("PATCH", f"{DOMAINS}/{NAME}", {"status": "disabled"})).status == 204
    assert (await owner.post(ALIASES, NEW | {"local_part": "sales"})).status == 403
    assert (await delete(owner)).status == 204


@pytest.mark.configured(domains={"fake_faults": ["add_alias"]})
async def test_refused_by_the_backend(owner: Client) -> None:
    """What the backend refuses is 424, and nothing is stored."""
    assert (await owner.post(ALIASES, NEW)).status == 424
    assert (await owner.get(ALIASES)).json["total"] == 0


async def test_somebody_elses(owner: Client, mongo: Mongo) -> None:
    """An alias that the backend has by itself is 409, is not stored, and nobody can delete it here."""
    assert (await owner.post(ALIASES, NEW)).status == 201
    for collection in ("aliases", "fake_aliases"):
        await mongo.collection(collection).delete_many({"local_part": "info"})
    reply = await owner.post(ALIASES, NEW)
    assert (reply.status, "does not come from here" in reply.json["detail"]) == (409, True)
    assert (await owner.get(ALIASES)).json["total"] == 0
    assert (await delete(owner)).status == 404
    assert await mongo.collection("fake_aliases").count_documents({}) == 1


async def test_cut_off(owner: Client, mongo: Mongo) -> None:
    """An alias of which nobody knows whether the backend has it is shown, and can be added again or deleted."""
    for ask, status in ((owner.post(ALIASES, NEW), 201), (delete(owner), 204)):
        await owner.post(ALIASES, NEW)
        await mongo.collection("aliases").update_one({}, {"$set": {"adding_until": datetime.now(UTC)}})
        assert (await owner.get(ALIASES)).json["total"] == 1
        assert (await ask).status == status
    assert await mongo.collection("fake_aliases").count_documents({}) == 0


@pytest.mark.configured(domains={"fake_faults": ["delete_alias"]})
async def test_not_deleted_by_the_backend(owner: Client) -> None:
    """What the backend does not delete stays here too: 424."""
    await owner.post(ALIASES, NEW)
    assert (await delete(owner)).status == 424
    assert (await owner.get(ALIASES)).json["total"] == 1


@pytest.mark.parametrize("role", [None, *Role])
async def test_who_may(owner: Client, role: Role | None) -> None:
    """Each role may what the table says; without one it is 404."""
    other = await owner.register(f"other-{uuid4().hex[:8]}")
    if role:
        body = {"user_id": other.user_id, "role": role.value}
        assert (await owner.post(f"{DOMAINS}/{NAME}/accesses", body)).status == 201
    await owner.post(ALIASES, NEW)
    for action, reply in (
        (Action.SEE_ALIASES, await other.get(ALIASES)),
        (Action.CREATE_ALIAS, await other.post(ALIASES, NEW | {"local_part": "sales"})),
        (Action.DELETE_ALIAS, await delete(other)),
    ):
        if role is None:
            assert reply.status == 404
        else:
            assert (reply.status == 403) is (role.rank < ALLOWED[action].rank), action


async def test_what_is_told_first(owner: Client) -> None:
    """What is wrong with an alias, or that it is not there, is told before that the role is too low."""
    other = await owner.register("other")
    for name in (NAME, "other.ok.test"):
        await owner.post(DOMAINS, {"name": name, "features": ["mailbox"]})
        viewer = {"user_id": other.user_id, "role": "viewer"}
        assert (await owner.post(f"{DOMAINS}/{name}/accesses", viewer)).status == 201
    assert (await other.post(ALIASES, {"local_part": "info", "destination": f"info@{NAME}"})).status == 422
    assert (await other.post(f"{DOMAINS}/other.ok.test/aliases", NEW)).status == 422
    assert (await delete(other)).status == 404


async def test_unknown(owner: Client) -> None:
    """An alias that is not there, and what is no address, is 404."""
    await owner.post(ALIASES, NEW)
    for local_part, destination in (
        ("x", TO), ("a b", TO), ("info", "nobody"), ("\0", "\0"), ("info", "a@b\n"), ("info", f"info@{NAME}"),
    ):  # fmt: skip
        assert (await delete(owner, local_part, destination)).status == 404
    for name in ("no.ok.test", "nonsense"):
        assert (await owner.get(f"{DOMAINS}/{name}/aliases")).status == 404
        assert (await owner.post(f"{DOMAINS}/{name}/aliases", {"colour": "red"})).status == 404
