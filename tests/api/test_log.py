"""The log: one line an event, whatever comes from outside."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Iterator

import orjson
import pytest
from aiohttp import BadContentDispositionHeader

from api import log
from gateway.config import LogSection

FORGED = "/a\n2026-07-20 [info] administrator signed in\x1b[2J\u2028\x9b1m\r"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Leave the root logger and the warnings as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.mark.parametrize("form", ["json", "console"])
def test_hostile_text(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Text from outside neither begins a line of its own nor steers the terminal, as event or beside it."""
    log.configure(LogSection(format=form))
    logging.getLogger("test").warning(FORGED, extra={"path": FORGED})
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert shown.removesuffix("\n").isprintable()
    if form == "json":
        assert orjson.loads(shown)["path"] == FORGED


def test_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of a library is an event like others; what aiohttp warns of, which clients cause, is none."""
    log.configure(LogSection(format="json"))
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.warn(BadContentDispositionHeader(FORGED), stacklevel=1)
        warnings.warn("an old function", UserWarning, stacklevel=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search("an old function", orjson.loads(line)["event"])


@pytest.mark.parametrize("is_terminal", [True, False])
def test_hostile_exception(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    """What an exception tells stands below its event, and no line of it can be taken for one."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    log.configure(LogSection())
    try:
        "".encode(FORGED)
    except LookupError:
        logging.getLogger("test").exception("it failed")
    first, *others = capsys.readouterr().err.splitlines()
    assert "it failed" in first
    assert "LookupError" in "".join(others)
    assert all(line.startswith("  ") and line.isprintable() for line in others)
