"""How fast one gateway sends, beside a bare SMTP loop to the same sink.

A gateway with a database of its own gets orders from many identities, all due at one moment, so that what is
measured is claiming, sending and recording. Then orders come one after the other, and what counts is the time from
order to record. The floor is aiosmtplib with open connections and nothing durable. Postfix's smtp-sink takes the
messages.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import aiosmtplib
import uvloop
from rich.console import Console
from rich.table import Table

from api.main import Gateway, assembled
from gateway import config as configuration
from gateway.compose import Wording
from gateway.connect import NewRemote
from gateway.delivery import DeliveryState
from gateway.identity import Credentials
from gateway.message import Message, Participant
from gateway.ports import system_clock

IDENTITIES = 50
BODY = ("A line of a letter that is neither short nor long.\r\n" * 40)[:1700]  # about 2 kB with its header
RECIPIENT = "friend@elsewhere.example"
_ORDERS_AT_ONCE = 16
_ORDERS_PER_S = 150  # far below what can be ordered
_LATENCIES = 300
_DEADLINE_S = 120.0
_ALL_S = 300.0
_SINK_BACKLOG = "1000"


@asynccontextmanager
async def sink() -> AsyncIterator[int]:
    """Run smtp-sink on a free port of 127.0.0.1; yield the port."""
    binary = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("smtp-sink is not installed: apt-get install postfix")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    user = ["-u", "nobody"] if os.getuid() == 0 else []  # it refuses to serve as root
    process = await asyncio.create_subprocess_exec(binary, *user, f"127.0.0.1:{port}", _SINK_BACKLOG)
    try:
        await _answering(port)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _answering(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def floor(port: int, messages: int) -> float:
    """Return the messages per second of bare connections, one for each identity."""
    raw = f"Subject: x\r\n\r\n{BODY}".encode()

    async def connection(count: int) -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            for _ in range(count):
                await client.sendmail("me@home.example", [RECIPIENT], raw)

    started = time.perf_counter()
    await asyncio.gather(*(connection(messages // IDENTITIES) for _ in range(IDENTITIES)))
    return messages / (time.perf_counter() - started)


def settings(directory: Path, port: int) -> configuration.Config:
    """Return the configuration of a gateway that may send to the sink."""
    return configuration.build(
        {
            "accounts": {"local_domain": "home.example"},
            "storage": {"data_dir": str(directory)},
            "network": {"allow": ["127.0.0.0/8"], "ports": [port], "allow_plaintext": True},
        }
    )


class Senders:
    """Identities of one user, and what they send."""

    def __init__(self, gateway: Gateway, user_id: str, identity_ids: Sequence[str]) -> None:
        self._gateway = gateway
        self._user_id = user_id
        self._identity_ids = identity_ids
        self._turn = asyncio.Semaphore(_ORDERS_AT_ONCE)

    async def draft(self, number: int) -> Message:
        """Write a draft."""
        wording = Wording(
            identity_id=self._identity_ids[number % len(self._identity_ids)],
            subject=f"Letter {number}",
            body=BODY,
            participants=[Participant(RECIPIENT, "", "To")],
        )
        async with self._turn:
            compose = self._gateway.core.compose
            message_id = await compose.create(self._user_id, wording, message_id=None, fingerprint="")
            return await compose.get(self._user_id, message_id)

    async def order(self, message: Message, send_at: datetime | None = None) -> None:
        """Order the sending of a draft."""
        async with self._turn:
            await self._gateway.core.send.order(self._user_id, message.message_id, send_at)

    async def send(self, message: Message, send_at: datetime | None = None) -> None:
        """Order the sending of a draft; wait until it is recorded as sent."""
        outcome = asyncio.create_task(self._gateway.core.send.outcomes.wait(message, _DEADLINE_S))
        await self.order(message, send_at)
        told = await outcome
        if told is None or told.delivery is None or told.delivery.state is not DeliveryState.SENT:
            raise SystemExit(f"not sent: {told.delivery if told else 'no outcome in time'}")


async def senders(gateway: Gateway, port: int) -> Senders:
    """Store the identities that send, with credentials that are to be opened for each message."""
    user = await gateway.core.accounts.register("bench", "a long password", None, None, source="")
    infos = {"outserver": f"127.0.0.1:{port}", "outtls": "none"}
    added = [
        await gateway.core.connect.add_remote(
            user.user_id,
            NewRemote(
                protocol="smtp",
                identifier=f"me{number}@elsewhere.example",
                infos=infos,
                credentials=Credentials({"outusername": "me"}),  # no password: the sink answers AUTH wrongly
            ),
        )
        for number in range(IDENTITIES)
    ]
    return Senders(gateway, user.user_id, [identity.identity_id for identity in added])


async def backlog(letters: Senders, messages: int) -> float:
    """Return the messages per second of a backlog that becomes due at one moment."""
    drafts = await asyncio.gather(*(letters.draft(number) for number in range(messages)))
    due = system_clock() + timedelta(seconds=2 + messages / _ORDERS_PER_S)
    sending = [asyncio.create_task(letters.send(draft, due)) for draft in drafts]
    await asyncio.sleep((due - system_clock()).total_seconds())
    started = time.perf_counter()
    await asyncio.gather(*sending)
    return messages / (time.perf_counter() - started)


async def latencies(letters: Senders, messages: int) -> Sequence[float]:
    """Return the seconds from order to record, one message after the other, shortest first."""
    taken = []
    for number in range(messages):
        draft = await letters.draft(number)
        started = time.perf_counter()
        await letters.send(draft)
        taken.append(time.perf_counter() - started)
    return sorted(taken)


def peak_mb() -> float:
    """Return the most memory that this process had resident, in MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


async def measure(messages: int) -> None:
    """Measure and print."""
    table = Table("What", "Value", title=f"{messages} messages of 2 kB from {IDENTITIES} identities")
    with tempfile.TemporaryDirectory() as directory:
        async with sink() as port, assembled(settings(Path(directory), port)) as gateway:
            letters = await senders(gateway, port)
            rate = await backlog(letters, messages)
            resident = peak_mb()
            taken = await latencies(letters, min(messages, _LATENCIES))
            bare = await floor(port, messages)
    table.add_row("backlog", f"{rate:,.0f} messages/s")
    table.add_row("floor: aiosmtplib alone, nothing durable", f"{bare:,.0f} messages/s")
    table.add_row("ratio", f"{rate / bare:.2f}")
    for share in (50, 95):
        table.add_row(f"order to record, {share}%", f"{taken[len(taken) * share // 100] * 1000:.1f} ms")
    table.add_row("peak memory of the gateway", f"{resident:,.0f} MB")
    Console().print(table)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=5000)
    uvloop.run(asyncio.wait_for(measure(parser.parse_args().messages), _ALL_S))


if __name__ == "__main__":
    main()
