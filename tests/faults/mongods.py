"""MongoDB servers of an operator's own: a replica set on loopback, whose members can be killed and started."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from storage import embedded
from tests.ports import free_port

_PATIENCE_S = 60


class Member:
    """One mongod."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)

    @property
    def name(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; it is ready some time later."""
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and the binary that the gateway would run
            [
                *(embedded.find_binary(), "--dbpath", str(self.directory), "--replSet", "rs0"),
                *("--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket"),
                *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--quiet"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                *("--logpath", str(self.directory / "mongod.log"), "--logappend"),
            ],
            stdout=subprocess.DEVNULL,
            preexec_fn=embedded.dying_with_parent(),  # noqa: PLW1509 - two system calls, bound before the fork
        )

    def kill(self) -> None:
        """End it as power cuts do."""
        if self._process:
            self._process.kill()
            self._process.wait()


class ReplicaSet:
    """So many members; also an asynchronous context manager, which removes the data."""

    def __init__(self, directory: Path, size: int) -> None:
        self.members = [Member(directory / str(number)) for number in range(size)]
        self._directory = directory

    @property
    def uri(self) -> str:
        """The connection string."""
        return f"mongodb://{','.join(member.name for member in self.members)}/?replicaSet=rs0"

    async def __aenter__(self) -> Self:
        for member in self.members:
            member.start()
        members: Sequence[dict[str, Any]] = [
            {"_id": number, "host": member.name} for number, member in enumerate(self.members)
        ]
        client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(self.members[0].name, directConnection=True)
        await client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
        client.close()
        await self.primary()
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()
        shutil.rmtree(self._directory)

    async def complete(self) -> None:
        """Return when every member is the primary or follows it."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                answers = [await command(member, "hello") for member in self.members]
                if all(each.get("isWritablePrimary") or each.get("secondary") for each in answers):
                    return
                await asyncio.sleep(0.05)

    async def primary(self) -> Member:
        """Return the member that takes writes, as soon as there is one."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                for member in self.members:
                    if (await command(member, "hello")).get("isWritablePrimary"):
                        return member
                await asyncio.sleep(0.05)

    async def secondaries(self) -> Sequence[Member]:
        """Return the members that do not, when all are there."""
        await self.complete()
        primary = await self.primary()
        return [member for member in self.members if member is not primary]


async def command(member: Member, name: str, value: Any = 1, **arguments: Any) -> dict[str, Any]:
    """Ask one member; empty where it does not answer."""
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(
        member.name, directConnection=True, serverSelectionTimeoutMS=300
    )
    try:
        with suppress(PyMongoError):
            answer: dict[str, Any] = await client.admin.command({name: value, **arguments})
            return answer
        return {}
    finally:
        client.close()
