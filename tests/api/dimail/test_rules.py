"""The rules of the wire under ``/dimail``: addresses, bodies, plain errors."""

from __future__ import annotations

import logging
from io import BytesIO

import orjson
import pytest

from tests.dimail import DimailClient

JSON = {"Content-Type": "application/json"}


async def test_unknown_addresses(admin: DimailClient) -> None:
    """What is not there is a plain 404."""
    for path in ["", "/", "/nothing", "/users/a/b", "/v2/", "/domains/a.test/nothing/"]:
        reply = await admin.call("GET", path)
        assert (reply.status, reply.json) == (404, {"detail": "Not Found"})


async def test_wrong_verbs(admin: DimailClient) -> None:
    """A verb that an address does not take is a plain 405, which names those that it takes."""
    for path, allowed in (("/users", "GET,POST"), ("/users/", "GET,POST"), ("/token/", "GET")):
        reply = await admin.call("PUT", path, {})
        assert (reply.status, reply.json) == (405, {"detail": "Method Not Allowed"})
        assert reply.headers["Allow"] == allowed


async def test_other_errors_stay_as_they_are(admin: DimailClient) -> None:
    """Outside of /dimail errors are problem documents, also where the path begins alike."""
    for path in ("/dimailing", "/nothing"):
        reply = await admin.rest.request("GET", path.replace("/dimailing", "/x/dimail"))
        assert reply.headers["Content-Type"] == "application/problem+json"


async def test_slashes(admin: DimailClient) -> None:
    """An address with and one without a slash at the end are the same, without a redirect."""
    for path in ("/token", "/users", "/users/admin", "/domains", "/allows"):
        for slash in ("", "/"):
            assert (await admin.call("GET", f"{path}{slash}", allow_redirects=False)).status == 200


async def test_bodies(admin: DimailClient) -> None:
    """A body that is no JSON object, or says that it is none, is 422, as is one without what it needs."""
    for body, content_type in [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'"x"', "application/json"),
        (b"null", "application/json"),
        (b'{"name": "\xff"}', "application/json"),
        (b'{"name": "\\ud800"}', "application/json"),
        (b"{}", "application/json"),
        (b'{"name": "a", "password": "b", "is_admin": false}', "text/plain"),
    ]:
        reply = await admin.call("POST", "/users/", data=body, headers={"Content-Type": content_type})
        assert reply.status == 422
        assert (await admin.call("GET", "/users/a")).status == 404


async def test_too_large(admin: DimailClient) -> None:
    """A body over the limit is 413."""
    reply = await admin.call("POST", "/users/", data=BytesIO(b"x" * 1_100_000), headers=JSON)
    assert reply.status == 413


async def test_bodies_that_nobody_asked_for(admin: DimailClient) -> None:
    """A body of GET or DELETE, and one of a password's reset, is not looked at."""
    await admin.host("a.ok.test")
    await admin.mailbox("a.ok.test", "ada")
    path = "/domains/a.ok.test/mailboxes/ada"
    for verb, where, status in (
        ("GET", path, 200),
        ("POST", f"{path}/reset_password/", 200),
        ("DELETE", path, 204),
    ):
        assert (await admin.by_token(verb, where, data=b"{", headers=JSON)).status == status


async def test_what_one_may_not_comes_before_the_body(admin: DimailClient) -> None:
    """Who may not do something is told that, and not what is wrong with the body."""
    await admin.host("a.ok.test")
    somebody = await admin.register("somebody")
    for ask, path in (
        (somebody.call, "/users/"),
        (somebody.call, "/domains/"),
        (somebody.by_token, "/domains/a.ok.test/mailboxes/ada"),
        (somebody.by_token, "/domains/a.ok.test/aliases/"),
    ):
        assert (await ask("POST", path, data=b"{", headers=JSON)).status == 403


async def test_several_faults(admin: DimailClient) -> None:
    """Several faults are told in one string, each with its property."""
    reply = await admin.call("POST", "/users/", {"name": "a", "perms": ["fly"]})
    assert reply.status == 422
    for name in ("password: ", "is_admin: ", "perms.0: "):
        assert name in reply.json["detail"]


async def test_no_apostrophes(admin: DimailClient) -> None:
    """People makes quotation marks of apostrophes, which would end the string."""
    await admin.host("it.ok.test")
    body = {"user_name": "a b", "destination": "it's"}
    reply = await admin.by_token("POST", "/domains/it.ok.test/aliases", body)
    assert reply.status == 422
    assert orjson.loads(reply.content.decode().replace("'", '"'))["detail"]


async def test_request_ids(admin: DimailClient) -> None:
    """Answers carry the id of the request, errors too, and so does the log."""
    for path in ("/users/", "/nothing"):
        reply = await admin.call("GET", path, headers={"X-Request-ID": "abc-1"})
        assert reply.headers["X-Request-ID"] == "abc-1"


async def test_metrics(admin: DimailClient) -> None:
    """Requests are counted by route, without what stands in the place of names."""
    await admin.call("GET", "/users/some-secret-name")
    text = (await admin.rest.get("/metrics")).content.decode()
    assert 'route="/dimail/users/{user}"' in text
    assert "some-secret-name" not in text


async def test_nothing_is_given_away(admin: DimailClient, caplog: pytest.LogCaptureFixture) -> None:
    """No log line has a password or a token."""
    caplog.set_level(logging.DEBUG, logger="api")
    await admin.host("a.ok.test")
    password = (await admin.mailbox("a.ok.test", "ada"))["password"]
    await admin.call("PATCH", "/users/admin", {"password": "a new password"})
    for secret in (password, "a new password", admin.token, admin.password):
        assert secret not in caplog.text


async def test_whatever_stands_in_a_path(admin: DimailClient) -> None:
    """Whatever is asked for, there is none such."""
    for path in [
        "/users/%00",
        "/users/%ff",
        "/users/%ED%A0%80",
        "/users/a%2Fb",
        "/users/$ne",
        "/domains/%00/check",
        "/domains/%ff/check",
        "/domains/%F0%9F%92%A9.example/check",
        "/domains/xn--0/check",
        "/domains/.../check",
        "/allows/?user=%00&domain=%ff",
        "/allows/?user=%ED%A0%80&domain=%ED%A0%80",
        f"/domains/{'a' * 3000}/check",
    ]:
        reply = await admin.call("GET", path)
        assert reply.status in (200, 404)
        assert reply.status == 404 or reply.json == []
