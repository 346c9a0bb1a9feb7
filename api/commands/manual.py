"""``mail-gateway --help`` as a manual: the commands by sections, each with a whole sentence, and the exit codes."""

from __future__ import annotations

from typing import Any

import click

_ENDLESS = 10_000
_EXIT_CODES = (
    ("0", "Done."),
    ("1", "The command ran, and what it was asked for failed or was not found."),
    ("2", "Wrong usage, or a wrong configuration."),
    ("3", "It cannot start: the port is in use, the database does not answer, the key file is missing."),
    ("130", "Ctrl-C or another signal came before it was done."),
)


class Manual(click.Group):
    """A group whose help lists the commands as they were added, by sections where there are any."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._titles: dict[str, str] = {}

    def section(self, title: str, *commands: click.Command) -> None:
        """Add commands under a title."""
        for command in commands:
            self.add_command(command)
            self._titles[command.name or ""] = title

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names as they were added."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, in a sentence that is not cut short."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            line = (name, self.commands[name].get_short_help_str(_ENDLESS))
            sections.setdefault(self._titles.get(name, "Commands"), []).append(line)
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl(lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the exit codes mean, for the command as a whole."""
        if ctx.parent is None:
            with formatter.section("Exit codes"):
                formatter.write_dl(_EXIT_CODES)
