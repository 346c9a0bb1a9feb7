"""Who manages a domain. What each role may is in test_role_matrix.py."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.client import PASSWORD, Client

DOMAIN = "/api/v2/domains/bücher.ok.test"
ACCESSES = f"{DOMAIN}/accesses"
UNKNOWN = "6f2b0a52-9f4e-4c9c-9e4e-0b3c1a5d7e11"


@pytest.fixture
async def owner(api: Client) -> Client:
    """The owner of the domain."""
    owner = await api.register("owner")
    assert (await owner.post("/api/v2/domains", {"name": "BÜCHER.ok.test"})).status == 201
    return owner


@pytest.fixture
async def other(api: Client) -> Client:
    """Somebody else."""
    return await api.register("other")


async def roles(client: Client) -> dict[str, str]:
    """Return the roles on the domain by user name."""
    reply = await client.get(ACCESSES)
    assert reply.status == 200
    return {each["username"]: each["role"] for each in reply.json["accesses"]}


async def give(owner: Client, user: Client, role: str) -> None:
    """Give a user a role."""
    assert (await owner.post(ACCESSES, {"user_id": user.user_id, "role": role})).status == 201


async def test_give(owner: Client, other: Client) -> None:
    """A user gets a role, and the list shows it, whichever spelling of the domain names it."""
    assert (await other.get(ACCESSES)).status == 404
    reply = await owner.post(ACCESSES, {"user_id": other.user_id, "role": "viewer"})
    access = {"user_id": other.user_id, "username": "other", "role": "viewer"}
    assert (reply.status, reply.json) == (201, access)
    listed = await other.get("/api/v2/domains/xn--bcher-kva.OK.test/accesses")
    owners = {"user_id": owner.user_id, "username": "owner", "role": "owner"}
    assert listed.json == {"total": 2, "accesses": [owners, access]}


async def test_pages(api: Client, owner: Client) -> None:
    """The list has pages; owners come first."""
    for name in ("one", "two", "three"):
        await give(owner, await api.register(name), "viewer" if name == "one" else "owner")
    pages = [(await owner.get(f"{ACCESSES}?limit=1&offset={offset}")).json for offset in range(5)]
    assert [page["total"] for page in pages] == [4] * 5
    assert [each["role"] for page in pages for each in page["accesses"]] == ["owner"] * 3 + ["viewer"]
    assert len({each["user_id"] for page in pages for each in page["accesses"]}) == 4


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user_id": UNKNOWN}, "user_id"),
        ({"user_id": "owner"}, "user_id"),
        ({"role": "king"}, "role"),
        ({"role": None}, "role"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_refused(owner: Client, other: Client, change: dict[str, Any], field: str) -> None:
    """An unknown user, role or property is 422."""
    reply = await owner.post(ACCESSES, {"user_id": other.user_id, "role": "viewer"} | change)
    assert (reply.status, list(reply.json["errors"])) == (422, [field])
    assert await roles(owner) == {"owner": "owner"}


async def test_the_gateway_itself(owner: Client) -> None:
    """The gateway, which sends mails of its own, is nobody to give a role to."""
    identity = "d2307c11-e30b-5e57-9294-73a7deee4b3b"
    assert (await owner.post(ACCESSES, {"user_id": identity, "role": "owner"})).status == 422


async def test_given_already(owner: Client, other: Client) -> None:
    """Who has a role gets no second one: 409, also of two at once."""
    body = {"user_id": other.user_id, "role": "viewer"}
    replies = await asyncio.gather(*(owner.post(ACCESSES, body) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409, 409]
    assert (await owner.post(ACCESSES, body | {"role": "owner"})).status == 409
    assert await roles(owner) == {"owner": "owner", "other": "viewer"}


async def test_many_at_once(api: Client, owner: Client) -> None:
    """Many who get roles at once all have them."""
    others = [await api.register(f"other-{n}") for n in range(6)]
    await asyncio.gather(*(give(owner, each, "viewer") for each in others))
    assert len(await roles(owner)) == 7


async def test_change(owner: Client, other: Client) -> None:
    """A role is changed, by a merge patch; an empty one changes nothing."""
    await give(owner, other, "viewer")
    path = f"{ACCESSES}/{other.user_id}"
    for patch, role in [({"role": "owner"}, "owner"), ({}, "owner"), ({"role": "administrator"}, "administrator")]:
        reply = await owner.call("PATCH", path, patch)
        assert (reply.status, reply.content) == (204, b"")
        assert (await roles(owner))["other"] == role
    assert (await owner.call("PATCH", path, {"role": None})).status == 422
    assert (await owner.call("PATCH", path, {"role": "king"})).status == 422


async def test_current_state(owner: Client, other: Client) -> None:
    """Of two changes of what both saw one wins; the other is 409."""
    await give(owner, other, "viewer")
    path = f"{ACCESSES}/{other.user_id}"
    patches = [{"role": role, "current_state": {"role": "viewer"}} for role in ("administrator", "owner")]
    replies = await asyncio.gather(*(owner.call("PATCH", path, patch) for patch in patches))
    assert sorted(reply.status for reply in replies) == [204, 409]
    won = [reply.status for reply in replies].index(204)
    assert (await roles(owner))["other"] == patches[won]["role"]


async def test_if_match(owner: Client, other: Client) -> None:
    """A version that is not the stored one is 412, for a change and for a removal."""
    await give(owner, other, "viewer")
    path = f"{ACCESSES}/{other.user_id}"
    for verb, body in (("PATCH", {"role": "owner"}), ("DELETE", None)):
        assert (await owner.call(verb, path, body, headers={"If-Match": '"another"'})).status == 412
        assert (await roles(owner))["other"] == "viewer"
    assert (await owner.call("DELETE", path, headers={"If-Match": "*"})).status == 204


async def test_remove(owner: Client, other: Client) -> None:
    """Whose role is taken away no longer knows of the domain."""
    await give(owner, other, "administrator")
    path = f"{ACCESSES}/{other.user_id}"
    assert (await owner.call("DELETE", path)).status == 204
    assert (await other.get(ACCESSES)).status == 404
    assert (await other.get(DOMAIN)).status == 404
    assert (await owner.call("DELETE", path)).status == 404
    assert (await owner.call("PATCH", path, {"role": "owner"})).status == 404


@pytest.mark.parametrize("user_id", [UNKNOWN, "somebody"])
async def test_no_such_access(owner: Client, user_id: str) -> None:
    """Who has no role is 404, before anything about the body."""
    for verb, body in (("PATCH", {"role": "king"}), ("DELETE", None)):
        assert (await owner.call(verb, f"{ACCESSES}/{user_id}", body)).status == 404


@pytest.mark.parametrize("name", ["unknown.ok.test", "com", "a..b", "localhost", "-"])
async def test_no_such_domain(owner: Client, name: str) -> None:
    """An unknown domain, and what is none, is 404, before anything about query or body."""
    path = f"/api/v2/domains/{name}/accesses"
    assert (await owner.get(f"{path}?limit=0")).status == 404
    assert (await owner.post(path, {"role": "king"})).status == 404
    assert (await owner.call("DELETE", f"{path}/{owner.user_id}")).status == 404


async def test_last_owner(owner: Client, other: Client) -> None:
    """What would leave a domain without an owner is 409, and nothing changed."""
    await give(owner, other, "administrator")
    path = f"{ACCESSES}/{owner.user_id}"
    assert (await owner.call("DELETE", path)).status == 409
    assert (await owner.call("PATCH", path, {"role": "viewer"})).status == 409
    account = f"/api/v2/users/{owner.user_id}"
    assert (await owner.call("DELETE", account, {"password": PASSWORD})).status == 409
    assert await roles(owner) == {"owner": "owner", "other": "administrator"}


@pytest.mark.parametrize("verb", ["DELETE", "PATCH"])
async def test_two_last_owners(owner: Client, other: Client, verb: str) -> None:
    """Of two owners who go at once, or put each other out, one stays."""
    await give(owner, other, "owner")
    body = {"role": "viewer"} if verb == "PATCH" else None
    steps = [owner.call(verb, f"{ACCESSES}/{owner.user_id}", body)]
    steps += [other.call(verb, f"{ACCESSES}/{other.user_id}", body)]
    replies = await asyncio.gather(*steps)
    assert sorted(reply.status for reply in replies) == [204, 409]
    left = owner if replies[0].status == 409 else other
    assert list((await roles(left)).values()).count("owner") == 1


async def test_account_and_access_at_once(owner: Client, other: Client) -> None:
    """Of two owners of whom one deletes the account and the other gives up the role, one stays."""
    await give(owner, other, "owner")
    replies = await asyncio.gather(
        owner.call("DELETE", f"/api/v2/users/{owner.user_id}", {"password": PASSWORD}),
        other.call("DELETE", f"{ACCESSES}/{other.user_id}"),
    )
    assert sorted(reply.status for reply in replies) == [204, 409]
    left = owner if replies[0].status == 409 else other
    assert "owner" in (await roles(left)).values()


@pytest.mark.parametrize("role", ["viewer", "administrator", "owner"])
async def test_give_up(owner: Client, other: Client, role: str) -> None:
    """Anybody may give up his own role, and nobody raise it."""
    await give(owner, other, role)
    path = f"{ACCESSES}/{other.user_id}"
    if role != "owner":
        assert (await other.call("PATCH", path, {"role": "owner"})).status == 403
    assert (await other.call("DELETE", path)).status == 204
    assert await roles(owner) == {"owner": "owner"}


async def test_full(owner: Client, other: Client, mongo: Any) -> None:
    """A domain has a thousand managers at most; then nobody can be given a role, or invited."""
    managers = [{"user_id": str(uuid4()), "role": "viewer"} for _ in range(999)]
    await mongo.collection("domains").update_one({}, {"$push": {"managers": {"$each": managers}}})
    assert (await owner.post(ACCESSES, {"user_id": other.user_id, "role": "viewer"})).status == 409
    invitation = {"email": "friend@elsewhere.example", "role": "viewer"}
    assert (await owner.post(f"{DOMAIN}/invitations", invitation)).status == 409
    assert (await owner.get(ACCESSES)).json["total"] == 1000
