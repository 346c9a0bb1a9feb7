"""The OpenAPI 3.1 document, made from the table of operations and the schemas that validate.

What an operation answers when something goes wrong follows from its kind: who must sign in can be refused, what
reads a body can find a fault in it, and so on; ``Operation.refusals`` has the rest. HEAD stands for none of the
operations: RFC 9110 §9.3.2 defines it by GET.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from inspect import getdoc
from typing import Any

import orjson
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from api import examples, multipart, problems
from api.answers import ProblemSchema
from api.routing import ANY_MEDIA_TYPE, MEDIA_TYPES, Answer, Call, Operation
from gateway import errors

_DESCRIPTION = """\
One REST API in front of all the accounts from which a person sends mail. Bodies are JSON. Every answer carries
X-Request-ID: the client's own, when it sent a sane one, else a new one. HEAD is answered wherever GET is.

**Authentication.** Register with `POST /api/v1/users`, and sign in with `POST /api/v1/authentications`. Send the
`user_id` and the `access_token` of the answer as name and password of HTTP Basic, or the `access_token` alone as
`Authorization: Bearer`. When it has expired, `POST /api/v1/authentications/refresh` gives a new pair.

**Errors** are problem documents (RFC 9457), `application/problem+json`: `detail` says what is wrong and what to do;
where properties of the request are to blame, `errors` maps the dotted path of each to messages. Every operation
lists the statuses that it refuses with. Where several apply, it is the first of 401, 404, 415, 400, 422, 403, 409
and 412.

**Changes** are merge patches (RFC 7396). With `current_state`, the old values as you saw them, or with `If-Match`,
nobody's change is lost: where something else is stored by then, nothing changes and the answer is 409 or 412.
"""
_TAGS: Mapping[str, str] = {
    "accounts": "Users: register, sign in and out, change and delete one's own.",
    "identities": "The addresses that a user sends from: local ones, and remote ones at other providers.",
    "messages": "Drafts, the orders to send them, and what became of these.",
    "attachments": "Files that go with a message.",
    "domains": "Domains that are hosted here, and how they stand in the DNS.",
    "accesses": "Who manages a domain: viewers, administrators, owners.",
    "invitations": "Invitations by mail to manage a domain.",
    "mailboxes": "Mailboxes of the domains that are hosted here.",
    "aliases": "Addresses of a domain whose mail goes elsewhere.",
    "service": "For operators and for programs.",
}
"""In the order in which one gets to know them. A module of operations has one of these names, or is part of one."""
_PART_OF = {"discover": "identities", "health": "service", "openapi": "service"}
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "Content-Disposition": {"description": "The name of the file (RFC 6266).", "schema": {"type": "string"}},
    "ETag": {"description": "The version of what is answered.", "schema": {"type": "string"}},
    "Location": {"description": "The path of the new resource.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
    "X-Request-ID": {"description": "Names the request in the log.", "schema": {"type": "string"}},
}
_HEADERS_OF_ERRORS: Mapping[type[errors.GatewayError], Sequence[str]] = {
    errors.NotAuthenticated: ["WWW-Authenticate"],
    errors.TooOften: ["Retry-After"],
    errors.Unavailable: ["Retry-After"],
}
_FILE = {"type": "string", "format": "binary", "description": "One file, with its name and media type."}
_ENTITY_TAGS = {"type": "string", "description": "Entity tags (RFC 9110 §8.8.3), or *."}


class OpenAPI:
    """``/api/openapi.json``, which describes ``described`` and itself."""

    def __init__(self, described: Sequence[Operation]) -> None:
        own = Operation(
            verb="GET",
            paths=["/api/openapi.json"],
            handler=self._get,
            summary="This document",
            answers={200: "application/json"},
            public=True,
            etag=True,
        )
        self.operations = [*described, own]

    @cached_property
    def _content(self) -> bytes:
        return orjson.dumps(document(self.operations))

    async def _get(self, _: Call) -> Answer:
        return Answer(self._content)


class _Converter(OpenAPIConverter):
    """Adds what our own schemas and fields say of themselves."""

    def schema2jsonschema(self, schema: Schema) -> dict[str, Any]:
        described: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        described["description"] = getdoc(schema)
        for name in sorted(getattr(schema, "server_set", ())):
            described["properties"][name] = {"readOnly": True, "description": "Accepted and ignored."}
        return described

    def field2property(self, field: fields.Field[Any]) -> dict[str, Any]:
        described: dict[str, Any] = super().field2property(field) | getattr(field, "json_schema", {})
        if isinstance(field, fields.Dict) and "maxLength" in described:
            described["maxProperties"] = described.pop("maxLength")
        return described


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of these operations."""
    spec = APISpec(
        title="Mail identity gateway",
        version=version("mail-identity-gateway"),
        openapi_version="3.1.0",
        info={"description": _DESCRIPTION},
        plugins=[_Plugin()],
        security=[{"basic": []}, {"bearer": []}],
        tags=[{"name": name, "description": description} for name, description in _TAGS.items()],
    )
    spec.components.security_scheme(
        "basic", {"type": "http", "scheme": "basic", "description": "user_id and access_token"}
    )
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "description": "access_token"})
    for name, header in _HEADERS.items():
        spec.components.header(name, {"required": True, **header})
    for kind in problems.STATUSES:
        spec.components.response(kind.__name__, _problem(kind))
    for path, verbs in _by_path(operations).items():
        spec.path(path, operations=verbs)
    described: dict[str, Any] = spec.to_dict()
    examples.add(described)
    return described


