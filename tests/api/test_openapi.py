"""The OpenAPI document: that it is one, that it is whole, and that the tests hold every answer against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from string import ascii_letters
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from multidict import CIMultiDict
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.fields import NewPassword, Username
from gateway.user import password_fault, username_fault
from tests.client import Client, Reply

DOCUMENT = "/api/openapi.json"
HEADERS = {"X-Request-ID": "1", "Content-Type": "application/json"}
PROBLEM = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "There is nothing."}


async def test_document(api: Client) -> None:
    """Anybody can read the document; it is valid, of the running version, and can be revalidated."""
    reply = await api.get(DOCUMENT)
    OpenAPIV31SpecValidator(reply.json).validate()
    assert reply.json["info"]["version"] == version("mail-identity-gateway")
    assert (await api.get(DOCUMENT, headers={"If-None-Match": reply.headers["ETag"]})).status == 304


async def test_every_route_is_in_it(api: Client) -> None:
    """The document has every route of the router and no others; files for browsers and dimail's API are apart."""
    app = api.http.app
    assert app is not None
    routes = {(route.method.lower(), canonical(route)) for route in app.router.routes() if route.method != "HEAD"}
    apart = ("/console/", "/api/docs", "/dimail/")
    routes = {(verb, path) for verb, path in routes if path != "/" and not path.startswith(apart)}
    assert routes == {(verb, path) for path, verbs in api.contract.document["paths"].items() for verb in verbs}


def canonical(route: web.AbstractRoute) -> str:
    """Return a route's path as the document writes it."""
    assert route.resource is not None
    return route.resource.canonical


async def test_groups(api: Client) -> None:
    """Every operation says what it is for, and is in one of the groups, none of which is empty."""
    document = api.contract.document
    operations = [operation for verbs in document["paths"].values() for operation in verbs.values()]
    assert all(operation["summary"] and len(operation["tags"]) == 1 for operation in operations)
    assert {operation["tags"][0] for operation in operations} == {tag["name"] for tag in document["tags"]}


async def test_second_paths(api: Client) -> None:
    """An operation at a second path names the same one at its first, which names none."""
    paths = api.contract.document["paths"].values()
    operations = {each["operationId"]: each for verbs in paths for each in verbs.values()}
    for operation in operations.values():
        if name := operation.get("x-second-path-of"):
            assert operations[name]["summary"] == operation["summary"]
            assert "x-second-path-of" not in operations[name]
    assert operations["get_v2_remotes"]["x-second-path-of"] == "get_v2_identities_remotes"


async def test_who_needs_no_credentials(api: Client) -> None:
    """Operations without credentials say so; all others can be refused for want of them."""
    for verbs in api.contract.document["paths"].values():
        for operation in verbs.values():
            assert operation.get("security") == [] or "401" in operation["responses"]


async def test_passwords_are_write_only(api: Client) -> None:
    """What a request holds of passwords, no answer does."""
    schemas: Mapping[str, Any] = api.contract.document["components"]["schemas"]
    assert schemas["NewRemote"]["properties"]["credentials"]["writeOnly"]
    for schema in schemas.values():
        for described in schema["properties"].values():
            assert described.get("format") != "password" or described["writeOnly"]


async def test_server_set_properties(api: Client) -> None:
    """What the server sets can stand in a request, is marked as read-only, and has no rule."""
    properties = api.contract.document["components"]["schemas"]["NewDraft"]["properties"]
    assert properties["delivery"].keys() == {"readOnly", "description"}


async def test_bounds(api: Client) -> None:
    """Every list and every map of a request says how many elements it may have."""
    components: Mapping[str, Any] = api.contract.document["components"]["schemas"]

    def unbounded(schema: Mapping[str, Any], path: str) -> Iterator[str]:
        if "$ref" in schema:
            yield from unbounded(components[schema["$ref"].rpartition("/")[2]], path)
        for name, each in schema.get("properties", {}).items():
            kinds = [each.get("type")] if isinstance(each.get("type"), str) else each.get("type", [])
            is_map = "object" in kinds and "additionalProperties" in each
            if ("array" in kinds and "maxItems" not in each) or (is_map and "maxProperties" not in each):
                yield f"{path}.{name}"
            for part in (each, each.get("items", {}), *each.get("allOf", ()), *each.get("anyOf", ())):
                yield from unbounded(part, f"{path}.{name}")

    bodies = {
        f"{verb} {path}": content["schema"]
        for path, verbs in api.contract.document["paths"].items()
        for verb, operation in verbs.items()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    }
    assert [each for name, schema in bodies.items() for each in unbounded(schema, name)] == []
    assert components["Participant"]["properties"]["contact_ids"]["maxItems"] == 100
    assert components["CurrentRemote"]["properties"]["infos"]["maxProperties"] == 128


def reply(status: int, body: Any, **headers: str) -> Reply:
    """Return an answer that never came."""
    return Reply(status, CIMultiDict(HEADERS | headers), orjson.dumps(body))


GOOD = reply(200, {"status": "ok"})


@pytest.mark.parametrize(
    ("verb", "path", "answer"),
    [
        ("GET", "/healthz", replace(GOOD, status=201)),
        ("GET", "/healthz", replace(GOOD, headers=CIMultiDict({"Content-Type": "application/json"}))),
        ("GET", "/healthz", replace(GOOD, headers=CIMultiDict({**HEADERS, "Content-Type": "text/html"}))),
        ("GET", "/healthz", reply(200, {})),
        ("GET", "/healthz", reply(200, {"status": "ok", "more": 1})),
        ("GET", "/healthz", reply(200, {"status": 1})),
        ("HEAD", "/healthz", GOOD),
        ("GET", "/nothing", GOOD),
        ("GET", "/nothing", reply(404, {"detail": "There is nothing."})),
        ("PUT", "/healthz", reply(405, PROBLEM | {"status": 405}, **{"Content-Type": "application/problem+json"})),
    ],
)
async def test_what_the_contract_refuses(api: Client, verb: str, path: str, answer: Reply) -> None:
    """An answer that is not as the document says fails its test."""
    with pytest.raises((AssertionError, ValidationError)):
        api.contract.check(verb, path, answer)


async def test_what_the_contract_takes(api: Client) -> None:
    """An answer that is as the document says passes, and so does a problem on a route that there is not."""
    api.contract.check("GET", "/healthz", GOOD)
    api.contract.check("GET", "/nothing", reply(404, PROBLEM, **{"Content-Type": "application/problem+json"}))


def takes(field: Any, value: str) -> bool:
    """True when the document lets a field have that value."""
    return Draft202012Validator(field.json_schema).is_valid(value)


@given(st.text(st.sampled_from(f"{ascii_letters[:2]}09._- é@"), max_size=45))
def test_username(name: str) -> None:
    """The document says of user names what the core demands of them."""
    assert takes(Username, name) is (username_fault(name) is None)


@pytest.mark.parametrize("length", [0, 7, 8, 1024, 1025])
def test_password(length: int) -> None:
    """The document says of passwords' lengths what the core demands of them."""
    assert takes(NewPassword, "x" * length) is (password_fault("x" * length, "someone") is None)
