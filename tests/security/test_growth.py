"""The time that hostile text takes: it grows with the text's length, not with its square.

Every regular expression of the program is held by itself, in the ways in which it is used, and every parser of what
comes from outside as a whole. A first run with a short text finds what is worth a look. That is measured: processor
time of this thread, the least of several runs, for a text and for one sixteen times as long. What is linear takes
sixteen times as long for it, what is quadratic 256 times.

A body within its limit can still hold half a million elements or names. What is looked at of these is counted, and
so is what the answer tells of them.
"""

from __future__ import annotations

import ast
import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from marshmallow import Schema, ValidationError, fields

import api.main  # noqa: F401 - with it all schemas are there
from api import problems
from api.answers import AnswerSchema, ProblemSchema
from api.fields import MOST_FAULTS, PageSchema, StrictSchema
from api.multipart import parameters
from api.routing import validated
from api.v1.messages import NewDraftSchema
from gateway.address import normalise_identifier, parse_host_port
from gateway.attach import file_name, media_type
from gateway.body import excerpt, html_to_text
from gateway.domain import parse_context, parse_domain
from gateway.errors import Invalid
from gateway.flowed import flowed
from protocols.folder import from_modified_utf7, parse_list, parse_prefix
from protocols.imap_client import capabilities_in, status_in
from protocols.replies import printable
from tests.client import Client

Reader = Callable[[str], object]

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "protocols", "storage", "api")
WAYS = ("match", "fullmatch", "search", "findall", "finditer", "sub", "split")
LENGTH, TIMES = 1_500, 16
TOO_STEEP = 5 * TIMES
WORTH_A_LOOK_S = 0.0004

CHARACTERS = "aA0 .,;:=+-_/\"'\\<>[](){}&#%@\r\n\t"
STARTS = (
    "[A", ";a", ";a=", ';a="', "<a ", "<a href=", "<!--", "<script>", "(", '() "', "() NIL ", 'NAMESPACE (("',
    "* BYE ", "CAPABILITY ", "[CAPABILITY ", "%{", "%{d", "ip4:", "&", "Bcc:", "re", "a@", "a=", "app-", '"msg":"',
)  # fmt: skip
PAIRS = [("", one + other) for one, other in itertools.product(CHARACTERS, repeat=2)]
TEXTS = [
    *((start, character) for start in ("", *STARTS) for character in CHARACTERS),
    *(("", start) for start in STARTS),
]
# Accents whose order Unicode's normalisation changes, in places where addresses and names are normalised.
ACCENTED = [(start, "\u0301\u0316") for start in ("a", "a@b", "a <b")]


def modules() -> Iterator[tuple[str, str]]:
    """Yield the name and the source of every module."""
    for path in (each for package in PACKAGES for each in sorted((ROOT / package).rglob("*.py"))):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path.read_text()


def uses() -> Iterator[tuple[str, Reader]]:
    """Yield every regular expression that the source spells out, in each way in which its module uses it."""
    for module, source in modules():
        for way, literal in spelled_out(source):
            yield f"{module}: {way} {literal!r}", reader(re.compile(literal), way)
        for name, value in vars(import_module(module)).items() if "re.compile(" in source else ():
            if isinstance(value, re.Pattern):
                for way in sorted(set(re.findall(rf"\b{name}\.({'|'.join(WAYS)})\b", source))):
                    yield f"{module}: {name}.{way}", reader(value, way)


