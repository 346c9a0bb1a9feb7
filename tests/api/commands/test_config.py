"""``mail-gateway config``, and the page that it prints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_type_hints

from click.testing import CliRunner

from api.cli import main
from gateway.config import Config
from tests.api.commands.conftest import Command

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


async def test_right(command: Command, config_file: Path) -> None:
    """A configuration without mistakes is called right."""
    result = await command("config", "check")
    assert (result.exit_code, result.stdout) == (0, f"{config_file} is right.\n")


def test_wrong(tmp_path: Path) -> None:
    """All mistakes are told at once, with exit code 2."""
    path = tmp_path / "config.toml"
    path.write_text('[server]\nport = "x"\n[accounts]\nlocal_domain = "-"\n[sever]\n')
    result = CliRunner().invoke(main, ["config", "check", "--config", str(path)])
    assert result.exit_code == 2
    for key in ("server.port", "accounts.local_domain", "sever"):
        assert f"  - {key}: " in result.stderr


def test_reference() -> None:
    """docs/configuration.md is what the command prints: mail-gateway config reference > docs/configuration.md."""
    assert CliRunner().invoke(main, ["config", "reference"]).output == PAGE.read_text()


def test_every_key() -> None:
    """The page has every key, with its variable."""
    page = PAGE.read_text()
    for section, kind in get_type_hints(Config).items():
        for field in dataclasses.fields(kind):
            assert f"### `{section}.{field.name}`" in page
            assert f"`GATEWAY_{section.upper()}__{field.name.upper()}`" in page
