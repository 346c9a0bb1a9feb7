"""What operators install: the unit of systemd, the container file, and the pages that lead there."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import get_type_hints

import click
import pytest

from api.cli import main
from gateway.config import Config

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging" / "mail-gateway.service"
CONTAINER = ROOT / "packaging" / "Containerfile"
PAGES = sorted((ROOT / "docs").glob("*.md"))
MOST_EXPOSED = 20  # tenths, of the hundred that systemd-analyze(1) has

with_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def analyze(*arguments: str | Path) -> None:
    """Have systemd look at the unit."""
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 - ours, by whichever there is
    assert done.returncode == 0, done.stdout + done.stderr


@with_systemd
def test_unit(tmp_path: Path) -> None:
    """Systemd takes the unit as it is, but for the program, which is not installed here."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    analyze("verify", unit)


@with_systemd
def test_hardening() -> None:
    """The service has little that it could be abused for."""
    analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", UNIT)


def parses(words: Sequence[str]) -> bool:
    """True when the command has these words and options; it is not run."""
    command: click.Command = main
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return False
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return all(word.partition("=")[0] in known for word in words if word.startswith("-") and word != "-")


def test_started_as_it_can_be() -> None:
    """The unit starts the command with arguments that it has."""
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    program, *words = shlex.split(line)
    assert Path(program).name == "mail-gateway"
    assert parses(words)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", CONTAINER], ids=lambda page: page.name)
def test_commands_of_pages(page: Path) -> None:
    """Every command that a page names is one, with the options that it has."""
    text = page.read_text()
    named = re.findall(r"(?:^|`|\|\s|-- )mail-gateway ((?!\[)[^`\n|>#]+)", text, re.MULTILINE)
    for words in named:
        assert parses(shlex.split(words.rstrip(".\\ "), comments=True)), words


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Every file that a page links to is there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_variables() -> None:
    """Every variable that container file and pages set is a key of the configuration."""
    texts = [path.read_text() for path in (CONTAINER, *PAGES)]
    known = {
        f"GATEWAY_{section}__{field.name}".upper()
        for section, kind in get_type_hints(Config).items()
        for field in dataclasses.fields(kind)
    }
    assert set(re.findall(r"\bGATEWAY_[A-Z]+__[A-Z_]+", "\n".join(texts))) - {"GATEWAY_SECTION__KEY"} <= known


def test_configurations() -> None:
    """Every key that the page on installing sets is one."""
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "install.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        for section, values in tomllib.loads(block).items():
            assert values.keys() <= get_type_hints(get_type_hints(Config)[section]).keys()


@pytest.mark.parametrize("target", ["tests", "torture"])
def test_targets(target: str) -> None:
    """Pytest takes the options that the Makefile has for it."""
    said = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603, S607 - ours, by whichever there is
    (command,) = re.findall(r"^\S+/pytest.*$", said.stdout, re.MULTILINE)
    words = [*shlex.split(command)[1:], "--collect-only", "--ignore-glob=*/test_*"]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, check=False)  # noqa: S603 - ours
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stderr.decode()


def test_copied() -> None:
    """All that the image copies is here, all packages among it."""
    sources = [
        word
        for line in re.findall(r"^COPY (.*) \S+$", CONTAINER.read_text(), re.MULTILINE)
        for word in line.split()
    ]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {package.partition(".")[0] for package in packages} <= set(sources)
