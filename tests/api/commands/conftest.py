"""The command, run in this process on the database of the gateway under test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api.cli import main

Command = Callable[..., Awaitable[Result]]


def toml(document: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a configuration as a file has it; TOML writes these values as JSON does."""
    lines: list[str] = []
    for section, values in document.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines)


def files_in(directory: Path) -> set[str]:
    """Return the names of what lies in a directory."""
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def config_file(settings: dict[str, Any], tmp_path: Path) -> Path:
    """The configuration of the gateway under test."""
    path = tmp_path / "config.toml"
    path.write_text(toml(settings))
    return path


@pytest.fixture
def command(config_file: Path) -> Command:
    """Runs ``mail-gateway`` with these arguments; ``columns`` is how wide its terminal is."""

    async def run(*arguments: str, stdin: str | bytes = "", columns: int = 200) -> Result:
        words = [*arguments, "--config", str(config_file)]
        return await asyncio.to_thread(
            CliRunner().invoke, main, words, stdin, {"COLUMNS": str(columns)}, catch_exceptions=False
        )

    return run
