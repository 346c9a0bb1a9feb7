"""What pages of other sites can do with the API from a browser: nothing, but for the sites that are let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from api.app import bare
from api.main import assembled
from api.metrics import Metrics
from api.routing import Answer, Call, Operation
from gateway import config as configuration
from gateway.errors import ConfigurationError, Unavailable
from tests.api.test_attachments import attach, path
from tests.client import Client, Reply

SITE, OTHER = "https://app.example.org", "https://evil.example.org"
ALLOW, CREDENTIALS = "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"
WRONG = {"username": "somebody", "password": "a wrong password"}
EXPOSED = {"Allow", "Content-Disposition", "ETag", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"}
READ = {"Authorization", "Content-Type", "If-Match", "If-None-Match", "X-Request-ID"}
open_to_site = pytest.mark.configured(server={"cors_origins": [SITE, "http://localhost:5173"]})
open_to_all = pytest.mark.configured(server={"cors_origins": ["*"]})


def listed(reply: Reply, name: str) -> set[str]:
    """Return the members of a header that is a list."""
    return {each.strip() for each in reply.headers.get(name, "").split(",")} - {""}


def of_cors(reply: Reply) -> Mapping[str, str]:
    """Return the headers that a browser heeds before it lets a page see an answer."""
    return {name: value for name, value in reply.headers.items() if name.startswith("Access-Control-")}


async def preflight(client: Client, url: str, origin: str = SITE, verb: str = "PATCH") -> Reply:
    """Ask what a browser asks before it sends a request for a page."""
    headers = {"Origin": origin, "Access-Control-Request-Method": verb}
    headers["Access-Control-Request-Headers"] = "authorization,content-type,if-match"
    async with client.http.options(url, headers=headers) as response:
        return Reply(response.status, response.headers.copy(), await response.read())


async def test_closed(api: Client) -> None:
    """By default no other site's page gets an answer, and none differs by who asks."""
    for url in ("/api/v1/me", "/healthz", "/api/nothing", "/"):
        reply = await api.get(url, headers={"Origin": OTHER})
        assert not of_cors(reply)
        assert "Vary" not in reply.headers
    reply = await preflight(api, "/api/v1/me")
    assert reply.status == 405
    assert listed(reply, "Allow") == {"GET", "HEAD"}
    assert not of_cors(reply)


@open_to_site
async def test_preflight_of_every_path(api: Client) -> None:
    """Every path tells an allowed origin its verbs and the headers that the API reads, without credentials."""
    assert api.http.app
    verbs: dict[str, set[str]] = {}
    for route in api.http.app.router.routes():
        assert route.resource
        verbs.setdefault(route.resource.canonical, set()).add(route.method)
    for template, expected in verbs.items():
        reply = await preflight(api, template.replace("{", "").replace("}", ""))
        assert reply.status == 204, template
        assert not reply.content
        assert listed(reply, "Access-Control-Allow-Methods") >= expected, template
        assert listed(reply, "Access-Control-Allow-Headers") == READ
        assert reply.headers[ALLOW] == SITE
        assert int(reply.headers["Access-Control-Max-Age"]) == 600
        assert reply.headers["Vary"] == "Origin"
        assert "X-Request-ID" in reply.headers
        assert CREDENTIALS not in reply.headers


@open_to_site
async def test_nothing_else(user: Client) -> None:
    """Whatever is not exactly an origin that is named gets nothing, and caches know that answers differ.

    OPTIONS that is no preflight is a verb like others, and a preflight for nothing is 404.
    """
    for origin in (
        OTHER,
        f"{SITE}.evil.example",
        "http://app.example.org",
        f"{SITE}:8443",
        SITE.upper(),
        "null",
        "",
    ):
        for reply in (
            await preflight(user, "/api/v1/me", origin),
            await user.get("/api/v1/me", headers={"Origin": origin}),
        ):
            assert not of_cors(reply)
            assert reply.headers["Vary"] == "Origin"
    for headers in ({}, {"Origin": SITE}, {"Access-Control-Request-Method": "GET"}):
        reply = await user.call("OPTIONS", "/api/v1/me", headers=headers)
        assert reply.status == 405
        assert listed(reply, "Allow") == {"GET", "HEAD"}
    assert (await preflight(user, "/api/nothing")).status == 404