def spelled_out(source: str) -> Iterator[tuple[str, Any]]:
    """Yield the calls of functions of ``re`` with the text of their pattern."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="re"), attr=way), args=[ast.Constant(value=literal), *_]
            ) if way in WAYS:
                yield way, literal


def reader(pattern: re.Pattern[Any], way: str) -> Reader:
    """Return what uses the pattern in that way."""
    in_bytes = isinstance(pattern.pattern, bytes)

    def read(text: str) -> None:
        subject: Any = text.encode() if in_bytes else text
        found = pattern.sub(subject[:0], subject) if way == "sub" else getattr(pattern, way)(subject)
        if way == "finditer":
            list(found)

    return read


PARSERS: dict[str, Reader] = {
    "file name": file_name,
    "media type": media_type,
    "Content-Disposition": parameters,
    "mail address": normalise_identifier,
    "local part": lambda text: normalise_identifier(f"{text}@b.example"),
    "host and port": parse_host_port,
    "domain": parse_domain,
    "context": parse_context,
    "HTML": html_to_text,
    "excerpt": lambda text: excerpt(text, is_plain=True),
    "flowed text": flowed,
    "SMTP and IMAP text": printable,
    "IMAP name": from_modified_utf7,
    "LIST": lambda text: list(parse_list([text.encode()])),
    "NAMESPACE": lambda text: parse_prefix([text.encode()]),
    "CAPABILITY": lambda text: capabilities_in([text.encode()]),
    "STATUS": lambda text: status_in([text.encode()]),
}


def taken(read: Reader, text: str, runs: int) -> float:
    """Return the processor time in seconds that reading a text takes at least."""
    times = []
    for _ in range(runs):
        begin = time.thread_time()
        with suppress(ValueError):
            read(text)
        times.append(time.thread_time() - begin)
    return min(times)


def is_steep(read: Reader, start: str, piece: str) -> bool:
    """True when the time grows much faster than the text."""
    short, long = (start + piece * (length // len(piece)) for length in (LENGTH, LENGTH * TIMES))
    if taken(read, short, 1) < WORTH_A_LOOK_S:
        return False
    return taken(read, long, 2) > TOO_STEEP * taken(read, short, 5)


of_texts = pytest.mark.parametrize(
    "texts", [TEXTS + ACCENTED, pytest.param(PAIRS, marks=pytest.mark.torture)], ids=["texts", "pairs"]
)


@of_texts
@pytest.mark.parametrize("read", [each for _, each in uses()], ids=[name for name, _ in uses()])
def test_regular_expressions(read: Reader, texts: Sequence[tuple[str, str]]) -> None:
    """No regular expression of the program goes back and forth over a text."""
    assert [text for text in texts if is_steep(read, *text)] == []


@of_texts
@pytest.mark.parametrize("read", PARSERS.values(), ids=PARSERS)
def test_parsers(read: Reader, texts: Sequence[tuple[str, str]]) -> None:
    """No parser of what comes from outside does."""
    assert [text for text in texts if is_steep(read, *text)] == []


@pytest.mark.parametrize(("pattern", "steep"), [(r"(a+)b?[^]]*\]", True), (r"[^]]*+\]", False)])
def test_the_measure_can_tell(pattern: str, steep: bool) -> None:
    """A pattern that goes back is found, one that does not is not."""
    assert is_steep(reader(re.compile(pattern), "match"), "", "a") is steep


# -- bodies ------------------------------------------------------------------------------------------------------

MANY = 100_000
MOST_TOLD = 65_536  # bytes of an answer that tells what is wrong
NAMES = dict.fromkeys(map(str, range(MANY)), 0)
WRONG = ["x" * MANY, "\0" * MANY, "@" * MANY, [0] * MANY, NAMES, {"x" * MANY: 0}]


class Counted:
    """Something with very many elements, which counts those that are looked at."""

    def __init__(self, *elements: Any) -> None:
        super().__init__(*elements)
        self.looked_at = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():  # type: ignore[misc]
            self.looked_at += 1
            yield each


class CountedList(Counted, list[Any]):
    """Such a list."""


class CountedMap(Counted, dict[str, Any]):
    """Such a map."""


def kinds(of: type[Schema]) -> Iterator[type[Schema]]:
    """Yield the schemas of requests."""
    for each in of.__subclasses__():
        if each.__module__.startswith("api.") and not issubclass(each, AnswerSchema | ProblemSchema):
            yield each
            yield from kinds(each)


SCHEMAS = sorted({*kinds(Schema)}, key=str)
PLURAL = [
    pytest.param(field, id=f"{schema.__name__}.{name}")
    for schema in SCHEMAS
    for name, field in schema().fields.items()
    if isinstance(field, fields.List | fields.Dict)
]


@pytest.mark.parametrize("field", PLURAL)
def test_counted_first(field: fields.Field[Any]) -> None:
    """No element of a list or map is looked at where there are more than there may be."""
    kind, elements = (CountedList, [0] * MANY) if isinstance(field, fields.List) else (CountedMap, NAMES)
    one = kind(elements)
    with pytest.raises(ValidationError):
        field.deserialize(one)
    assert one.looked_at == 0


def refusal(schema: type[Schema], document: Any) -> Invalid | None:
    """Return how a document is refused, if it is, after a look at how long the answer is."""
    try:
        validated(schema(), document)
    except Invalid as error:
        body = problems.of_error(error).body
        assert isinstance(body, bytes)
        assert len(body) < MOST_TOLD
        return error
    return None


OF_BODIES = [each for each in SCHEMAS if each.error_messages is not PageSchema.error_messages]


@pytest.mark.parametrize("schema", OF_BODIES)
def test_little_is_told(schema: type[Schema]) -> None:
    """Whatever a body is full of, the answer stays short."""
    for wrong in WRONG:
        refusal(schema, dict.fromkeys(schema().fields, wrong))


@pytest.mark.parametrize("schema", [each for each in SCHEMAS if issubclass(each, StrictSchema)])
def test_unknown_names(schema: type[Schema]) -> None:
    """Of very many names that there are not some are told, and that there are more."""
    refused = refusal(schema, NAMES)
    assert refused
    assert len(refused.errors) == MOST_FAULTS
    assert f"breaks more than {MOST_FAULTS} rules" in str(refused)
    assert refusal(schema, {"x" * MANY: 0})


def test_faults_of_elements() -> None:
    """Nobody looks for more faults than are told, in a list of as many elements as it may have."""
    contacts = [CountedList([0] * 100) for _ in range(1000)]
    participants = [{"address": "a@b.example", "type": "To", "contact_ids": each} for each in contacts]
    refused = refusal(NewDraftSchema, {"user_identities": [str(uuid4())], "participants": participants})
    assert refused
    assert refused.errors.keys() == {f"participants.0.contact_ids.{number}" for number in range(100)}
    assert f"breaks more than {MOST_FAULTS} rules" in str(refused)
    assert sum(each.looked_at for each in contacts) <= 100 * (MOST_FAULTS + 1)


@pytest.mark.parametrize("piece", ["[", '{"a":'])
async def test_depth(api: Client, piece: str) -> None:
    """A body that is nested very often is no JSON."""
    reply = await api.request(
        "POST", "/api/v1/users", data=piece * MANY, headers={"Content-Type": "application/json"}
    )
    assert reply.status == 400