def _by_path(operations: Sequence[Operation]) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        for path in operation.paths:
            paths.setdefault(path, {})[operation.verb.lower()] = _described(operation, path)
    return paths


def _described(operation: Operation, path: str) -> dict[str, Any]:
    module = operation.handler.__module__.rpartition(".")[2]
    described: dict[str, Any] = {
        "operationId": _operation_id(operation, path),
        "summary": operation.summary,
        "tags": [_PART_OF.get(module, module)],
        "parameters": list(_parameters(operation, path)),
        "responses": _responses(operation, path),
    }
    if operation.description:
        described["description"] = operation.description
    if path != operation.paths[0]:
        described["x-second-path-of"] = _operation_id(operation, operation.paths[0])
    if operation.public:
        described["security"] = []
    if operation.body or operation.file:
        described["requestBody"] = {"required": True, "content": _request_content(operation)}
    return described


def _operation_id(operation: Operation, path: str) -> str:
    return "_".join([operation.verb.lower(), *re.findall(r"\w+", path.removeprefix("/api"))])


def _request_content(operation: Operation) -> dict[str, Any]:
    if operation.file:
        properties = {operation.file: _FILE}
        form = {"type": "object", "properties": properties, "required": [operation.file]}
        return {multipart.MEDIA_TYPE: {"schema": form | {"additionalProperties": False}}}
    # A merge patch is a kind of change (RFC 7396 §4): where nothing is changed, JSON is what to send.
    media_types = MEDIA_TYPES if operation.verb == "PATCH" else MEDIA_TYPES[:1]
    return {media_type: {"schema": operation.body} for media_type in media_types}


def _parameters(operation: Operation, path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        schema = {"type": "string", "format": "uuid"} if name.endswith("_id") else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if operation.query:
        yield {"in": "query", "schema": operation.query}
    if operation.etag:
        yield {"name": "If-None-Match", "in": "header", "schema": _ENTITY_TAGS}
    if errors.Stale in operation.refusals:
        yield {"name": "If-Match", "in": "header", "schema": _ENTITY_TAGS}


def _responses(operation: Operation, path: str) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): _answer(status, body, etag=operation.etag, located=operation.located)
        for status, body in operation.answers.items()
    }
    if operation.etag:
        responses["304"] = _answer(HTTPStatus.NOT_MODIFIED, None, etag=True, located=False)
    for error in _errors(operation, path):
        kind = next(each for each in error.__mro__ if each in problems.STATUSES)
        responses[str(int(problems.STATUSES[kind]))] = kind.__name__
    return dict(sorted(responses.items()))


def _answer(status: int, body: type[Schema] | str | None, *, etag: bool, located: bool) -> dict[str, Any]:
    names = ["X-Request-ID"]
    if etag:
        names.append("ETag")
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if isinstance(body, str):
        answer["content"] = {body: {}}
        if body == ANY_MEDIA_TYPE:
            names.append("Content-Disposition")
    elif body:
        answer["content"] = {"application/json": {"schema": body}}
        if located or "location" in body().fields:
            names.append("Location")
    return answer | {"headers": {name: name for name in names}}


def _errors(operation: Operation, path: str) -> Iterator[type[errors.GatewayError]]:
    if not operation.public:
        yield errors.NotAuthenticated
    if "{" in path:
        yield errors.NotFound
    if operation.body or operation.file:
        yield from (errors.Malformed, errors.TooSlow, errors.TooLarge, errors.UnsupportedMedia)
    if operation.body or operation.file or operation.query:
        yield errors.Invalid
    if not operation.public or operation.body or operation.query:  # all of these ask the database
        yield errors.Unavailable
    yield from operation.refusals


def _problem(kind: type[errors.GatewayError]) -> dict[str, Any]:
    names = ["X-Request-ID", *_HEADERS_OF_ERRORS.get(kind, [])]
    return {
        "description": (getdoc(kind) or "").partition("\n\n")[0],
        "headers": {name: name for name in names},
        "content": {problems.CONTENT_TYPE: {"schema": ProblemSchema}},
    }
