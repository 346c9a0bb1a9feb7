"""The common rules of the wire: errors, their order, request ids, lists, revalidation."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from api.demo.provider import Provider
from tests.client import Client, draft, remote

JSON = {"Content-Type": "application/json"}
UNKNOWN = "6f2b0a52-9f4e-4c9c-9e4e-0b3c1a5d7e11"
PROTECTED = ["/api/v1/me", "/api/v2/identities/locals", "/api/v2/messages", f"/api/v1/raws/{UNKNOWN}"]


@pytest.mark.parametrize("path", PROTECTED)
async def test_without_credentials(api: Client, path: str) -> None:
    """A request without credentials is a 401 problem that names both ways to authenticate."""
    reply = await api.get(path)
    assert reply.status == 401
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert "Basic" in reply.headers["WWW-Authenticate"]
    assert "Bearer" in reply.headers["WWW-Authenticate"]
    assert reply.json.keys() == {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!",
        "Basic bm9jb2xvbg==",
        "Basic /w==",
        "Basic é",
        "Basic \udcff",
        "Bearer",
        "Bearer x",
        "Bearer é",
        "Digest a",
        "nonsense",
    ],
)
async def test_bad_credentials(api: Client, header: str) -> None:
    """Malformed and wrong credentials are 401, whatever is wrong with them."""
    assert (await api.get("/api/v1/me", headers={"Authorization": header})).status == 401


async def test_basic_and_bearer(user: Client) -> None:
    """The access token serves as Basic password and as Bearer token."""
    bearer = {"Authorization": f"Bearer {user.access_token}"}
    assert (await user.get("/api/v1/me")).json["user_id"] == user.user_id
    assert (await user.request("GET", "/api/v1/me", headers=bearer)).json["user_id"] == user.user_id


async def test_token_of_another(api: Client, user: Client) -> None:
    """A token presented with another user's id is refused."""
    headers = {"Authorization": aiohttp.encode_basic_auth(UNKNOWN, user.access_token)}
    assert (await api.get("/api/v1/me", headers=headers)).status == 401


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/nothing", f"/api/v2/identities/remotes/{UNKNOWN}", "/api/v1/messages/x"]
)
async def test_unknown(user: Client, path: str) -> None:
    """An unknown address, an unknown id and a malformed id are 404 problems."""
    reply = await user.get(path)
    assert (reply.status, reply.headers["Content-Type"]) == (404, "application/problem+json")


async def test_wrong_verb(user: Client) -> None:
    """A verb that an address does not take is 405 with Allow."""
    reply = await user.call("DELETE", "/api/v2/identities/locals")
    assert reply.status == 405
    assert "GET" in reply.headers["Allow"]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"x"', "application/json", 400),
        (b'{"a": "\xff"}', "application/json", 400),
        (b'{"a": "\\ud800"}', "application/json", 400),
        (b'{"a": NaN}', "application/json", 400),
        (b'{"delivery": ' + b"[" * 2000, "application/json", 400),
        (b"{}", "application/merge-patch+json", 422),
        (b"{}", "application/json; charset=utf-8", 422),
    ],
)
async def test_bodies(user: Client, body: bytes, content_type: str, status: int) -> None:
    """Wrong media type, malformed JSON and broken rules have their own statuses."""
    headers = {"Content-Type": content_type}
    reply = await user.call("POST", "/api/v1/messages", data=body, headers=headers)
    assert reply.status == status
    assert reply.json["status"] == status


async def test_content_coding(user: Client) -> None:
    """A body in a content coding is 415: nobody can make the gateway unpack something huge."""
    for coding in ("gzip", "nonsense"):
        headers = JSON | {"Content-Encoding": coding}
        assert (await user.call("POST", "/api/v1/messages", data=b"\x1f\x8b", headers=headers)).status == 415


async def test_too_large(user: Client) -> None:
    """A body over the limit is 413."""
    reply = await user.call("POST", "/api/v1/messages", data=BytesIO(b"x" * 1_100_000), headers=JSON)
    assert reply.status == 413


async def test_unknown_comes_before_the_body(user: Client) -> None:
    """Where the address names nothing that is told, and not what is wrong with the body."""
    path = f"/api/v1/messages/{UNKNOWN}/actions"
    assert (await user.call("POST", path, data=b"{", headers=JSON)).status == 404
    assert (await user.call("POST", path, data=BytesIO(b"x" * 1_100_000), headers=JSON)).status == 404
    assert (await user.post(path, {"actions": ["dance"]})).status == 404
    assert (await user.call("POST", path, data=b"{")).status == 404


