"""Whether two workers do no more work than one: what a piece costs, and whether any is done twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.backlog import Run
from bench.checking import checking, holders, provider
from bench.figures import NO_MORE, Figure, Target
from bench.sending import senders, sending
from bench.servers import Site, sinks

_MESSAGES = 2500
_ACCOUNTS = 500
_ONE: Mapping[str, Any] = {"role": "worker"}
_TWO: Mapping[str, Any] = {"role": "worker", "processes": 2}


async def measure(uri: str, directory: Path, rounds: int) -> Sequence[Figure]:
    """Let one worker and two do the same, in turn."""
    return [*await _sent(uri, directory, rounds), *await _checked(uri, directory, rounds)]


async def _sent(uri: str, directory: Path, rounds: int) -> Sequence[Figure]:
    async with sinks(directory) as servers:
        site = Site(directory / "sent", uri, "sent", [servers.port])
        people = await senders(site, servers)
        runs = [[await sending(site, people, _MESSAGES, **how) for how in (_ONE, _TWO)] for _ in range(rounds)]
        twice = servers.taken() - 2 * rounds * _MESSAGES
    return [
        _cost("processor time of a message, two workers beside one", runs),
        Figure("messages sent twice, or not", "", [twice], target=Target("=", 0)),
    ]


async def _checked(uri: str, directory: Path, rounds: int) -> Sequence[Figure]:
    with provider() as servers:
        site = Site(directory / "checked", uri, "checked", servers.ports, servers.ca_file)
        await holders(site, servers, _ACCOUNTS)
        await checking(site, _ACCOUNTS)  # Dovecot makes its folders
        before = servers.dovecot.logins()
        runs = [[await checking(site, _ACCOUNTS, **how) for how in (_ONE, _TWO)] for _ in range(rounds)]
        twice = servers.dovecot.logins() - before - 2 * rounds * _ACCOUNTS
    return [
        _cost("processor time of a check, two workers beside one", runs),
        Figure("checks done twice, or not", "", [twice], target=Target("=", 0)),
    ]


def _cost(what: str, runs: Sequence[Sequence[Run]]) -> Figure:
    return Figure(what, "ms", [two.cpu_ms for _, two in runs], [one.cpu_ms for one, _ in runs], NO_MORE)
