"""What an operation of the REST API is, and how a request becomes a call of one.

For every request in this order, so that of several faults the same one is always told: 1. who asks (401); 2. is
there such a thing (404); 3. the body's media type (415), size (413), JSON (400) and schema (422); 4. the handler,
with what the schemas made of body and query. A file is read during 4, piece by piece, and its size told there.

A body may take its time, an upload hours. So where it is not there yet when the client is known, 1. is asked again
when it has come, and of a file with each piece: nothing is done for who has signed out, or gone, in between.
"""

from __future__ import annotations

import re
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Any, Protocol, TypeVar

import orjson
from aiohttp import HttpVersion11, web
from marshmallow import Schema, ValidationError

from api.auth import IPNetwork, authenticate, source_of
from api.fields import MOST_FAULTS
from api.listing import Pieces
from api.multipart import read_upload
from gateway.accounts import Accounts
from gateway.errors import (
    GatewayError,
    Invalid,
    Malformed,
    NotAuthenticated,
    RequestError,
    TooLarge,
    UnsupportedMedia,
)
from gateway.patch import Change
from gateway.ports import Content

MEDIA_TYPES = ("application/json", "application/merge-patch+json")
ANY_MEDIA_TYPE = "*/*"
"""What an operation answers that returns files."""
_MAX_NAME = 200  # letters of a property's path in an answer


@dataclass(frozen=True, slots=True)
class Call:
    """One request, taken apart. ``user_id`` and ``access_token`` are empty on public operations.

    ``body`` is what the schema made of it, or has the Upload under its field's name. ``source`` is the address that
    the request came from; ``if_match`` are the entity tags of that header
    (RFC 9110 §13.1.1), None where there is none.
    """

    user_id: str
    path: Mapping[str, str]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    access_token: str = field(default="", repr=False)
    source: str = ""
    if_match: Collection[str] | None = None

    def change(self, shown: Callable[[Thing], Any]) -> Change[Thing]:
        """Return the change that the body and If-Match ask for; ``shown`` makes an answer of the thing."""
        tags = self.if_match

        def is_named(thing: Thing) -> bool:
            return tags is None or "*" in tags or _entity_tag(orjson.dumps(shown(thing))) in tags

        patch = {key: value for key, value in self.body.items() if key != "current_state"}
        return Change(patch, self.body.get("current_state"), None if tags is None else is_named)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler returns.

    ``body`` is JSON-serialisable, or Pieces, or bytes or Content, whose Content-Type is in ``headers``.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Thing = TypeVar("Thing")