async def test_faults_are_named(user: Client, provider: Provider) -> None:
    """A 422 names each fault by its dotted path."""
    body = draft("no uuid", colour="red") | {
        "participants": [{"type": "To", "address": "nobody", "label": "a\nb"}, {"type": "Too"}],
    }
    reply = await user.post("/api/v1/messages", body)
    assert reply.status == 422
    assert reply.json["errors"].keys() == {
        "colour",
        "user_identities.0",
        "participants.0.address",
        "participants.0.label",
        "participants.1.type",
        "participants.1.address",
    }
    infos = {"inserver": "not a host", "intls": "maybe", "pollinterval": "0"}
    reply = await user.post("/api/v2/identities/remotes", remote(provider, infos=infos))
    assert reply.json["errors"].keys() == {"infos.intls", "infos.pollinterval"}


async def test_server_set_properties(user: Client) -> None:
    """Properties that the server sets are accepted and ignored."""
    identity = await user.local_identity()
    body = draft(identity["identity_id"], is_draft=False, delivery={"state": "sent"}, date="yesterday", user_id=1)
    created = await user.post("/api/v1/messages", body)
    assert created.status == 201
    message = (await user.get(created.json["location"])).json
    assert (message["is_draft"], message["delivery"], message["user_id"]) == (True, None, user.user_id)


async def test_request_id(api: Client) -> None:
    """A sane X-Request-ID comes back; another is replaced."""
    assert (await api.get("/healthz", headers={"X-Request-ID": "abc-1"})).headers["X-Request-ID"] == "abc-1"
    for insane in ("", "a b", "x" * 200, "ä"):
        reply = await api.get("/healthz", headers={"X-Request-ID": insane})
        assert reply.headers["X-Request-ID"] not in ("", insane)
    assert "X-Request-ID" in (await api.get("/nothing")).headers


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "limit=1_0",
        "limit=+5",
        "limit=%205",
        "limit=%D9%A3",
        "limit=1&limit=2",
        "limit=",
        "offset=-1",
        "offset=x",
        "color=red",
    ],
)
async def test_bad_page(user: Client, query: str) -> None:
    """A page that makes no sense is 422."""
    assert (await user.get(f"/api/v2/messages?{query}")).status == 422


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/identities/remotes?status=gone",
        "/api/v2/identities/remotes?protocol=xmpp",
        "/api/v2/messages?is_draft=perhaps",
        "/api/v2/messages?identity_id=me",
    ],
)
async def test_bad_filter(user: Client, path: str) -> None:
    """An unknown value of a filter is 422."""
    assert (await user.get(path)).status == 422


async def test_pages(user: Client) -> None:
    """A list tells its total and gives the page that was asked for; a limit over 200 counts as 200."""
    identity = await user.local_identity()
    for number in range(5):
        await user.draft(identity["identity_id"], subject=str(number))
    seen = []
    for offset in (0, 2, 4):
        page = (await user.get(f"/api/v2/messages?limit=2&offset={offset}")).json
        assert page["total"] == 5
        seen += [message["subject"] for message in page["messages"]]
    assert seen == ["4", "3", "2", "1", "0"]
    beyond = (await user.get("/api/v2/messages?limit=2&offset=100")).json
    assert (beyond["total"], beyond["messages"]) == (5, [])
    assert (await user.get("/api/v2/messages?limit=100000000000")).json["total"] == 5


async def test_etag(user: Client) -> None:
    """A single resource can be revalidated."""
    identity = await user.local_identity()
    path = f"/api/v2/identities/locals/{identity['identity_id']}"
    first = await user.get(path)
    again = await user.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.content) == (304, b"")
    assert (await user.get(path, headers={"If-None-Match": '"other"'})).status == 200


async def test_others_do_not_exist(api: Client, user: Client, provider: Provider) -> None:
    """What belongs to another user is 404 in every way."""
    other = await api.register("somebody-else")
    identity_id = await other.add_remote(provider)
    message_id = await other.draft(identity_id)
    raw_msg_id = (await other.send(message_id)).json["raw_msg_id"]
    for path in (
        f"/api/v2/identities/remotes/{identity_id}",
        f"/api/v1/messages/{message_id}",
        f"/api/v1/raws/{raw_msg_id}",
    ):
        assert (await other.get(path)).status == 200
        assert (await user.get(path)).status == 404
    check = {"actions": ["check"]}
    assert (await user.post(f"/api/v2/identities/remotes/{identity_id}/actions", check)).status == 404
    assert (await user.send(message_id)).status == 404
    assert (await user.post("/api/v1/messages", draft(identity_id))).status == 422


async def test_headers(api: Client) -> None:
    """Answers may not be sniffed, framed or sent on as referrer."""
    for path in ("/healthz", "/", "/nothing"):
        headers = (await api.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


async def test_head(api: Client) -> None:
    """HEAD answers as GET does, without the body."""
    reply = await api.call("HEAD", "/healthz")
    assert (reply.status, reply.content) == (200, b"")


async def test_many_at_once(user: Client) -> None:
    """Many requests at once each get their own answer."""

    async def one(number: int) -> Any:
        return await user.get("/api/v1/me", headers={"X-Request-ID": f"n-{number}"})

    replies = await asyncio.gather(*(one(number) for number in range(50)))
    assert [reply.headers["X-Request-ID"] for reply in replies] == [f"n-{number}" for number in range(50)]
