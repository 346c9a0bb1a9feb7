"""The answer that lists things which may be large, written a few of them at a time.

Most lists are small, and are answered like everything else. Of the others 1. what there is at once is written; 2.
every further portion is read when the client has taken the one before. Each slice of it has to be taken in
``server.client_timeout_s``, because others may wait for its memory. Whatever goes wrong in between breaks the
connection, so that what is cut off does not look whole (RFC 9112 §8).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from aiohttp.payload import Payload

from gateway.errors import GatewayError
from gateway.ports import Portions

logger = logging.getLogger(__name__)

CLIENT_TIMEOUT_S = web.AppKey("client_timeout_s", float)
_SLICE = 256 * 1024  # bytes; the worst of mobile links take so many in a minute

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Pieces:
    """A JSON document in pieces, which are made while it is written."""

    pieces: AsyncGenerator[bytes, None]

    def response(self, request: web.Request, status: int) -> web.Response:
        """Return the answer that has this body."""
        body = _Body(self.pieces, request.app[CLIENT_TIMEOUT_S])
        return web.Response(status=status, body=body, headers={"Content-Type": "application/json"})


def listed(name: str, total: int, found: Portions[Item], shown: Callable[[Item], Any]) -> Any:
    """Return the body of the answer, with the things under their name; ``shown`` makes JSON of one."""
    if found.rest is None:
        return {"total": total, name: [shown(each) for each in found.first]}
    beginning = orjson.dumps({"total": total, name: []})[:-2] + _joined(found.first, shown)
    return Pieces(_pieces(beginning, found.rest, shown))


async def _pieces(
    beginning: bytes, rest: AsyncGenerator[list[Item], None], shown: Callable[[Item], Any]
) -> AsyncGenerator[bytes, None]:
    separator = b"" if beginning.endswith(b"[") else b","
    async with aclosing(rest) as portions:
        yield beginning
        del beginning
        async for portion in portions:
            if portion:
                yield separator + _joined(portion, shown)
                separator = b","
    yield b"]}"


def _joined(portion: list[Item], shown: Callable[[Item], Any]) -> bytes:
    """Return the JSON of the things, and keep nothing else of them."""
    texts = [orjson.dumps(shown(each)) for each in portion]
    portion.clear()
    return b",".join(texts)


class _Body(Payload):
    """Writes the pieces."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], timeout_s: float) -> None:
        super().__init__(pieces, content_type="application/json")
        self._pieces = pieces
        self._timeout_s = timeout_s
        self._context = copy_context()  # of the request, of which logs tell; it ends before the answer is written

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all of it. Raises ConnectionError."""
        try:
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    for start in range(0, len(piece), _SLICE):
                        async with asyncio.timeout(self._timeout_s):
                            await writer.write(piece[start : start + _SLICE])
                    del piece  # before there is a next one
        except BaseException as error:
            # Not closed, which would send what is in the buffers first, however long that takes.
            if isinstance(writer, StreamWriter) and writer.transport:
                writer.transport.abort()
            if isinstance(error, TimeoutError):
                raise ConnectionAbortedError("The client takes the answer too slowly.") from error
            if isinstance(error, Exception) and not isinstance(error, ConnectionError):
                why = None if isinstance(error, GatewayError) else error
                self._context.run(logger.warning, "a list was broken off: %s", error, exc_info=why)
            raise

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:  # noqa: ARG002 - aiohttp's
        """Do not: it is never whole."""
        raise TypeError("this body is never whole")
