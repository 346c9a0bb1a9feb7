"""SECURITY.md: every promise names the tests that show it, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (?!promise|---)(.+) \| (.+) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
_NAMED = re.compile(r"`(tests/[\w/*.]+\.py)`")


@pytest.mark.parametrize(("promise", "shown_by"), ROWS)
def test_promise(promise: str, shown_by: str) -> None:
    """The files that a promise names are there and hold tests; one with a dagger has some that take minutes."""
    sources = [(ROOT / name).read_text() for name in _NAMED.findall(shown_by)]
    assert sources
    assert all(re.search(r"^ *(async )?def test_", source, re.MULTILINE) for source in sources)
    assert promise.endswith("†") <= any("torture" in source for source in sources)


def test_threat_model() -> None:
    """The threat model names no test that is not there."""
    text = (ROOT / "docs" / "threat-model.md").read_text()
    names = _NAMED.findall(text)
    assert names
    assert all(list(ROOT.glob(name)) for name in names)
