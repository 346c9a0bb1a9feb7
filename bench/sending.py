"""What sending costs: a backlog of many identities, beside aiosmtplib alone on connections that stay open."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosmtplib

from api.operate import opened
from bench.backlog import Backlog, Run, memory
from bench.figures import Figure, Target
from bench.people import BODY, RECIPIENT, Person, orders, person
from bench.servers import Sinks, Site, sinks
from storage.messages import MESSAGES

_PEOPLE = 50
_MESSAGES = 5000


async def measure(uri: str, directory: Path, rounds: int) -> Sequence[Figure]:
    """Measure gateway and floor in turn."""
    runs, floor = [], []
    async with sinks(directory) as servers:
        site = Site(directory / "sending", uri, mail_ports=[servers.port])
        people = await senders(site, servers)
        for _ in range(rounds):
            runs.append(await sending(site, people, _MESSAGES))
            floor.append(await bare_sending(servers, _MESSAGES))
    return [
        Figure("sending", "messages/s", [run.per_s for run in runs], floor, Target("≥", 0.15, least=500)),
        memory("memory, sending", runs),
    ]


async def senders(site: Site, servers: Sinks) -> Sequence[Person]:
    """Register users with one identity each, by turns at one of the providers."""
    # A name and no password: a sink answers AUTH wrongly, and what is sealed has to be opened all the same.
    credentials = {"outusername": "me"}
    async with opened(site.settings()) as (_, core):
        people = []
        for number, host in zip(range(_PEOPLE), itertools.cycle(servers.hosts), strict=False):
            infos = {"outserver": f"{host}:{servers.port}", "outtls": "none"}
            people.append(await person(core, f"sender{number}", "smtp", 1, infos, credentials))
        return people


async def sending(site: Site, people: Sequence[Person], messages: int, **gateways: Any) -> Run:
    """Return how new gateways send a backlog."""
    async with opened(site.settings()) as (stores, core):
        await orders(core, people, messages)
        backlog = Backlog(stores.mongo, MESSAGES, {}, "delivery.due_at")
        return await backlog.worked_off(site, **gateways)


async def bare_sending(servers: Sinks, messages: int) -> float:
    """Return the messages per second of aiosmtplib alone, on one open connection for each identity."""
    raw = f"Subject: x\r\n\r\n{BODY}".encode()

    async def connection(host: str, count: int) -> None:
        async with aiosmtplib.SMTP(hostname=host, port=servers.port, start_tls=False) as client:
            for _ in range(count):
                await client.sendmail("me@home.example", [RECIPIENT], raw)

    hosts = list(servers.hosts) * (_PEOPLE // len(servers.hosts))
    started = time.perf_counter()
    await asyncio.gather(*(connection(host, messages // _PEOPLE) for host in hosts))
    return messages / (time.perf_counter() - started)
