"""Accounts: registration and sign-in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.client import PASSWORD, Client


async def test_register(api: Client) -> None:
    """A new user gets its location and its first local identity, active, at the local domain."""
    reply = await api.post(
        "/api/v1/users", {"username": "Some.One", "password": PASSWORD, "display_name": "S. One"}
    )
    assert reply.status == 201
    assert reply.headers["Location"] == reply.json["location"] == f"/api/v2/users/{reply.json['user_id']}"
    user = await api.sign_in("Some.One")
    identity = await user.local_identity()
    assert identity | {"identity_id": ""} == {
        "identity_id": "",
        "user_id": reply.json["user_id"],
        "type": "local",
        "protocol": "smtp",
        "identifier": "some.one@home.example",
        "display_name": "S. One",
        "status": "active",
        "infos": {},
        "last_check": None,
    }
    me = (await user.get("/api/v1/me")).json
    assert me.keys() == {"user_id", "username", "display_name", "recovery_email", "date_insert"}
    assert (me["username"], me["recovery_email"]) == ("Some.One", None)


async def test_taken_name(api: Client) -> None:
    """A taken name, in whatever case, is 409, and the second user has left nothing behind."""
    await api.register("someone")
    reply = await api.post("/api/v1/users", {"username": "SomeOne", "password": PASSWORD})
    assert reply.status == 409
    assert (await (await api.sign_in("SOMEONE")).get("/api/v2/identities/locals")).json["total"] == 1


async def test_two_at_once(api: Client) -> None:
    """Of two who register one name at once, one gets it."""
    body = {"username": "someone", "password": PASSWORD}
    replies = await asyncio.gather(*(api.post("/api/v1/users", body) for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409, 409, 409]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "ab"),
        ("username", "a" * 43),
        ("username", ".abc"),
        ("username", "a..b"),
        ("username", "a b"),
        ("username", "ünsal"),
        ("username", 7),
        ("password", "short"),
        ("password", "x" * 1025),
        ("password", "Someone1"),
        ("recovery_email", "nobody"),
        ("display_name", "a\r\nBcc: x@example.org"),
        ("is_admin", True),
    ],
)
async def test_refused_registration(api: Client, field: str, value: object) -> None:
    """A registration that breaks a rule is 422 and names the property."""
    body = {"username": "someone1", "password": PASSWORD} | {field: value}
    reply = await api.post("/api/v1/users", body)
    assert (reply.status, list(reply.json["errors"])) == (422, [field])
    body = {"username": "someone1", "password": PASSWORD}
    assert (await api.post("/api/v1/users", body)).status == 201


async def test_tokens(api: Client) -> None:
    """A sign-in gives a pair of tokens and says how long the access token lives."""
    await api.register("someone")
    before = datetime.now(UTC)
    reply = await api.post("/api/v1/authentications", {"username": "SOMEONE", "password": PASSWORD})
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.json["username"] == "someone"
    tokens = reply.json["tokens"]
    assert tokens.keys() == {"access_token", "refresh_token", "expires_in", "expires_at"}
    life = timedelta(seconds=tokens["expires_in"])
    assert timedelta(0) <= datetime.fromisoformat(tokens["expires_at"]) - before - life < timedelta(minutes=1)


async def test_wrong_sign_in(api: Client) -> None:
    """A wrong name and a wrong password are told in the same words."""
    await api.register("someone")
    wrong_password = await api.post("/api/v1/authentications", {"username": "someone", "password": "wrong word"})
    wrong_name = await api.post("/api/v1/authentications", {"username": "nobody", "password": PASSWORD})
    assert wrong_password.status == wrong_name.status == 401
    assert wrong_password.json == wrong_name.json
    assert "WWW-Authenticate" in wrong_name.headers
