"""The manual: what --help prints."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from api.cli import main
from api.commands import frame

NARROW, WIDE = 40, 120


def commands(
    group: click.Group = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its words."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def summary(command: click.Command) -> str:
    """Return the first paragraph of its help."""
    return " ".join((command.help or "").partition("\n\n")[0].split())


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_one_sentence(words: tuple[str, ...]) -> None:
    """Each command says in one sentence what it does, and its options say what they are for."""
    command = dict(commands())[words]
    said = summary(command)
    assert said.endswith(".")
    assert said.count(". ") == 0
    assert said[0].isupper()
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    assert CliRunner().invoke(main, [*words, "--help"]).exit_code == 0


@pytest.mark.parametrize("columns", [NARROW, WIDE])
def test_whole_sentences(columns: int) -> None:
    """However narrow the terminal, no sentence of the manual is cut short."""
    shown = CliRunner().invoke(main, ["--help"], terminal_width=columns).output
    flat = " ".join(shown.split())
    for name, command in main.commands.items():
        assert f"{name} {summary(command)}" in flat
    assert "Exit codes" in flat
    users = main.commands["users"]
    assert isinstance(users, click.Group)
    shown = CliRunner().invoke(main, ["users", "--help"], terminal_width=columns).output
    assert f"set-password {summary(users.commands['set-password'])}" in " ".join(shown.split())


def test_exit_codes() -> None:
    """The manual has the exit codes that are used, once, and not in the help of each command."""
    shown = CliRunner().invoke(main, ["--help"]).output
    codes = [line.split()[0] for line in shown.partition("Exit codes:")[2].splitlines() if line[2:3].isdecimal()]
    assert codes == [
        "0",
        *map(str, (frame.EXIT_FAILED, frame.EXIT_CONFIGURATION, frame.EXIT_START, frame.EXIT_SIGNAL)),
    ]
    assert "Exit codes" not in CliRunner().invoke(main, ["users", "--help"]).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """The script for a shell asks the command itself what goes on."""
    script = CliRunner().invoke(main, ["completion", shell], prog_name="mail-gateway").output
    assert f"_MAIL_GATEWAY_COMPLETE={shell}_complete" in script
    asked = {"_MAIL_GATEWAY_COMPLETE": f"{shell}_complete", "COMP_WORDS": "mail-gateway us", "COMP_CWORD": "1"}
    if shell == "fish":
        asked["COMP_CWORD"] = "us"
    assert "users" in CliRunner().invoke(main, [], prog_name="mail-gateway", env=asked).output


def test_completion_in_bash() -> None:
    """Bash takes the script."""
    script = CliRunner().invoke(main, ["completion", "bash"], prog_name="mail-gateway").output
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)  # noqa: S607 - whichever bash there is
