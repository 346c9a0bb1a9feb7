"""Whether finding checks that are due costs the same however many identities there are.

Two databases, one with a thousand identities and one with as many as asked for, have the same number of checks due.
Claims are made on both in turn, as a worker makes them, and their median times compared. The memory of this process
is read before and after: nothing of it may grow with the number of identities.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from uuid import uuid4

import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gateway.ports import system_clock
from storage import identities
from storage.embedded import EmbeddedMongod
from storage.identities import IDENTITIES, MongoIdentities
from storage.mongo import Document, Mongo
from storage.secrets import Vault

INTERVAL = timedelta(minutes=15)
LEASE = timedelta(seconds=60)
BATCH = 50  # of one claim: checks.concurrency
ROUNDS = 20
FEW = DUE = BATCH * ROUNDS
_INSERTED_AT_ONCE = 10_000


async def filled(server: EmbeddedMongod, name: str, count: int, progress: Progress) -> Mongo:
    """Return a database with so many identities, DUE of them due, the others in the course of the interval."""
    mongo = Mongo(server.uri, name, operation_ms=600_000)
    await mongo.ensure_indexes(identities.INDEXES)
    task = progress.add_task(f"{count:,} identities", total=count)
    for start in range(0, count, _INSERTED_AT_ONCE):
        numbers = range(start, min(start + _INSERTED_AT_ONCE, count))
        await mongo.collection(IDENTITIES).insert_many([_document(number, count) for number in numbers])
        progress.update(task, completed=numbers.stop)
    return mongo


def _document(number: int, count: int) -> Document:
    now = system_clock()
    later = now + timedelta(hours=1) + INTERVAL * (number / count)
    return {
        "_id": str(uuid4()),
        "user_id": str(uuid4()),
        "type": "remote",
        "protocol": "imap",
        "identifier": f"n{number}@example.org",
        "display_name": f"Number {number}",
        "status": "active",
        "infos": {"inserver": f"imap{number % 1000}.example.org", "outserver": "smtp.example.org"},
        "credentials": {},
        "last_check": None,
        "version": 0,
        "refusals": 0,
        "host": f"imap{number % 1000}.example.org",
        "check_at": now - LEASE if number % (count // DUE) == 0 else later,
        "date_insert": now,
    }


async def claim(mongo: Mongo) -> float:
    """Claim one batch; return the seconds that it took."""
    store = MongoIdentities(mongo, Vault(mongo, Path("unused")), system_clock)
    started = time.perf_counter()
    claimed = await store.claim(str(uuid4()), system_clock(), LEASE, BATCH)
    seconds = time.perf_counter() - started
    if len(claimed) != BATCH:
        raise SystemExit(f"{len(claimed)} of {BATCH} were claimed")
    return seconds


async def main(count: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        async with EmbeddedMongod(Path(directory), cache_gb=4) as server:
            with Progress(console=Console(stderr=True)) as progress:
                few = await filled(server, "few", FEW, progress)
                many = await filled(server, "many", count, progress)
            await many.client.admin.command("fsync")  # what filling left to write is not of the claims
            before = _rss_mb()
            times: dict[str, list[float]] = {"few": [], "many": []}
            for _ in range(ROUNDS):
                times["few"].append(await claim(few))
                times["many"].append(await claim(many))
            _print(count, median(times["few"]), median(times["many"]), _rss_mb() - before)
            few.close()
            many.close()


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _print(count: int, few: float, many: float, grown_mb: float) -> None:
    table = Table("Identities", f"One claim of {BATCH}, median", "Ratio")
    table.add_row(f"{FEW:,}", f"{few * 1000:.2f} ms", "1")
    table.add_row(f"{count:,}", f"{many * 1000:.2f} ms", f"{many / few:.2f}")
    console = Console()
    console.print(table)
    console.print(f"Memory of this process grew by {grown_mb:.1f} MB during the claims.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identities", type=int, default=1_000_000, help="a multiple of 1,000")
    uvloop.run(main(parser.parse_args().identities))