Handler = Callable[[Call], Awaitable[Answer]]
Exists = Callable[[Call], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One verb on one path.

    ``description`` says, in Markdown, what the summary leaves open. ``exists`` raises NotFound when the path names
    nothing; it is asked only before a fault of the body is told, because the handler finds out by itself. ``etag``
    lets clients revalidate the answer (RFC 9110 §8.8.3). ``answers`` tells for each status that is no error what
    the body is: a schema of JSON, another media type, or None for no body; ``located``: 201 has the path of what is
    new in Location (RFC 9110 §15.3.2). ``file`` is the field of a multipart/form-data body that holds a file.
    ``refusals`` are the errors that an operation of this kind does not have by itself.
    """

    verb: str
    paths: Sequence[str]
    handler: Handler
    summary: str
    description: str = ""
    answers: Mapping[int, type[Schema] | str | None]
    refusals: Collection[type[GatewayError]] = ()
    body: type[Schema] | None = None
    file: str = ""
    query: type[Schema] | None = None
    exists: Exists | None = None
    public: bool = False
    etag: bool = False
    located: bool = False


class Routes(Protocol):
    """A group of operations."""

    def operations(self) -> Sequence[Operation]:
        """Return them."""


def register(
    app: web.Application, operations: Sequence[Operation], accounts: Accounts, proxies: Sequence[IPNetwork]
) -> None:
    """Add the operations to the application. ``proxies`` are believed about where requests come from."""
    for operation in operations:
        for path in operation.paths:
            resource = app.router.add_resource(pattern(path))
            endpoint = _endpoint(operation, accounts, proxies)
            for verb in ("GET", "HEAD") if operation.verb == "GET" else (operation.verb,):
                resource.add_route(verb, endpoint, expect_handler=go_on)


def pattern(path: str) -> str:
    """Return a path whose parameters take all but slashes; aiohttp's own take no braces, which local parts have."""
    return re.sub(r"{(\w+)}", r"{\1:[^/]+}", path)


async def go_on(request: web.Request) -> None:
    """Tell a client that waits for it to send the body (RFC 9110 §10.1.1).

    Other expectations are nobody's, and ignored; aiohttp fails at those that are not UTF-8.
    """
    if request.headers["Expect"].lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer, which begins now


def _endpoint(
    operation: Operation, accounts: Accounts, proxies: Sequence[IPNetwork]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    body_schema = operation.body() if operation.body else None
    query_schema = operation.query() if operation.query else None

    async def endpoint(request: web.Request) -> web.StreamResponse:
        user_id, access_token = "", ""
        who = partial(authenticate, accounts, request.headers.get("Authorization"))
        # Seen before who() is asked: a body that comes after that may come late.
        is_there = operation.public or request.content.is_eof()
        if not operation.public:
            user_id, access_token = await who()
        call = Call(
            user_id,
            request.match_info,
            access_token=access_token,
            source=source_of(request.remote or "", request.headers.getall("X-Forwarded-For", ()), proxies),
            if_match=_strong_tags(request),
        )
        try:
            document = await read_json(request) if body_schema else {}
            if body_schema and not is_there:
                await who()
            body = validated(body_schema, document) if body_schema else {}
            query = validated(query_schema, _read_query(request)) if query_schema else {}
            if operation.file:
                upload = await read_upload(request, operation.file)
                body = {operation.file: replace(upload, pieces=_while(who, upload.pieces))}
        except NotAuthenticated:
            raise
        except RequestError:
            if operation.exists:
                await operation.exists(call)
            raise
        answer = await operation.handler(replace(call, body=body, query=query))
        return _response(request, answer, etag=operation.etag)

    return endpoint


async def _while(who: Callable[[], Awaitable[object]], pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces, as long as it is known who sends them. Raises NotAuthenticated."""
    async for piece in pieces:
        await who()
        yield piece
    await who()


def _strong_tags(request: web.Request) -> Collection[str] | None:
    """Return the tags of If-Match that can match (RFC 9110 §13.1.1); a malformed header has none."""
    if "If-Match" not in request.headers:
        return None
    return [each.value for each in request.if_match or () if not each.is_weak]


async def read_json(request: web.Request) -> dict[str, Any]:
    """Return the body, a JSON object. Raises UnsupportedMedia, TooLarge, Malformed."""
    if request.content_type not in MEDIA_TYPES:
        raise UnsupportedMedia("Send the body as application/json.")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMedia("Send the body without a content coding.")
    try:
        document = orjson.loads(await request.read())
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge("The body is over the limit (server.max_body_bytes).") from error
    except (web.RequestPayloadError, ConnectionResetError) as error:
        raise Malformed("The body did not come whole.") from error
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise Malformed("The body must be a JSON object.")
    return document


def _read_query(request: web.Request) -> dict[str, str]:
    query = dict(request.query)
    if repeated := sorted({name for name in query if len(request.query.getall(name)) > 1}):
        raise Invalid(
            f"The query repeats {', '.join(repeated)}.", {name: ["Must be given once."] for name in repeated}
        )
    return query


def validated(schema: Schema, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the schema makes of a document. Raises Invalid."""
    try:
        loaded: dict[str, Any] = schema.load(document)
    except ValidationError as error:
        messages = error.messages if isinstance(error.messages, dict) else {"": error.messages}
        found = _flat(messages)
        faults = dict(islice(found, MOST_FAULTS))
        rules = f"more than {MOST_FAULTS} rules, at first" if next(found, None) else "a rule:"
        raise Invalid(f"The request breaks {rules} {', '.join(faults)}.", faults) from error
    return loaded


def _flat(messages: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield (dotted path, messages) pairs of marshmallow's nested error messages."""
    # Faults of the key and the value of a map's entry stand one level below the entry.
    is_entry = messages.keys() <= {"key", "value"} and not any(isinstance(v, Mapping) for v in messages.values())
    for key, value in messages.items():
        name = path if path and (is_entry or key == "_schema") else f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield _shortened(name), [str(message) for message in value]


def _shortened(name: str) -> str:
    """Return what tells a property apart; some clients name one in a thousand letters."""
    return name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}…"


def _response(request: web.Request, answer: Answer, *, etag: bool) -> web.Response:
    if answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    if isinstance(answer.body, Pieces):
        return answer.body.response(request, answer.status)
    body = answer.body if isinstance(answer.body, bytes | Content) else orjson.dumps(answer.body)
    pieces, size = (body.pieces, body.size) if isinstance(body, Content) else (body, len(body))
    headers = {"Content-Type": "application/json", "Content-Length": str(size), **answer.headers}
    response = web.Response(status=answer.status, body=pieces, headers=headers)
    if etag:
        tag = body.tag if isinstance(body, Content) else _entity_tag(body)
        response.etag = tag
        known = request.if_none_match or ()
        if any(each.value in (tag, "*") for each in known):
            response = web.Response(status=304)
            response.etag = tag
        response.headers["Cache-Control"] = "private, no-cache"
    return response


def _entity_tag(body: bytes) -> str:
    return blake2b(body, digest_size=12).hexdigest()
