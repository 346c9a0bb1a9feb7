"""``mail-gateway doctor``."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path

import click

from api.commands.frame import EXIT_FAILED, config_option, json_option, load, print_json, printable, run
from api.doctor import Observation, Verdict, examine
from gateway.config import Config

_COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}
_WIDTH = max(map(len, Verdict))


@click.command()
@config_option
@json_option
def doctor(path: Path | None, *, as_json: bool) -> None:
    """Look at database, keys, relay, DNS, clock and configuration, and say what to fix.

    It mends nothing by itself. Run it as the user that the gateway runs as; the gateway may run meanwhile. It ends
    with 1 when there is a problem; a warning is none.
    """
    found = run(_examine(load(path), path, as_json=as_json))
    if not as_json:
        click.echo(f"{found[Verdict.PROBLEM]} problems, {found[Verdict.WARNING]} warnings.")
    if found[Verdict.PROBLEM]:
        sys.exit(EXIT_FAILED)


async def _examine(config: Config, path: Path | None, *, as_json: bool) -> Counter[Verdict]:
    found: Counter[Verdict] = Counter()
    async for each in examine(config, path):
        found[each.verdict] += 1
        if as_json:
            print_json(dataclasses.asdict(each))
        else:
            _print(each)
    return found


def _print(observation: Observation) -> None:
    verdict = observation.verdict
    mark = click.style(f"{verdict:{_WIDTH}}", fg=_COLOURS[verdict], bold=verdict is not Verdict.OK)
    click.echo(f"{mark}  {observation.what}: {printable(observation.found)}")
    if observation.advice:
        click.echo(f"{'':{_WIDTH}}  {printable(observation.advice)}")
