"""A client that sends bytes as they are, a gateway in this process to send them to, and a user of it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import orjson

from api.main import running
from gateway import config as configuration
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.client import PASSWORD, draft

PATIENCE_S = 40.0  # an upper bound for what is to happen at once
_TAKEN = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document that it is."""
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = orjson.loads(self.content)
        assert document["status"] == self.status
        return document


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[Self]:
        """Connect; drop the connection at the end. Of what is not read little is taken."""
        parts = urlsplit(url)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _TAKEN)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=_TAKEN)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def send(self, data: bytes) -> None:
        """Send bytes. Raises OSError where the gateway has closed."""
        if self._writer.transport.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> Answer:
        """Read an answer, other than one to HEAD."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *fields = head.rstrip().split("\r\n")
            status = re.fullmatch(r"HTTP/1\.[01] (\d{3}) .*", first)
            assert status, first
            headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
            content = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return Answer(int(status[1]), headers, content)

    async def is_closed(self) -> bool:
        """True when the gateway closes the connection without another byte."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return not await self.reader.read(1)
            except ConnectionError:
                return True

    async def end(self) -> bytes:
        """Say that nothing more comes, and return all that the gateway still says."""
        said = b""
        with suppress(OSError):
            self._writer.write_eof()
            while data := await self.reader.read(65_536):
                said += data
        return said


class Author:
    """A user with one draft, whose path is ``draft``."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session
        self._token = self.draft = ""

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str) -> AsyncIterator[Self]:
        """Register and begin the draft."""
        async with aiohttp.ClientSession() as session:
            author = cls(url, session)
            me = {"username": f"author-{uuid4().hex[:8]}", "password": PASSWORD}
            await author.call("POST", "/api/v1/users", json=me)
            signed_in = await author.call("POST", "/api/v1/authentications", json=me)
            author._token = signed_in["tokens"]["access_token"]
            author.draft = await author.write("A body.")
            yield author

    async def write(self, body: str) -> str:
        """Create a draft; return its path."""
        (identity,) = (await self.call("GET", "/api/v2/identities/locals"))["local_identities"]
        created = await self.call("POST", "/api/v1/messages", json=draft(identity["identity_id"], body=body))
        location: str = created["location"]
        return location

    async def size(self, path: str) -> int:
        """Read an answer to its end; return how many bytes it has."""
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self._session.get(self._url + path, headers=headers) as response:
            assert response.ok
            return sum([len(piece) async for piece in response.content.iter_any()])

    @property
    def attachments(self) -> str:
        """Where its files are."""
        return f"{self.draft.replace('v1', 'v2')}/attachments"

    async def call(self, verb: str, path: str, **kwargs: Any) -> Any:
        """Return the JSON of an answer that is a success."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        async with self._session.request(verb, self._url + path, headers=headers, **kwargs) as response:
            assert response.ok, await response.text()
            return await response.json(content_type=None)

    async def attach(self, content: Any) -> str:
        """Put a file on the draft; return its path."""
        form = aiohttp.FormData()
        form.add_field("attachment", content, filename="a", content_type="application/x-thing")
        attached = await self.call("POST", self.attachments, data=form())
        return f"{self.attachments}/{attached['temp_id']}"

    async def order(self) -> str:
        """Order the draft, for tomorrow; return the path of its bytes."""
        later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        body = {"actions": ["send"], "params": {"send_at": later}}
        ordered = await self.call("POST", f"{self.draft}/actions", json=body)
        return f"/api/v1/raws/{ordered['raw_msg_id']}"

    def head(self, verb: str, path: str, *fields: str) -> bytes:
        """Return the header of a request of the user's."""
        lines = [f"{verb} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self._token}", *fields]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


async def metric(url: str, name: str) -> float:
    """Return the value of a metric, labels included in its name; 0 where there is none yet."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name)


@asynccontextmanager
async def gateway(
    mongod: EmbeddedMongod, mongo: Mongo, data_dir: Path, **tables: dict[str, Any]
) -> AsyncIterator[str]:
    """Run a gateway with these further tables of its configuration; yields its URL."""
    document = {
        "storage": {"uri": mongod.uri, "database": mongo.database.name, "data_dir": str(data_dir)},
        "accounts": {"local_domain": "home.example"},
        "relay": {"tls": "none"},
        "checks": {"poll_s": 60},
        **tables,
        "server": {"port": 0, **tables.get("server", {})},
    }
    async with running(configuration.build(document)) as (_, url):
        yield url
