"""A line to the database that can be cut: a TCP port in front of its socket."""

from __future__ import annotations

import asyncio
from typing import Self
from urllib.parse import unquote, urlsplit

_PIECE = 65_536


class Line:
    """Stands in front of the MongoDB at a UNIX socket; ``uri`` is the way through. An asynchronous context manager.

    ``cut_at``: what a client says that cuts the line, before the database hears it; ``after`` so many of them.
    """

    def __init__(self, uri: str, cut_at: bytes = b"", after: int = 0) -> None:
        self._socket = unquote(urlsplit(uri).netloc)
        self._cut_at = cut_at
        self._left = after
        self._is_cut = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def uri(self) -> str:
        """The connection string."""
        host, port = self._server.sockets[0].getsockname()
        return f"mongodb://{host}:{port}/?directConnection=true"

    def cut(self) -> None:
        """End all connections, and take none."""
        self._is_cut = True
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        """Take connections again."""
        self._is_cut = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        answers, questions = await asyncio.open_unix_connection(self._socket)
        ends = {writer, questions}
        self._ends |= ends
        await asyncio.gather(self._pass(reader, questions), self._pass(answers, writer), return_exceptions=True)
        self._ends -= ends
        for end in ends:
            end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            if self._cut_at and self._cut_at in piece:
                self._left -= 1
                if self._left < 0:
                    self.cut()
                    return
            writer.write(piece)
            await writer.drain()
        writer.close()
