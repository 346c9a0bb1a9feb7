"""``mail-gateway config``."""

from __future__ import annotations

from pathlib import Path

import click

from api.commands.frame import config_option, load
from api.commands.manual import Manual
from api.reference import reference as reference_page
from gateway import config as configuration


@click.group(cls=Manual)
def config() -> None:
    """Write a configuration, and see whether it is right."""


@config.command()
def example() -> None:
    """Print config.example.toml, to begin with."""
    click.echo(configuration.example(), nl=False)


@config.command()
@config_option
def check(path: Path | None) -> None:
    """Tell all mistakes of a configuration at once, and end with 2 if there are any."""
    load(path)
    click.echo(f"{path or 'The environment'} is right.")


@config.command()
def reference() -> None:
    """Print docs/configuration.md: every key with its meaning, bounds and default."""
    click.echo(reference_page(), nl=False)