@open_to_site
async def test_answers_of_every_kind(user: Client) -> None:
    """A page of an allowed origin sees errors as well, and of all answers the headers that matter."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    one, origin = f"/api/v1/messages/{message_id}", {"Origin": SITE}
    bad = {"Authorization": "Bearer nonsense"}
    statuses = set()
    for reply in (
        await user.get(one, headers=origin),
        await user.get("/api/v1/me", headers=origin | bad),
        await user.get("/api/v2/domains/nothing.test", headers=origin),
        await user.get("/api/nothing", headers=origin),
        await user.call("PUT", one, headers=origin),
        await user.call("PATCH", one, {"subject": "x"}, headers=origin),
        await user.call("PATCH", one, {"subject": 1}, headers=origin),
        await user.call("PATCH", one, {"subject": "y"}, headers=origin | {"If-Match": '"another"'}),
        await user.get(path(message_id, await attach(user, message_id)), headers=origin),
        *[await user.call("POST", "/api/v1/authentications", WRONG, headers=origin) for _ in range(11)],
    ):
        statuses.add(reply.status)
        assert reply.headers[ALLOW] == SITE
        assert listed(reply, "Access-Control-Expose-Headers") == EXPOSED
        assert CREDENTIALS not in reply.headers
    assert statuses == {200, 204, 401, 404, 405, 412, 422, 429}


@open_to_all
async def test_open_to_all(user: Client) -> None:
    """Where all origins are let in they are told so, still without credentials."""
    reply = await user.get("/api/v1/me", headers={"Origin": OTHER})
    assert reply.headers[ALLOW] == "*"
    assert CREDENTIALS not in reply.headers
    assert "Vary" not in reply.headers
    assert (await preflight(user, "/api/v1/me", OTHER)).status == 204


async def test_database_away(settings: dict[str, Any], aiohttp_client: AiohttpClient) -> None:
    """A page learns that the database is away; else it could not tell that from a network that is down."""

    async def away(_: Call) -> Answer:
        raise Unavailable("The database does not answer.")

    config = configuration.build(settings | {"server": {"cors_origins": [SITE]}})
    operation = Operation(verb="GET", paths=["/away"], handler=away, summary="", answers={}, public=True)
    async with assembled(config) as gateway:
        http = await aiohttp_client(bare([operation], gateway.core.accounts, Metrics(), config.server))
        async with http.get("/away", headers={"Origin": SITE}) as response:
            assert response.status == 503
            assert response.headers[ALLOW] == SITE
            assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "origins",
    [
        ["*", SITE],
        ["https://app.example.org/"],
        ["https://App.example.org"],
        ["app.example.org"],
        ["https://*.example.org"],
        ["https://app.example.org:443"],
        ["http://app.example.org:80"],
        ["https://me@app.example.org"],
        ["null"],
        [""],
    ],
)
def test_what_is_no_origin(origins: list[str]) -> None:
    """What no browser sends as an origin, or lets in more than it says, stops the start."""
    with pytest.raises(ConfigurationError, match=r"server\.cors_origins"):
        configuration.build({"accounts": {"local_domain": "a.test"}, "server": {"cors_origins": origins}})


def test_what_is_an_origin() -> None:
    """Ports and addresses are taken as browsers write them."""
    origins = [
        "http://localhost:5173",
        "https://[2001:db8::1]:8443",
        "http://192.0.2.1",
        "https://app.example.org:80",
    ]
    document = {"accounts": {"local_domain": "a.test"}, "server": {"cors_origins": origins}}
    assert configuration.build(document).server.cors_origins == tuple(origins)


# -- what else pages of others could do ----------------------------------------------------------------------------


async def test_no_ambient_credentials(user: Client) -> None:
    """A form of another site acts as nobody, whatever a browser adds by itself, and sends no body that is read."""
    cookie = f"access_token={user.access_token}; user_id={user.user_id}; session={user.access_token}"
    for verb, url in (("GET", "/api/v1/me"), ("POST", "/api/v1/messages"), ("DELETE", "/api/v1/authentications")):
        form = {"Content-Type": "text/plain", "Cookie": cookie, "Origin": OTHER}
        query = f"?access_token={user.access_token}&user_id={user.user_id}"
        async with user.http.request(verb, url + query, headers=form) as response:
            assert response.status == 401
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {"Content-Type": kind}
        reply = await user.call("POST", "/api/v1/authentications", data=b'{"username": "x"}', headers=headers)
        assert reply.status == 415


async def test_files_are_not_shown(user: Client) -> None:
    """A file that a browser would run is stored by it, and not guessed at; so is a message."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    urls = [
        path(
            message_id, await attach(user, message_id, b"<html><script>alert(1)</script>", name="a.html", kind=kind)
        )
        for kind in ("text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "text/javascript")
    ]
    ordered = await user.send(message_id, send_at="2099-01-01T00:00:00.000Z")
    for url in (*urls, f"/api/v1/raws/{ordered.json['raw_msg_id']}"):
        reply = await user.get(url)
        assert reply.status == 200
        assert reply.headers["Content-Disposition"].startswith("attachment;")
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
