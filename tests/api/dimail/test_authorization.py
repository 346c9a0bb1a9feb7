"""Who may do what under ``/dimail``: every route, asked by everybody, with credentials of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from jwt.warnings import InsecureKeyLengthWarning

from api.dimail.tokens import JwtTokens
from gateway.api_client import ApiClient
from storage.dimail import MongoApiClients
from storage.mongo import Mongo
from storage.secrets import Vault
from tests.dimail import NAMES, PASSWORD, PERMS, DimailClient, new_domain

DOMAIN = "a.ok.test"
AT = f"/domains/{DOMAIN}"
ADA = f"{AT}/mailboxes/ada"
BASIC, BEARER, EITHER = "basic", "bearer", "either"
ANYBODY, ADMIN, ALLOWED = "anybody", "admin", "allowed"


@dataclass(frozen=True)
class Route:
    """A route, how one signs in to it, who may ask for it, and what a good request is and gets."""

    verb: str
    path: str
    sign_in: str
    who: str
    status: int
    body: Any = None

    @property
    def is_domain_itself(self) -> bool:
        """True of the one route that tells everybody whether there is a domain."""
        return (self.verb, self.path) == ("GET", AT)


ROUTES = [
    Route("GET", "/token/", BASIC, ANYBODY, 200),
    Route("POST", "/users/", BASIC, "create_users", 201, {"name": "made", "password": PASSWORD, "is_admin": False}),
    Route("GET", "/users/", BASIC, "manage_users", 200),
    Route("GET", "/users/made", BASIC, "manage_users", 200),
    Route("PATCH", "/users/made", BASIC, "manage_users", 200, {"perms": []}),
    Route("POST", "/allows/", BASIC, "manage_users", 201, {"user": "made", "domain": DOMAIN}),
    Route("GET", "/allows/", BASIC, "manage_users", 200),
    Route("DELETE", f"/allows/{DOMAIN}/made", BASIC, "manage_users", 204),
    Route("DELETE", "/users/made", BASIC, "manage_users", 204),
    Route("POST", "/domains/", BASIC, "new_domain", 201, new_domain("b.ok.test")),
    Route("GET", "/domains/", BASIC, ADMIN, 200),
    Route("GET", AT, BEARER, ALLOWED, 200),
    Route("GET", f"{AT}/check", BASIC, ALLOWED, 200),
    Route("GET", f"{AT}/fix/", BASIC, ALLOWED, 200),
    Route("GET", f"{AT}/spec/", BASIC, ALLOWED, 200),
    Route("POST", ADA, BEARER, ALLOWED, 201, NAMES),
    Route("GET", ADA, BEARER, ALLOWED, 200),
    Route("PATCH", ADA, BEARER, ALLOWED, 200, {"active": "yes"}),
    Route("POST", f"{ADA}/reset_password/", EITHER, ALLOWED, 200),
    Route("POST", f"{ADA}/code", BEARER, ALLOWED, 200, {}),
    Route("GET", f"{AT}/mailboxes/", BEARER, ALLOWED, 200),
    Route("GET", f"/v2{AT}/mailboxes/", BEARER, ALLOWED, 200),
    Route("GET", f"{AT}/address/ada/", BEARER, ALLOWED, 200),
    Route("DELETE", ADA, BEARER, ALLOWED, 204),
    Route("POST", f"{AT}/aliases/", BEARER, ALLOWED, 201, {"user_name": "a", "destination": "b@example.org"}),
    Route("GET", f"{AT}/aliases/", BEARER, ALLOWED, 200),
    Route("DELETE", f"{AT}/aliases/a/b@example.org", BEARER, ALLOWED, 204),
]
OF_DOMAIN = [route for route in ROUTES if DOMAIN in route.path and route.who == ALLOWED]


@pytest.fixture
async def host(admin: DimailClient) -> DimailClient:
    """The administrator, who has a domain that others may be allowed on."""
    assert (await admin.host(DOMAIN)).status == 201
    return admin


async def ask(client: DimailClient, route: Route) -> int:
    """Ask a route as it wants to be asked; return the status."""
    how = client.call if route.sign_in == BASIC else client.by_token
    return (await how(route.verb, route.path, route.body)).status


async def statuses(client: DimailClient, routes: list[Route], authorization: str) -> dict[str, int]:
    """Ask routes with this header; return the statuses."""
    return {
        f"{route.verb} {route.path}": (
            await client.request(route.verb, route.path, authorization or None, json=route.body)
        ).status
        for route in routes
    }


def test_every_route_is_in_the_table(admin: DimailClient) -> None:
    """The table has as many routes as the application has, each of which is there with and without a slash."""
    app = admin.rest.http.app
    assert app is not None
    paths = [
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource and route.resource.canonical.startswith("/dimail/")
    ]
    assert len(paths) == len(set(paths)) == 2 * len(ROUTES)


# -- credentials ---------------------------------------------------------------------------------------------------


async def test_without_a_basic_header(host: DimailClient) -> None:
    """Where name and password are wanted and there are none that can be read it is 401 with a challenge."""
    for header in ["", "Basic", "Basic !!", "Basic bm9jb2xvbg==", "Basic /w==", "Digest a"]:
        routes = [route for route in ROUTES if route.sign_in == BASIC]
        assert set((await statuses(host, routes, header)).values()) == {401}


async def test_a_token_is_no_password(host: DimailClient) -> None:
    """A token serves for no route that wants name and password."""
    routes = [route for route in ROUTES if route.sign_in == BASIC]
    assert set((await statuses(host, routes, f"Bearer {host.token}")).values()) == {401}


@pytest.mark.parametrize("name", ["admin", "nobody", ""])
async def test_wrong_passwords(host: DimailClient, name: str) -> None:
    """A wrong password is 403, whether or not there is somebody of that name."""
    routes = [route for route in ROUTES if route.sign_in != BEARER][:9]  # more are too many, see the throttle
    wrong = aiohttp.encode_basic_auth(name, "wrong")
    assert set((await statuses(host, routes, wrong)).values()) == {403}


async def test_a_password_is_no_token(host: DimailClient) -> None:
    """Name and password serve for no route that wants a token, but for the one where People sends them."""
    routes = [route for route in ROUTES if route.sign_in == BEARER]
    assert set((await statuses(host, routes, host.basic)).values()) == {403}
    await host.mailbox(DOMAIN, "ada")
    assert (await host.call("POST", f"{ADA}/reset_password/")).status == 200


async def test_without_a_good_token(host: DimailClient) -> None:
    """Where a token is wanted, one that is missing or none is 403."""
    for header in ["", "Bearer", "Bearer x", "Bearer a.b.c", "Bearer \xe4", "Digest a"]:
        routes = [route for route in ROUTES if route.sign_in != BASIC]
        assert set((await statuses(host, routes, header)).values()) == {403}


async def test_tokens_that_are_no_good(host: DimailClient, mongo: Mongo, tmp_path: Path) -> None:
    """Expired, signed by others or not at all, of somebody who is not there: 403."""
    vault = Vault(mongo, tmp_path / "credentials.key")
    await vault.open()
    clients = MongoApiClients(mongo, vault)
    admin = await clients.find("admin")
    assert admin
    key, now = await clients.signing_key(), datetime.now(UTC)
    tokens = JwtTokens(clients.signing_key)
    good = {"sub": "admin", "exp": now + timedelta(hours=1), "account": admin.stamp}
    with pytest.warns(InsecureKeyLengthWarning):
        of_another_kind = jwt.encode(good, key, "HS512")
    assert (await host.request("GET", AT, f"Bearer {jwt.encode(good, key)}")).status == 200
    for token in (
        await tokens.sign(admin, now - timedelta(seconds=1)),
        await tokens.sign(replace(admin, name="nobody"), now + timedelta(hours=1)),
        jwt.encode(good, "x" * 32),
        of_another_kind,
        jwt.encode(good, "", "none"),
        jwt.encode({name: good[name] for name in ("sub", "account")}, key),
        jwt.encode({name: good[name] for name in ("exp", "account")}, key),
        jwt.encode({name: good[name] for name in ("sub", "exp")}, key),
    ):
        routes = [route for route in ROUTES if route.sign_in != BASIC]
        assert set((await statuses(host, routes, f"Bearer {token}")).values()) == {403}


async def test_tokens_of_a_former_password(host: DimailClient) -> None:
    """A new password voids the tokens that were given for the old one, no other change does."""
    somebody = await host.register("somebody")
    await host.call("POST", "/allows/", {"user": "somebody", "domain": DOMAIN})
    for change, status in (({"perms": ["new_domain"]}, 200), ({"password": "a new one"}, 403)):
        assert (await host.call("PATCH", "/users/somebody", change)).status == 200
        assert (await somebody.by_token("GET", AT)).status == status
    again = await somebody.named("somebody", "a new one")
    assert (await again.by_token("GET", AT)).status == 200
    await host.call("PATCH", "/users/somebody", {"password": "no"})
    assert (await again.by_token("GET", AT)).status == 403


async def test_tokens_of_a_deleted_account(host: DimailClient) -> None:
    """Who is deleted has no token any more."""
    gone = await host.register("gone", is_admin=True)
    assert (await host.call("DELETE", "/users/gone")).status == 204
    for sign_in, header in ((BASIC, gone.basic), (BEARER, f"Bearer {gone.token}"), (EITHER, gone.basic)):
        routes = [route for route in ROUTES if route.sign_in == sign_in][:9]
        assert set((await statuses(host, routes, header)).values()) == {403}


# -- accounts ------------------------------------------------------------------------------------------------------


async def expect(client: DimailClient, may: Callable[[Route], bool]) -> None:
    """See that an account may ask for these routes and no others, whatever these then answer."""
    for route in ROUTES:
        status = await ask(client, route)
        if may(route):
            assert status not in (401, 403), route
        else:
            assert status == (401 if route.is_domain_itself else 403), route


async def test_an_administrator(host: DimailClient) -> None:
    """An administrator may everything, without any perm or allow."""
    for route in ROUTES:
        assert await ask(host, route) == route.status, route


async def test_people(host: DimailClient) -> None:
    """An account with all perms may everything on a domain of its own, but list all domains."""
    people = await host.register("la_regie", perms=PERMS)
    await host.call("POST", "/allows/", {"user": "la_regie", "domain": DOMAIN})
    for route in ROUTES:
        assert await ask(people, route) == (403 if route.who == ADMIN else route.status), route


async def test_somebody(host: DimailClient) -> None:
    """An account without perms and allows gets a token, and that is all."""
    await expect(await host.register("somebody"), lambda route: route.who == ANYBODY)


@pytest.mark.parametrize("perm", PERMS)
async def test_one_perm(host: DimailClient, perm: str) -> None:
    """A perm is for its routes and no others; it allows on no domain."""
    await host.call("POST", "/users/", ROUTES[1].body)
    await expect(await host.register("somebody", perms=[perm]), lambda route: route.who in (ANYBODY, perm))


async def test_an_allow(host: DimailClient) -> None:
    """An allow is for its domain; on others there is none, and nothing is told of them."""
    somebody = await host.register("somebody")
    await host.call("POST", "/allows/", {"user": "somebody", "domain": DOMAIN})
    await expect(somebody, lambda route: route.who in (ANYBODY, ALLOWED))
    await host.host("other.ok.test")
    for name, status in (("other.ok.test", 401), ("none.ok.test", 404)):
        for route in OF_DOMAIN:
            there = replace(route, path=route.path.replace(DOMAIN, name))
            assert await ask(somebody, there) == (status if route.is_domain_itself else 403)


async def test_an_administrator_and_a_domain_that_is_not_there(host: DimailClient) -> None:
    """An administrator is told that there is no such domain."""
    for route in OF_DOMAIN:
        assert await ask(host, replace(route, path=route.path.replace(DOMAIN, "none.ok.test"))) == 404


async def test_an_account_is_not_another_one(host: DimailClient) -> None:
    """Names are told apart by case."""
    assert (await DimailClient(host.rest, "Admin").call("GET", "/token/")).status == 403
    client = ApiClient("a", "b", is_admin=False, perms=(), password_hash="a hash")
    assert "a hash" not in repr(client)
