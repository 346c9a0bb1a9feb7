"""Accounts of API clients: the first one, what each may, and that nobody gains power by managing others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client import Client
from tests.dimail import PASSWORD, PERMS, DimailClient

STRANGER = {"name": "stranger", "password": PASSWORD, "is_admin": True}


def new_user(name: str, **changes: Any) -> dict[str, Any]:
    """Return the body that makes an account."""
    return {"name": name, "password": PASSWORD, "is_admin": False, **changes}


async def test_the_first_account(nobody: DimailClient) -> None:
    """While there is no account whoever is on the gateway's machine makes one; then nobody does without one."""
    assert (await nobody.call("GET", "/users/")).status == 403
    first = await nobody.request("POST", "/users/", "Basic Tm9uZTpOb25l", json=new_user("admin", is_admin=True))
    assert first.status == 201
    assert first.json == {"name": "admin", "is_admin": True, "uuid": first.json["uuid"], "perms": []}
    assert (await nobody.request("POST", "/users/", json=STRANGER)).status == 401
    assert (await nobody.request("POST", "/users/", "Basic Tm9uZTpOb25l", json=STRANGER)).status == 403
    assert (await nobody.named("admin")).token


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_not_from_elsewhere(nobody: DimailClient, header: str) -> None:
    """Who comes through a proxy makes no first account, and so does not get hold of all domains."""
    for value in ("203.0.113.5", "127.0.0.1", ""):
        reply = await nobody.request("POST", "/users/", json=STRANGER, headers={header: value})
        assert (reply.status, reply.json) == (401, {"detail": "Not authenticated"})
    assert (await nobody.request("POST", "/users/", json=STRANGER)).status == 201


async def test_two_at_once_are_not_both_first(nobody: DimailClient) -> None:
    """Of many who come first at once, one has an account afterwards."""
    bodies = [new_user(f"admin-{number}", is_admin=True) for number in range(10)]
    replies = await asyncio.gather(*(nobody.request("POST", "/users/", json=body) for body in bodies))
    assert sorted(reply.status for reply in replies) == [201] + [401] * 9
    winner = next(reply.json["name"] for reply in replies if reply.status == 201)
    listed = await (await nobody.named(winner)).call("GET", "/users/")
    assert [user["name"] for user in listed.json] == [winner]


async def test_users(admin: DimailClient) -> None:
    """Accounts are made, shown, listed, changed and deleted; a name is taken once."""
    made = await admin.call("POST", "/users/", new_user("somebody", perms=["new_domain"]))
    shown = {"name": "somebody", "is_admin": False, "uuid": made.json["uuid"], "perms": ["new_domain"]}
    assert (made.status, made.json) == (201, shown)
    again = await admin.call("POST", "/users/", new_user("somebody"))
    assert (again.status, again.json) == (409, {"detail": "User already exists"})
    assert (await admin.call("GET", "/users/somebody")).json == shown
    assert [user["name"] for user in (await admin.call("GET", "/users/")).json] == ["admin", "somebody"]
    changed = await admin.call("PATCH", "/users/somebody", {"perms": [], "password": "another one", "name": "x"})
    assert (changed.status, changed.json) == (200, {**shown, "perms": []})
    await admin.named("somebody", "another one")
    deleted = await admin.call("DELETE", "/users/somebody")
    assert (deleted.status, deleted.content) == (204, b"")
    for verb, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        assert (await admin.call(verb, "/users/somebody", body)).status == 404


async def test_a_patch_changes_what_it_names(admin: DimailClient) -> None:
    """What a patch does not name, or names with null, stays."""
    somebody = await admin.register("somebody", perms=["new_domain"])
    for body in ({}, {"perms": None, "password": None, "is_admin": None}):
        reply = await admin.call("PATCH", "/users/somebody", body)
        assert reply.json["perms"] == ["new_domain"]
    assert (await somebody.named("somebody")).token


async def test_what_is_no_account(admin: DimailClient) -> None:
    """What is wrong with an account is told as one string."""
    for name, value in [
        ("name", ""),
        ("name", "a:b"),
        ("name", "a\nb"),
        ("name", "x" * 129),
        ("name", None),
        ("password", ""),
        ("password", "x" * 1025),
        ("password", None),
        ("is_admin", "maybe"),
        ("is_admin", None),
        ("perms", ["fly"]),
        ("perms", "new_domain"),
    ]:
        reply = await admin.call("POST", "/users/", new_user("somebody") | {name: value})
        assert reply.status == 422
        assert name in reply.json["detail"]


