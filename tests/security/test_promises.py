"""SECURITY.md: every promise names the tests that show it, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (?!promise|---)(.+) \| (.+) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
_NAMED = re.compile(r"`(tests/[\w/*.]+\.py)`")
_TESTS = re.compile(r"^ *(?:async )?def test_", re.MULTILINE)
_LONG = re.compile(r"^ *@pytest\.mark\.torture$|\bmarks=pytest\.mark\.torture\b", re.MULTILINE)


@pytest.mark.parametrize(("promise", "shown_by"), ROWS)
def test_promise(promise: str, shown_by: str) -> None:
    """The files that a promise names hold tests; daggers tell of those that take minutes, and of files of these."""
    sources = {name: (ROOT / name).read_text() for name in _NAMED.findall(shown_by)}
    assert sources
    assert all(_TESTS.search(source) for source in sources.values())
    long = {name: len(_LONG.findall(source)) for name, source in sources.items()}
    assert promise.endswith("†") == any(long.values())
    for name, source in sources.items():
        assert (f"`{name}` ‡" in shown_by) == (long[name] == len(_TESTS.findall(source)))


def test_threat_model() -> None:
    """The threat model names no test that is not there."""
    text = (ROOT / "docs" / "threat-model.md").read_text()
    names = _NAMED.findall(text)
    assert names
    assert all(list(ROOT.glob(name)) for name in names)
