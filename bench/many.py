"""Whether anything costs more where a million identities are stored than where there are a thousand.

One database server has both databases. The strangers in them are not due and nobody asks for them, but they are in
every index, and there are more of them than the server's cache holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from rich.progress import Progress

from api.operate import opened
from bench import requests
from bench.backlog import Run
from bench.checking import Provider, checking, holders, provider
from bench.figures import NO_SLOWER, Figure
from bench.sending import senders, sending
from bench.servers import Sinks, Site, sinks
from gateway.ports import system_clock
from storage.identities import IDENTITIES
from storage.mongo import Document, Mongo

FEW, MANY = 1_000, 1_000_000
_MESSAGES = 2000
_ACCOUNTS = 500
_INSERTED_AT_ONCE = 10_000
_HOSTS = 1000


async def measure(uri: str, directory: Path, rounds: int) -> Sequence[Figure]:
    """Measure requests, sending and checking with many identities stored, beside the same with few."""
    async with sinks(directory) as servers:
        with provider() as mail:
            ports = [servers.port, *mail.ports]
            few, many = (Site(directory / name, uri, name, ports, mail.ca_file) for name in ("few", "many"))
            await fill(few, FEW)
            await fill(many, MANY)
            figures = [
                *await requests.compare(few, many, rounds),
                await _sent([few, many], servers, rounds),
                await _checked([few, many], mail, rounds),
            ]
    return [replace(each, what=f"{each.what}, {MANY:,} identities beside {FEW:,}") for each in figures]


async def _sent(sites: Sequence[Site], servers: Sinks, rounds: int) -> Figure:
    people = [await senders(site, servers) for site in sites]
    runs = [[await sending(*place, _MESSAGES) for place in zip(sites, people, strict=True)] for _ in range(rounds)]
    return _compared("sending", "messages/s", runs)


async def _checked(sites: Sequence[Site], mail: Provider, rounds: int) -> Figure:
    for site in sites:
        await holders(site, mail, _ACCOUNTS)
        await checking(site, _ACCOUNTS)  # Dovecot makes its folders
    runs = [[await checking(site, _ACCOUNTS) for site in sites] for _ in range(rounds)]
    return _compared("checks", "checks/s", runs)


def _compared(what: str, unit: str, runs: Sequence[Sequence[Run]]) -> Figure:
    return Figure(what, unit, [many.per_s for _, many in runs], [few.per_s for few, _ in runs], NO_SLOWER)


async def fill(site: Site, count: int) -> None:
    """Store so many identities of as many strangers, to be checked in the course of an hour after the next one."""
    async with opened(site.settings()) as (stores, _):
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(f"Storing {count:,} identities", total=count)
            for start in range(0, count, _INSERTED_AT_ONCE):
                numbers = range(start, min(start + _INSERTED_AT_ONCE, count))
                documents = [_stranger(number, count) for number in numbers]
                await stores.mongo.collection(IDENTITIES).insert_many(documents, ordered=False)
                progress.update(task, completed=numbers.stop)
        await settled(stores.mongo)


async def settled(mongo: Mongo) -> None:
    """Return when the server has written what is left to write, which is of no measurement."""
    await mongo.client.admin.command("fsync")


def _stranger(number: int, count: int) -> Document:
    now = system_clock()
    host = f"imap{number % _HOSTS}.example.org"
    return {
        "_id": str(uuid4()),
        "user_id": str(uuid4()),
        "type": "remote",
        "protocol": "imap",
        "identifier": f"n{number}@example.org",
        "display_name": f"Number {number}",
        "status": "active",
        "infos": {"inserver": f"{host}:993", "outserver": "smtp.example.org:465", "pollinterval": "60"},
        "credentials": {},
        "last_check": now,
        "version": 0,
        "refusals": 0,
        "host": host,
        "other_host": "smtp.example.org",
        "check_at": now + timedelta(hours=2) + timedelta(hours=1) * (number / count),
        "date_insert": now,
    }
