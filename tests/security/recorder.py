"""An SMTP and an IMAP server that take whatever they are told, and note every line of it as it came."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n\Z")
_LIMIT = 2**20


class Recorder:
    """Both servers. ``messages`` are those of SMTP, ``copies`` those that were appended to an IMAP folder."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.smtp: list[bytes] = []
        self.imap: list[bytes] = []
        self.messages: list[bytes] = []
        self.copies: list[bytes] = []
        self.smtp_port = self.imap_port = 0
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self.smtp_port = await self._serve(self._talk_smtp)
        self.imap_port = await self._serve(self._talk_imap)
        return self

    async def __aexit__(self, *_error: object) -> None:
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        for server in self._servers:
            await server.wait_closed()

    async def _serve(self, talk: Talk) -> int:
        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            with suppress(OSError, asyncio.IncompleteReadError):
                await talk(reader, writer)
            writer.close()

        server = await asyncio.start_server(meet, self.host, 0, limit=_LIMIT)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _talk_smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 recorder\r\n")
        while line := await reader.readline():
            self.smtp.append(line)
            match line.split()[:1]:
                case [b"EHLO"]:
                    writer.write(b"250-recorder\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN\r\n")
                case [b"AUTH"]:
                    writer.write(b"235 2.7.0 welcome\r\n")
                case [b"DATA"]:
                    writer.write(b"354 go on\r\n")
                    self.messages.append(await reader.readuntil(b"\r\n.\r\n"))
                    writer.write(b"250 2.0.0 taken\r\n")
                case [b"QUIT"]:
                    writer.write(b"221 2.0.0 bye\r\n")
                case _:
                    writer.write(b"250 2.0.0 as you like\r\n")

    async def _talk_imap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK recorder\r\n")
        while line := await reader.readline():
            self.imap.append(line)
            tag, _, command = line.partition(b" ")
            if literal := _LITERAL.search(line):
                writer.write(b"+ go on\r\n")
                self.copies.append(await reader.readexactly(int(literal[1])))
                await reader.readline()
            match command.split()[:1]:
                case [b"CAPABILITY"]:
                    writer.write(b"* CAPABILITY IMAP4rev1\r\n")
                case [b"LIST"]:
                    writer.write(b'* LIST (\\Sent) "/" "Sent"\r\n')
                case [b"LOGOUT"]:
                    writer.write(b"* BYE bye\r\n")
            writer.write(tag.strip() + b" OK as you like\r\n")
