"""The time that hostile text takes: it grows with the text's length, not with its square.

Every regular expression of the program is held by itself, in the ways in which it is used, and every parser of what
comes from outside as a whole. A first run with a short text finds what is worth a look. That is measured: processor
time of this thread, the least of several runs, for a text and for one sixteen times as long. What is linear takes
sixteen times as long for it, what is quadratic 256 times.
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

import pytest

from api.multipart import parameters
from gateway.address import normalise_identifier, parse_host_port
from gateway.attach import file_name, media_type
from gateway.body import excerpt, html_to_text
from gateway.domain import parse_context, parse_domain
from gateway.flowed import flowed
from protocols.folder import from_modified_utf7, parse_list, parse_prefix
from protocols.imap_client import capabilities_in, status_in
from protocols.replies import printable

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
                for way in set(re.findall(rf"\b{name}\.({'|'.join(WAYS)})\b", source)):
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
