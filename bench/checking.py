"""What checks cost: accounts of a provider with Dovecot and Postfix, beside the bare libraries doing the same."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosmtplib
import trustme
from aioimaplib import aioimaplib

from api.operate import opened
from bench.backlog import Backlog, Run, memory
from bench.figures import Figure, Target
from bench.people import person
from bench.servers import Site
from storage.identities import IDENTITIES
from tests.e2e.postfix import Postfix
from tests.protocols.dovecot import Dovecot

_PEOPLE = 50
_ACCOUNTS = 2000
_PER_HOST = 10
"""The default of checks.per_host: all accounts are on one host."""


async def measure(uri: str, directory: Path, rounds: int) -> Sequence[Figure]:
    """Measure gateway and floor in turn."""
    runs, floor = [], []
    with provider() as servers:
        site = Site(directory / "checking", uri, mail_ports=servers.ports, ca_file=servers.ca_file)
        await holders(site, servers, _ACCOUNTS)
        for number in range(rounds + 1):
            run, bare = await checking(site, _ACCOUNTS), await bare_checking(servers, _ACCOUNTS)
            if number:  # Dovecot makes its folders at the first sign-in of each
                runs.append(run)
                floor.append(bare)
    return [
        Figure("checks", "checks/s", [run.per_s for run in runs], floor, Target("≥", 0.6)),
        memory("memory, checking", runs),
    ]


class _Dovecot(Dovecot):
    """One whose password LOGIN can say, which is all that the floor can."""

    password = "dovecot-password"  # noqa: S105 - everybody may know it

    def logins(self) -> int:
        """Return how often somebody has signed in, by its log."""
        return self.log.count("imap-login: Info: Login")


@dataclass(frozen=True, slots=True)
class Provider:
    """A mail provider of Dovecot and Postfix; TLS and a sign-in at both, for any user name."""

    dovecot: _Dovecot
    postfix: Postfix
    ca_file: str

    @property
    def ports(self) -> Sequence[int]:
        """Where it listens."""
        return [self.dovecot.tls_port, self.postfix.port]


@contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider."""
    authority = trustme.CA()
    with (
        authority.cert_pem.tempfile() as ca_file,
        _Dovecot(authority, for_an_mta=True) as dovecot,
        Postfix(authority, dovecot) as postfix,
    ):
        yield Provider(dovecot, postfix, ca_file)


async def holders(site: Site, servers: Provider, accounts: int) -> None:
    """Register users with so many identities in all, whose mailboxes are at the provider."""
    infos = {"inserver": f"{servers.dovecot.host}:{servers.dovecot.tls_port}", "intls": "implicit"}
    infos |= {"outserver": f"{servers.postfix.host}:{servers.postfix.port}", "outtls": "starttls"}
    credentials = {"inusername": "{identifier}", "inpassword": servers.dovecot.password}
    async with opened(site.settings()) as (_, core):
        for n in range(_PEOPLE):
            await person(core, f"holder{n}", "imap", accounts // _PEOPLE, infos, credentials)


async def checking(site: Site, accounts: int, **gateways: Any) -> Run:
    """Return how new gateways check accounts that are all due. Ends the run where a check fails."""
    of_provider = {"host": Dovecot.host}
    async with opened(site.settings()) as (stores, _):
        identities = stores.mongo.collection(IDENTITIES)
        run = await Backlog(stores.mongo, IDENTITIES, of_provider, "check_at").worked_off(site, **gateways)
        checked = {**of_provider, "last_check": {"$ne": None}, "infos.lastFetchError": {"$exists": False}}
        if (good := await identities.count_documents(checked)) != accounts:
            raise SystemExit(f"{good} of {accounts} checks succeeded")
        return run


async def bare_checking(servers: Provider, accounts: int) -> float:
    """Return how often aioimaplib and aiosmtplib alone do the same steps each second, as many at once."""
    numbers = iter(range(accounts))
    tls = ssl.create_default_context(cafile=servers.ca_file)
    dovecot, postfix = servers.dovecot, servers.postfix

    async def imap(username: str) -> None:
        client = aioimaplib.IMAP4_SSL(dovecot.host, dovecot.tls_port, ssl_context=tls)
        await client.wait_hello_from_server()
        await client.login(username, dovecot.password)
        await client.status("INBOX", "(UIDNEXT UIDVALIDITY UNSEEN)")
        await client.list('""', '"*"')
        await client.logout()

    async def smtp(username: str) -> None:
        async with aiosmtplib.SMTP(
            hostname=postfix.host, port=postfix.port, start_tls=True, tls_context=tls
        ) as client:
            await client.login(username, dovecot.password)

    async def one_after_the_other() -> None:
        for number in numbers:
            username = f"bare{number}@elsewhere.example"
            await asyncio.gather(imap(username), smtp(username))

    started = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(_PER_HOST)))
    return accounts / (time.perf_counter() - started)
