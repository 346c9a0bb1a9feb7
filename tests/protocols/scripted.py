"""A mail server that plays a written dialogue on a real socket, fair or foul.

A dialogue is a sequence of steps, played from its start on every connection::

    dialogue = [say("220 ready"), hear("EHLO"), say("250-here", "250 AUTH PLAIN"), hear("AUTH"), reset]
    async with Scripted(dialogue) as server:
        ...  # connect to server.host, server.port
    assert server.heard[-1].startswith("AUTH")

Leaving the block asserts that the client kept to the dialogue as far as it went, and that it has closed every
connection.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Self

_PATIENCE_S = 5.0  # an upper bound for what is to happen at once
_LIMIT = 1024 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)

GARBAGE = bytes(range(0x80, 0x100)) + b"\0\r\n{9}]\r\n"
"""Bytes that are no reply in any mail protocol."""


class Peer:
    """One connection. ``tag`` is that of the last IMAP command."""

    def __init__(self, server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.tag = ""

    async def line(self) -> str:
        """Return the next line, without its end; note it as heard."""
        line = (await self.reader.readuntil(b"\r\n")).decode("utf-8", "replace").removesuffix("\r\n")
        self.server.heard.append(line)
        if tagged := re.match(r"([A-Z]+[0-9]+) ", line):
            self.tag = tagged[1]
        return line

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()


Step = Callable[[Peer], Awaitable[None]]


class Scripted:
    """A server on a free port of 127.0.0.1.

    ``tls`` serves the step :func:`start_tls`, or all from the first byte where ``implicit``.
    """

    host = "127.0.0.1"

    def __init__(
        self, dialogue: Sequence[Step], tls: ssl.SSLContext | None = None, *, implicit: bool = False
    ) -> None:
        self.port = 0
        self.heard: list[str] = []
        """All lines that clients sent, oldest first."""
        self.messages: list[bytes] = []
        """What :func:`hear_message` and :func:`hear_literal` took."""
        self.connections = 0
        self.tls = tls
        self.reached = asyncio.Event()
        """Set by the step :func:`reached`."""
        self.resume = asyncio.Event()
        """Ends the step :func:`stall`."""
        self.unread = 0
        self._dialogue = dialogue
        self._implicit = tls if implicit else None
        self._playing: set[asyncio.Task[None]] = set()
        self._deviations: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._meet, self.host, 0, limit=_LIMIT, ssl=self._implicit, family=socket.AF_INET
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._server.close()
        stuck = (await asyncio.wait(self._playing, timeout=_PATIENCE_S))[1] if self._playing else set()
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await self._server.wait_closed()
        if kind is None:
            assert not self._deviations, self._deviations
            assert not stuck, "the client left its connection open"

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._play(Peer(self, reader, writer)))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)

    async def _play(self, peer: Peer) -> None:
        try:
            # The client may leave, or refuse our certificate, at any step.
            with suppress(OSError, asyncio.IncompleteReadError):
                for step in self._dialogue:
                    await step(peer)
        except AssertionError as error:
            self._deviations.append(str(error))
        finally:
            peer.writer.transport.abort() if self._implicit else peer.writer.close()


# -- steps -------------------------------------------------------------------------------------------------------


def say(*lines: str) -> Step:
    """Send lines; ``{tag}`` stands for the tag of the client's last command."""

    async def step(peer: Peer) -> None:
        await peer.write("".join(f"{line}\r\n" for line in lines).replace("{tag}", peer.tag).encode())

    return step


def send(data: bytes) -> Step:
    """Send bytes as they are."""

    async def step(peer: Peer) -> None:
        await peer.write(data)

    return step


def hear(pattern: str) -> Step:
    """Read a line that must match the pattern from its start, in any case; an IMAP tag is passed over."""

    async def step(peer: Peer) -> None:
        line = await peer.line()
        assert re.match(rf"([A-Z]+[0-9]+ )?{pattern}", line, re.IGNORECASE), f"expected {pattern}, heard {line}"

    return step


async def hear_message(peer: Peer) -> None:
    """Read the data of an SMTP message; keep it without dot-stuffing (RFC 5321 §4.5.2)."""
    data = await peer.reader.readuntil(b"\r\n.\r\n")
    peer.server.messages.append(re.sub(rb"(?m)^\.", b"", data.removesuffix(b".\r\n")))


async def hear_literal(peer: Peer) -> None:
    """Read the literal that the last line announced, and the end of its line (RFC 3501 §4.3)."""
    size = int(peer.server.heard[-1].rpartition("{")[2].removesuffix("}"))
    peer.server.messages.append(await peer.reader.readexactly(size))
    await peer.reader.readuntil(b"\r\n")


async def hear_something(peer: Peer) -> None:
    """Read a byte, such as the first of a TLS handshake."""
    await peer.reader.readexactly(1)


async def start_tls(peer: Peer) -> None:
    """Become a TLS server on this connection."""
    assert peer.server.tls is not None
    await peer.writer.start_tls(peer.server.tls)


async def reached(peer: Peer) -> None:
    """Set the server's ``reached``."""
    peer.server.reached.set()


async def close(peer: Peer) -> None:
    """End the connection in good order."""
    peer.writer.close()
    await peer.writer.wait_closed()


async def reset(peer: Peer) -> None:
    """End the connection by a TCP reset."""
    peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    peer.writer.transport.abort()
    await peer.writer.wait_closed()


async def hang(peer: Peer) -> None:
    """Read and say nothing until the client leaves."""
    while await peer.reader.read(_LIMIT):
        pass


async def stall(peer: Peer) -> None:
    """Read nothing more until ``resume`` is set, then all that still comes: ``unread`` counts the bytes."""
    await peer.server.resume.wait()
    while data := await peer.reader.read(_LIMIT):
        peer.server.unread += len(data)


def drip(data: bytes, pause_s: float = 0.01) -> Step:
    """Send the data over and over, a byte at a time, until the client leaves."""

    async def step(peer: Peer) -> None:
        for byte in cycle(data):
            await peer.write(bytes([byte]))
            await asyncio.sleep(pause_s)

    return step


def flood(data: bytes) -> Step:
    """Send the data over and over, as fast as the client takes it, until the client leaves."""

    async def step(peer: Peer) -> None:
        while not peer.writer.is_closing():
            await peer.write(data)
            await asyncio.sleep(0)

    return step


def interrupted(session: Mapping[str, Sequence[Step]], until: str, *then: Step) -> list[Step]:
    """Return a session up to the point where the server has to answer at a stage, and what it does then.

    ``session`` maps stages to steps, of which the last is the server's answer; a TLS handshake is interrupted when
    the client has begun it.
    """
    steps: list[Step] = []
    for stage, part in session.items():
        if stage == until == "handshake":
            return [*steps, hear_something, reached, *then]
        if stage == until:
            return [*steps, *part[:-1], reached, *then]
        steps += part
    raise AssertionError(until)
