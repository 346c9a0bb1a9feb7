"""One's own user over REST: read, change, delete; tokens: refresh, revoke."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from api.demo.provider import Provider
from api.stores import OF_USERS
from gateway.erase import AGAIN_AFTER, Erase
from gateway.ports import system_clock
from storage.erasures import MongoErasures
from storage.mongo import Mongo
from tests.client import PASSWORD, Client
from tests.conftest import FRIEND

NEW_PASSWORD = "a better password"
AUTHENTICATIONS = "/api/v1/authentications"


def path(user: Client) -> str:
    """Return where the user is."""
    return f"/api/v2/users/{user.user_id}"


async def test_get(user: Client, api: Client) -> None:
    """A user sees itself, under two paths, and no other."""
    shown = await user.get(path(user))
    assert shown.json == (await user.get("/api/v1/me")).json
    other = await api.register("another")
    assert (await user.get(path(other))).status == 404
    assert (await user.call("PATCH", path(other), {})).status == 404
    assert (await user.call("DELETE", path(other), {"password": PASSWORD})).status == 404


@pytest.mark.parametrize(
    ("username", "available"),
    [("someone", False), ("SomeOne", False), ("nobody", True), ("no", False), ("a..b", False), ("é", False)],
)
async def test_is_available(api: Client, username: str, available: bool) -> None:
    """Whether a name can be registered is told without credentials."""
    await api.register("someone")
    reply = await api.get("/api/v2/username/isAvailable", params={"username": username})
    assert reply.json == {"username": username, "available": available}


async def test_is_available_without_a_name(api: Client) -> None:
    """Without a name, or with an unknown parameter, the question is 422."""
    assert (await api.get("/api/v2/username/isAvailable")).json["errors"].keys() == {"username"}
    assert (await api.get("/api/v2/username/isAvailable?username=a&b=c")).json["errors"].keys() == {"b"}


# -- tokens ------------------------------------------------------------------------------------------------------


async def signed_in(api: Client, username: str) -> dict[str, Any]:
    """Return the answer to a sign-in."""
    reply = await api.post(AUTHENTICATIONS, {"username": username, "password": PASSWORD})
    answer: dict[str, Any] = reply.json
    return answer


def bearer(tokens: dict[str, Any]) -> dict[str, Any]:
    """Return what signs a request with these tokens."""
    return {"headers": {"Authorization": f"Bearer {tokens['access_token']}"}}


async def test_refresh(api: Client) -> None:
    """A refresh token gives a new pair, once; the old pair is void."""
    await api.register("someone")
    first = await signed_in(api, "someone")
    assert (await api.get("/api/v1/me", **bearer(first["tokens"]))).status == 200
    body = {"refresh_token": first["tokens"]["refresh_token"]}
    reply = await api.post(f"{AUTHENTICATIONS}/refresh", body)
    assert reply.headers["Cache-Control"] == "no-store"
    second = reply.json
    assert (second["username"], second["user_id"]) == ("someone", first["user_id"])
    assert (await api.get("/api/v1/me", **bearer(first["tokens"]))).status == 401
    assert (await api.get("/api/v1/me", **bearer(second["tokens"]))).status == 200
    assert (await api.post(f"{AUTHENTICATIONS}/refresh", body)).status == 401


@pytest.mark.parametrize("token", ["", "x", "\ud83d\udc34"])
async def test_wrong_refresh_token(api: Client, token: str) -> None:
    """A refresh token that is none is 401."""
    assert (await api.post(f"{AUTHENTICATIONS}/refresh", {"refresh_token": token})).status == 401


async def test_access_and_refresh_are_apart(api: Client) -> None:
    """An access token does not refresh, and a refresh token does not sign requests."""
    await api.register("someone")
    tokens = (await signed_in(api, "someone"))["tokens"]
    reply = await api.post(f"{AUTHENTICATIONS}/refresh", {"refresh_token": tokens["access_token"]})
    assert reply.status == 401
    assert (await api.get("/api/v1/me", **bearer({"access_token": tokens["refresh_token"]}))).status == 401


async def test_sign_out(api: Client) -> None:
    """Signing out voids the presented token with its refresh token, and no other."""
    user = await api.register("someone")
    tokens = (await signed_in(api, "someone"))["tokens"]
    assert (await api.get("/api/v1/me", **bearer(tokens))).status == 200
    reply = await api.request("DELETE", AUTHENTICATIONS, **bearer(tokens))
    assert (reply.status, reply.content) == (204, b"")
    assert (await api.get("/api/v1/me", **bearer(tokens))).status == 401
    body = {"refresh_token": tokens["refresh_token"]}
    assert (await api.post(f"{AUTHENTICATIONS}/refresh", body)).status == 401
    assert (await user.get("/api/v1/me")).status == 200


async def test_guessing(api: Client) -> None:
    """Wrong passwords are refused after ten with 429, from then on the right one too, and alike for no user."""
    await api.register("someone")
    home = {"X-Forwarded-For": "203.0.113.5"}
    for username in ("someone", "nobody"):
        wrong = {"username": username, "password": "wrong word"}
        replies = [await api.post(AUTHENTICATIONS, wrong, headers=home) for _ in range(11)]
        assert [reply.status for reply in replies] == [401] * 10 + [429]
        assert 0 < int(replies[-1].headers["Retry-After"]) <= 30
    right = {"username": "someone", "password": PASSWORD}
    assert (await api.post(AUTHENTICATIONS, right, headers={"X-Forwarded-For": "203.0.113.6"})).status == 429
    assert (await api.post(AUTHENTICATIONS, right)).status == 200  # from where it has signed in before


# -- changes -----------------------------------------------------------------------------------------------------


async def test_change(user: Client) -> None:
    """A merge patch changes what it names; null goes back to the default."""
    before = (await user.get(path(user))).json
    patch = {"display_name": "Some One", "recovery_email": "me@BÜCHER.example", "user_id": "ignored"}
    reply = await user.call("PATCH", path(user), patch)
    assert (reply.status, reply.content) == (204, b"")
    after = (await user.get(path(user))).json
    assert after == before | {"display_name": "Some One", "recovery_email": "me@bücher.example"}
    assert (await user.call("PATCH", path(user), {"display_name": None, "recovery_email": None})).status == 204
    assert (await user.get(path(user))).json == before
    assert (await user.call("PATCH", path(user), {})).status == 204


async def test_user_name_stays(user: Client) -> None:
    """A user name cannot be changed; sending it as it is is fine."""
    username = (await user.get(path(user))).json["username"]
    assert (await user.call("PATCH", path(user), {"username": username, "display_name": "S"})).status == 204
    assert (await user.call("PATCH", path(user), {"username": "another"})).status == 403


@pytest.mark.parametrize(
    ("patch", "fault"),
    [
        ({"display_name": "a\nb"}, "display_name"),
        ({"recovery_email": "nobody"}, "recovery_email"),
        ({"password": "short", "current_state": {"password": PASSWORD}}, "password"),
        ({"password": None, "current_state": {"password": PASSWORD}}, "password"),
        ({"password": NEW_PASSWORD}, "current_state.password"),
        ({"password": NEW_PASSWORD, "current_state": {}}, "current_state.password"),
        ({"password": NEW_PASSWORD, "current_state": {"password": None}}, "current_state.password"),
        ({"is_admin": True}, "is_admin"),
        ({"current_state": {"is_admin": True}}, "current_state.is_admin"),
        ({"username": None}, "username"),
    ],
)
async def test_refused_change(user: Client, patch: dict[str, Any], fault: str) -> None:
    """A patch that breaks a rule is 422 and names the property."""
    reply = await user.call("PATCH", path(user), patch)
    assert (reply.status, list(reply.json["errors"])) == (422, [fault])


async def test_current_state(user: Client) -> None:
    """A patch of what has changed in the meantime is 409 and changes nothing."""
    first = {"display_name": "One", "current_state": {"recovery_email": None}}
    assert (await user.call("PATCH", path(user), first)).status == 409
    first["current_state"] = {"display_name": (await user.get(path(user))).json["display_name"]}
    assert (await user.call("PATCH", path(user), first)).status == 204
    assert (await user.call("PATCH", path(user), first)).status == 409
    assert (await user.get(path(user))).json["display_name"] == "One"


async def test_if_match(user: Client) -> None:
    """A patch or deletion that is meant for another version is 412."""
    tag = (await user.get(path(user))).headers["ETag"]
    headers = {"If-Match": f'"other", {tag}'}
    assert (await user.call("PATCH", path(user), {"display_name": "One"}, headers=headers)).status == 204
    assert (await user.call("PATCH", path(user), {"display_name": "Two"}, headers=headers)).status == 412
    body = {"password": PASSWORD}
    assert (await user.call("DELETE", path(user), body, headers=headers)).status == 412
    for never in ("W/" + tag, '"x"', tag.strip('"'), "W/x", ""):
        headers = {"If-Match": never}
        assert (await user.call("PATCH", path(user), {"display_name": "Two"}, headers=headers)).status == 412
    assert (await user.call("PATCH", path(user), {"display_name": "Two"}, headers={"If-Match": "*"})).status == 204
    tag = (await user.get("/api/v1/me")).headers["ETag"]
    assert (await user.call("DELETE", path(user), body, headers={"If-Match": tag})).status == 204


async def test_password(api: Client) -> None:
    """A new password takes the old one, and voids all tokens but those with which it was set."""
    user = await api.register("someone")
    other = await api.sign_in("someone")
    assert (await other.get("/api/v1/me")).status == 200
    patch = {"password": NEW_PASSWORD, "current_state": {"password": "wrong word"}}
    assert (await user.call("PATCH", path(user), patch)).status == 409
    assert (await other.get("/api/v1/me")).status == 200
    patch["current_state"] = {"password": PASSWORD}
    assert (await user.call("PATCH", path(user), patch)).status == 204
    assert (await user.get("/api/v1/me")).status == 200
    assert (await other.get("/api/v1/me")).status == 401
    await api.sign_in("someone", NEW_PASSWORD)
    old = {"username": "someone", "password": PASSWORD}
    assert (await api.post(AUTHENTICATIONS, old)).status == 401


async def test_guessing_with_a_token(user: Client) -> None:
    """Who has a token only cannot guess the password with it either."""
    patch = {"password": NEW_PASSWORD, "current_state": {"password": "wrong word"}}
    statuses = [(await user.call("PATCH", path(user), patch)).status for _ in range(6)]
    wrong = {"password": "wrong word"}
    statuses += [(await user.call("DELETE", path(user), wrong)).status for _ in range(5)]
    assert statuses == [409] * 6 + [403] * 4 + [429]


# -- deletion ----------------------------------------------------------------------------------------------------


async def test_delete(api: Client) -> None:
    """A deleted user cannot do anything any more, and nobody gets the name."""
    user = await api.register("someone")
    other = await api.sign_in("someone")
    assert (await user.call("DELETE", path(user), {"password": "wrong word"})).status == 403
    assert (await user.call("DELETE", path(user), {})).json["errors"].keys() == {"password"}
    reply = await user.call("DELETE", path(user), {"password": PASSWORD})
    assert (reply.status, reply.content) == (204, b"")
    for client in (user, other):
        assert (await client.get("/api/v1/me")).status == 401
    credentials = {"username": "someone", "password": PASSWORD}
    assert (await api.post(AUTHENTICATIONS, credentials)).status == 401
    assert (await api.post("/api/v1/users", credentials)).status == 409
    available = await api.get("/api/v2/username/isAvailable", params={"username": "someone"})
    assert available.json["available"] is False


async def test_nothing_personal_is_left(api: Client, provider: Provider, mongo: Mongo) -> None:
    """After a deletion no collection has anything of the user."""
    secret = {"inusername": "mailbox-name-of-mine", "inpassword": "mailbox-word-of-mine"}
    profile = {"username": "wanderer", "password": PASSWORD, "display_name": "W. Anderer"}
    await api.post("/api/v1/users", profile | {"recovery_email": "old@elsewhere.example"})
    user = await api.sign_in("wanderer")
    identity_id = await user.add_remote(provider, display_name="W. at elsewhere")
    await user.add_remote(provider, identifier="second@elsewhere.example", credentials=secret)
    sent = await user.draft(identity_id, FRIEND.address, subject="A subject of mine")
    assert (await user.send(sent)).status == 200
    message_id = await user.draft(identity_id, FRIEND.address, body="A draft of mine")
    await user.call("DELETE", f"/api/v2/identities/remotes/{identity_id}")
    await api.post(AUTHENTICATIONS, {"username": "wanderer", "password": "wrong word"})
    traces = [user.user_id, identity_id, message_id, "wanderer", "anderer", "elsewhere", "of mine", FRIEND.address]
    stored = await everything(mongo)
    assert all(trace in stored for trace in traces)
    assert (await user.call("DELETE", path(user), {"password": PASSWORD})).status == 204
    left = await everything(mongo)
    assert [trace for trace in traces if trace in left] == [user.user_id]  # the erasure that comes once more
    await erase_what_is_due(mongo)
    assert user.user_id not in await everything(mongo)


async def test_last_owner(api: Client, mongo: Mongo) -> None:
    """Who is the only owner of a domain stays, with all that is theirs; who is not goes, and the domain stays."""
    user, other = await api.register("someone"), await api.register("another")
    await user.post("/api/v2/domains", {"name": "town.ok.test"})
    stale = {"headers": {"If-Match": '"stale"'}}
    reply = await user.call("DELETE", path(user), {"password": PASSWORD}, **stale)
    assert (reply.status, "town.ok.test" in reply.json["detail"]) == (409, True)
    assert (await user.call("DELETE", path(user), {"password": "wrong word"})).status == 403
    assert (await user.get("/api/v2/domains")).json["total"] == 1
    assert await mongo.collection("erasures").count_documents({}) == 0
    owner = {"managers": {"user_id": other.user_id, "role": "owner"}}
    await mongo.collection("domains").update_one({}, {"$push": owner})
    mailbox = {"_id": "m", "domain": "town.ok.test", "local_part": "me", "user_id": user.user_id, "version": 0}
    await mongo.collection("mailboxes").insert_one(mailbox)
    assert (await user.call("DELETE", path(user), {"password": PASSWORD}, **stale)).status == 412
    assert (await user.call("DELETE", path(user), {"password": PASSWORD})).status == 204
    assert (await other.get("/api/v2/domains/town.ok.test")).json["role"] == "owner"
    for name in ("domains", "mailboxes"):
        (left,) = await mongo.collection(name).find().to_list(None)
        assert user.user_id not in repr(left)


async def test_what_was_under_way_is_erased(api: Client, mongo: Mongo) -> None:
    """What a request that was under way wrote after the deletion goes five minutes later."""
    user = await api.register("wanderer")
    await user.call("DELETE", path(user), {"password": PASSWORD})
    await mongo.collection("messages").insert_one({"user_id": user.user_id, "subject": "late"})
    await erase_what_is_due(mongo)
    assert await mongo.collection("messages").count_documents({}) == 0


async def everything(mongo: Mongo) -> str:
    """Return all that the database has, as text in lower case."""
    names = await mongo.database.list_collection_names()
    documents = [await mongo.collection(name).find().to_list(None) for name in names]
    return repr(documents).lower()


async def erase_what_is_due(mongo: Mongo) -> None:
    """Do what the worker does when the time has come."""
    erasures = MongoErasures(mongo, OF_USERS)
    for erasure in await erasures.claim("test", system_clock() + AGAIN_AFTER, timedelta(seconds=60), 5):
        await Erase(erasures).run("test", erasure)


# -- what else is throttled --------------------------------------------------------------------------------------


async def test_registrations(api: Client) -> None:
    """Registrations from one source are slowed down, and others' are not."""
    taken = {"username": "someone", "password": PASSWORD}
    flood = {"X-Forwarded-For": "203.0.113.5"}
    statuses = [(await api.post("/api/v1/users", taken, headers=flood)).status for _ in range(120)]
    assert statuses[:2] == [201, 409]
    assert statuses[-1] == 429
    assert (await api.post("/api/v1/users", taken, headers={"X-Forwarded-For": "203.0.113.6"})).status == 409


async def test_discoveries(user: Client) -> None:
    """A user cannot keep the gateway busy with discoveries."""
    literal = {"identifier": "me@[192.0.2.1]"}
    statuses = [(await user.post("/api/v2/identities/discover", literal)).status for _ in range(25)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
