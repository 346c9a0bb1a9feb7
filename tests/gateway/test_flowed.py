"""gateway/flowed.py, read back by a reader of the format."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.flowed import flowed
from tests.flowed import Line, unflowed

PIECES = [
    " ", "  ", "\t", "\n", "\r\n", "\r", "-- ", "-- \n", "--", "> ", ">", ">> ", "From ", "From me", ".", "é",
    "x" * 60, "x" * 71, "x" * 72, "x" * 73, "x" * 200, "word " * 20, "> " + "quoted " * 20, "\x0c", "\u2028",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=["Cs"])), max_size=10).map(
    "".join
)


def meant(text: str) -> list[Line]:
    """Return what a text says, line by line: spaces that end a line say nothing, but for the signature's."""
    lines = []
    for line in re.split(r"\r\n|\r|\n", text):
        depth = len(line) - len(line.lstrip(">"))
        quoted = line[depth:].removeprefix(" ") if depth else line
        lines.append((depth, quoted if quoted == "-- " else quoted.rstrip(" ")))
    return lines


@given(texts)
@example("-- " + "x" * 100)
@example("-- \nJane")
@example("a " * 30 + "> b " * 30)
@example("word " * 14 + "  From here on " + "word " * 14)
@example(" " * 100 + "x")
def test_reads_back(text: str) -> None:
    """Who knows the format reads every line as it was written, quotations and signature too."""
    assert unflowed(flowed(text)) == meant(text)


@given(texts)
def test_lines_are_short(text: str) -> None:
    """A line is longer than 72 characters and a stuffed space only where it is a quotation or one long word."""
    for line in flowed(text).split("\n"):
        if len(line) > 73 and not line.startswith(">"):
            assert " " not in line.removeprefix(" ").removeprefix("-- ").strip(" ")


@given(texts)
def test_nothing_looks_like_an_mbox(text: str) -> None:
    """No line begins with what some stores take for the beginning of a message (RFC 3676 §4.4)."""
    assert not any(line.startswith("From ") for line in flowed(text).split("\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Hello!\n", "Hello!\n"),
        ("two  \nlines \t", "two\nlines \t"),
        (" indented", "  indented"),
        ("From me", " From me"),
        ("Fromage", "Fromage"),
        ("> quoted \n>> twice", "> quoted\n>> twice"),
        ("-- \nJane", "-- \nJane"),
        ("> -- \n> Jane", "> -- \n> Jane"),
        ("x" * 70 + " yy", "x" * 70 + " \nyy"),
        ("x" * 69 + " yy", "x" * 69 + " yy"),
        ("x" * 71 + " > y", "x" * 71 + " \n > y"),
        ("x" * 100 + " y", "x" * 100 + " \ny"),
    ],
)
def test_flowed(text: str, expected: str) -> None:
    """Long lines are broken behind a space; what has a meaning at the beginning of a line is stuffed."""
    assert flowed(text) == expected
