"""What requests are made of: JSON bodies, queries, headers, and what becomes of any of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import Schema

import api.main  # noqa: F401 - with it all schemas are there
from api.dimail.routing import DimailSchema
from api.fields import PageSchema, StrictSchema
from api.routing import validated
from gateway.errors import Invalid
from tests.client import Client

# Such as a parser may take for more than it is.
TELLING = st.sampled_from([
    "", " ", "\0", "a\r\nBcc: b@example.org", "me@example.org", '"a b"@[127.0.0.1]', "@", "bücher.example", "xn--",
    "..", "2026-07-20T15:56:06.062Z",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z",
    "2026-07-20T15:56:60Z", "2026-07-20T15:56:06", "0b9d5a3e-6c1f-4d8b-9a27-51e0c4f7b812", "{0b9d5a3e}", "1", "-1",
    "1e3", "٣", "NaN", "true", "pending", "owner", "imap", "send", "To", "\u202e", "\u2028", "😀" * 1100,
])  # fmt: skip
TEXTS = TELLING | st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS


def below(kind: type[Schema]) -> Iterator[type[Schema]]:
    """Yield all kinds of a schema."""
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


SCHEMAS = sorted({*below(StrictSchema), *below(DimailSchema)}, key=str)
NAMES = sorted({name for schema in SCHEMAS for name in schema().fields})
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | TEXTS, inner, max_size=4),
    max_leaves=8,
)


def bodies(schema: type[Schema]) -> st.SearchStrategy[dict[str, Any]]:
    """Return documents that have properties of the schema, and perhaps others."""
    query = issubclass(schema, PageSchema) or schema.error_messages is PageSchema.error_messages
    values = TEXTS if query else DOCUMENTS
    known = st.fixed_dictionaries({}, optional=dict.fromkeys(schema().fields, values))
    unknown = st.dictionaries(TEXTS, values, max_size=1)
    return st.builds(lambda one, other: other | one, known, unknown)


@given(st.data())
def test_any_document(data: st.DataObject) -> None:
    """Whatever a body or a query is, what comes of it are properties of its schema, or what is wrong of each."""
    schema = data.draw(st.sampled_from(SCHEMAS))
    document = data.draw(bodies(schema))
    try:
        assert validated(schema(), document).keys() <= schema().fields.keys()
    except Invalid as error:
        faults = error.errors
    else:
        return
    assert faults
    assert all(faults.values())
    assert {type(path) for path in faults} == {str}
    assert {type(message) for messages in faults.values() for message in messages} == {str}


HEADERS = [
    "Accept", "Authorization", "Content-Encoding", "Content-Type", "Cookie", "Expect", "Host", "If-Match",
    "If-None-Match", "Range", "X-Forwarded-For", "X-Request-ID",
]  # fmt: skip
OCTETS = st.binary(max_size=40).filter(lambda octets: not set(octets) & set(b"\0\r\n")) | st.sampled_from(
    [
        b"Basic \xc3\xa9",
        b"Bearer \xff",
        b"application/json",
        b"gzip",
        b"chunked",
        b"-1",
        b"99999999999",
        b'W/"a", "b',
    ],
)
PLACES = [
    "GET /api/v1/me",
    "POST /api/v1/authentications",
    "GET /api/v1/messages/{}",
    "PATCH /api/v1/messages/{}",
    "POST /api/v2/messages/{}/attachments",
    "GET /api/v2/messages",
    "DELETE /api/v2/domains/{}/aliases/{}/{}",
    "GET /api/v2/username/isAvailable",
    "GET /dimail/token",
    "POST /dimail/users",
    "PATCH /dimail/domains/{}/mailboxes/{}",
    "DELETE /dimail/allows/{}/{}",
]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(PLACES),
    word=st.binary(min_size=1, max_size=20).map(lambda octets: "".join(f"%{octet:02x}" for octet in octets)),
    headers=st.dictionaries(st.sampled_from(HEADERS), OCTETS, max_size=4),
    body=st.binary(max_size=100),
)
async def test_any_octets(user: Client, place: str, word: str, headers: dict[str, bytes], body: bytes) -> None:
    """Whatever octets a request has in its path, query, headers and body, the answer is no server error."""
    headers = {
        "Host": b"gateway",
        "Authorization": b"Bearer " + user.access_token.encode(),
        "Content-Type": b"application/json",
        **headers,
        "Content-Length": str(len(body)).encode(),
    }
    lines = [f"{place.replace('{}', word)}?limit={word}&username={word} HTTP/1.1".encode()]
    lines += [name.encode() + b": " + value for name, value in headers.items()]
    answer = await answer_to(user, b"\r\n".join([*lines, b"", body]))
    assert re.match(rb"HTTP/1.[01] [1234]", answer)


async def answer_to(api: Client, request: bytes) -> bytes:
    """Send octets; return the first line of the answer."""
    reader, writer = await asyncio.open_connection(api.http.host, api.http.port)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    return line


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue", "the best", "\udcff"])
async def test_expectations(api: Client, expectation: str) -> None:
    """A client that waits for it is told to send its body; an expectation that nobody knows is ignored."""
    headers = [b"Host: gateway", b"Content-Length: 0", b"Expect: " + expectation.encode("utf-8", "surrogateescape")]
    for operation, status in ((b"POST /api/v1/users", b"415"), (b"POST /dimail/users", b"422"), (b"GET /", b"200")):
        line = await answer_to(api, b"\r\n".join([operation + b" HTTP/1.1", *headers, b"", b""]))
        assert line.split()[1] == (b"100" if expectation.lower() == "100-continue" else status)