async def test_missing_properties(admin: DimailClient) -> None:
    """An account takes a name, a password, and whether it is an administrator's."""
    for name in ("name", "password", "is_admin"):
        body = new_user("somebody")
        del body[name]
        assert (await admin.call("POST", "/users/", body)).status == 422


async def test_booleans_as_text(admin: DimailClient) -> None:
    """People sends booleans as text."""
    for text, value in [("true", True), ("false", False), ("True", True), ("False", False)]:
        reply = await admin.call("POST", "/users/", new_user(f"somebody-{text}", is_admin=text))
        assert (reply.status, reply.json["is_admin"]) == (201, value)


async def test_nobody_signs_in_without_a_password(admin: DimailClient) -> None:
    """The password no, which People sends for accounts of its users, opens nothing, until there is another."""
    somebody = DimailClient(admin.rest, "somebody", "no")
    assert (await admin.call("POST", "/users/", new_user("somebody", password="no"))).status == 201
    assert (await somebody.call("GET", "/token/")).status == 403
    assert (await admin.call("PATCH", "/users/somebody", {"password": "yes"})).status == 200
    assert (await somebody.named("somebody", "yes")).token


# -- nobody gains power ------------------------------------------------------------------------------------------


async def test_what_a_manager_may_give(people: DimailClient, admin: DimailClient) -> None:
    """Who is no administrator makes none, and gives no perm that is not one's own."""
    creator = await admin.register("creator", perms=["create_users"])
    assert (await creator.call("POST", "/users/", new_user("a", is_admin=True))).status == 403
    assert (await creator.call("POST", "/users/", new_user("a", perms=["new_domain"]))).status == 403
    assert (await creator.call("POST", "/users/", new_user("a", perms=["create_users"]))).status == 201
    assert (await people.call("POST", "/users/", new_user("b", perms=PERMS))).status == 201
    assert (await people.call("PATCH", "/users/a", {"is_admin": True})).status == 403
    assert (await people.call("PATCH", "/users/a", {"perms": PERMS})).status == 200


async def test_whom_a_manager_may_change(admin: DimailClient) -> None:
    """Who is no administrator neither changes nor deletes an account that may more."""
    manager = await admin.register("manager", perms=["manage_users"])
    await admin.register("stronger", perms=["new_domain"])
    await admin.register("weaker")
    for name in ("admin", "stronger"):
        assert (await manager.call("PATCH", f"/users/{name}", {"password": "mine now"})).status == 403
        assert (await manager.call("DELETE", f"/users/{name}")).status == 403
    assert (await manager.call("PATCH", "/users/weaker", {"perms": ["new_domain"]})).status == 403
    assert (await manager.call("PATCH", "/users/weaker", {"password": "mine now"})).status == 200
    assert (await manager.call("DELETE", "/users/weaker")).status == 204


async def test_the_last_administrator_stays(admin: DimailClient) -> None:
    """The last administrator is neither deleted nor made less; with a second one it can be."""
    await admin.register("somebody", perms=PERMS)
    assert (await admin.call("PATCH", "/users/admin", {"is_admin": False})).status == 409
    assert (await admin.call("DELETE", "/users/admin")).status == 409
    await admin.register("second", is_admin=True)
    assert (await admin.call("PATCH", "/users/admin", {"is_admin": "false"})).status == 200
    assert (await admin.call("GET", "/users/")).status == 403


async def test_two_administrators_who_delete_each_other(admin: DimailClient) -> None:
    """Of two who take each other away at once one stays."""
    second = await admin.register("second", is_admin=True)
    replies = await asyncio.gather(
        admin.call("DELETE", "/users/second"), second.call("PATCH", "/users/admin", {"is_admin": False})
    )
    statuses = sorted(reply.status for reply in replies)
    assert statuses[0] in (200, 204)
    assert statuses[1] in (403, 409)  # whether the other one had signed in by then
    left = [client for client in (admin, second) if (await client.call("GET", "/users/")).status == 200]
    assert len(left) == 1


async def test_a_deleted_account_has_no_token(admin: DimailClient) -> None:
    """A token is of the account that got it: void when that is deleted, also for another one of its name."""
    somebody = await admin.register("somebody", is_admin=True)
    assert (await somebody.by_token("GET", "/domains/none.example")).status == 404
    await admin.call("DELETE", "/users/somebody")
    assert (await somebody.by_token("GET", "/domains/none.example")).status == 403
    await admin.register("somebody", is_admin=True)
    assert (await somebody.by_token("GET", "/domains/none.example")).status == 403


async def test_what_a_token_may_is_what_its_account_may_now(admin: DimailClient) -> None:
    """A token is no longer an administrator's when its account is not."""
    await admin.host("a.ok.test")
    somebody = await admin.register("somebody", is_admin=True)
    assert (await somebody.by_token("GET", "/domains/a.ok.test/mailboxes/")).status == 200
    await admin.call("PATCH", "/users/somebody", {"is_admin": False})
    assert (await somebody.by_token("GET", "/domains/a.ok.test/mailboxes/")).status == 403


# -- signing in --------------------------------------------------------------------------------------------------


async def test_a_new_password_counts_at_once(admin: DimailClient) -> None:
    """The old password is wrong as soon as there is another, although it was right a moment before."""
    somebody = await admin.register("somebody")
    await admin.call("PATCH", "/users/somebody", {"password": "another one"})
    assert (await somebody.call("GET", "/token/")).status == 403
    assert (await somebody.named("somebody", "another one")).token


async def test_guessing_is_throttled(admin: DimailClient) -> None:
    """Wrong passwords are counted, 429 says when to try again; who has signed in from there goes on."""
    guesser = DimailClient(admin.rest, "admin", "wrong")
    replies = [await guesser.call("GET", "/token/") for _ in range(11)]
    assert [reply.status for reply in replies] == [403] * 10 + [429]
    assert int(replies[-1].headers["Retry-After"]) > 0
    assert (await admin.call("GET", "/token/")).status == 200


async def test_users_of_the_gateway_are_others(admin: DimailClient, user: Client) -> None:
    """Neither a user of the gateway signs in here, nor an API client there."""
    wrong = DimailClient(admin.rest, user.user_id, user.access_token)
    assert (await wrong.call("GET", "/token/")).status == 403
    assert (await wrong.request("GET", "/domains/a.test", f"Bearer {user.access_token}")).status == 403
    headers = {"Authorization": f"Bearer {admin.token}"}
    assert (await user.request("GET", "/api/v1/me", headers=headers)).status == 401
    body = {"username": "admin", "password": PASSWORD}
    assert (await admin.rest.post("/api/v1/authentications", body)).status == 401


# -- allows ------------------------------------------------------------------------------------------------------


async def test_allows(people: DimailClient, admin: DimailClient) -> None:
    """Allows are given, listed by account and by domain, and taken away; each is there once."""
    await admin.host("a.ok.test")
    await admin.host("bücher.ok.test")
    await people.register("somebody")
    given = [("somebody", "a.ok.test"), ("somebody", "xn--bcher-kva.ok.test"), ("la_regie", "a.ok.test")]
    for user, domain in given:
        reply = await people.call("POST", "/allows/", {"user": user, "domain": domain})
        assert (reply.status, reply.json) == (201, {"user": user, "domain": domain})
        assert (await people.call("POST", "/allows/", {"user": user, "domain": domain})).status == 409

    async def listed(query: str) -> list[tuple[str, str]]:
        reply = await people.call("GET", f"/allows/{query}")
        return [(allow["user"], allow["domain"]) for allow in reply.json]

    assert await listed("") == sorted(given)
    assert await listed("?user=&domain=") == sorted(given)
    assert await listed("?user=somebody") == await listed("?username=somebody") == given[:2]
    assert await listed("?domain=b%C3%BCcher.ok.test") == given[1:2]
    assert await listed("?user=la_regie&domain=a.ok.test") == given[2:]
    assert await listed("?user=nobody") == await listed("?domain=nothing") == []
    assert (await people.call("DELETE", "/allows/b%C3%BCcher.ok.test/somebody")).status == 204
    assert (await people.call("DELETE", "/allows/xn--bcher-kva.ok.test/somebody")).status == 404
    assert await listed("?user=somebody") == given[:1]


async def test_allows_of_nothing(admin: DimailClient) -> None:
    """Who or what is not there gets no allow."""
    await admin.host("a.ok.test")
    for user, domain in (("nobody", "a.ok.test"), ("admin", "b.ok.test"), ("admin", "no name")):
        assert (await admin.call("POST", "/allows/", {"user": user, "domain": domain})).status == 404
    assert (await admin.call("POST", "/allows/", {"user": "admin"})).status == 422


async def test_allows_go_with_their_account(admin: DimailClient) -> None:
    """Who gets the name of a deleted account gets none of its domains."""
    await admin.host("a.ok.test")
    await admin.register("somebody")
    await admin.call("POST", "/allows/", {"user": "somebody", "domain": "a.ok.test"})
    await admin.call("DELETE", "/users/somebody")
    assert (await admin.call("GET", "/allows/")).json == []
    somebody = await admin.register("somebody")
    assert (await somebody.by_token("GET", "/domains/a.ok.test/mailboxes/")).status == 403
