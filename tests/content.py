"""Bytes as the core hands them to a server, and a listener that lets every message go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Self

from gateway.delivery import Reply
from gateway.ports import Content

MIB = 1024 * 1024


def content(*pieces: bytes) -> Content:
    """Return these pieces, to be read once."""
    return Content(sum(map(len, pieces)), _each(pieces), tag="")


async def _each(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def let_go(_: Mapping[str, Reply]) -> None:
    """Keep no message from going."""


class Large:
    """A message of so many pieces of a MiB; ``read`` counts those that were asked for.

    An ``error`` comes in place of the last.
    """

    def __init__(self, pieces: int, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.read = 0
        self._error = error

    @property
    def content(self) -> Content:
        """The bytes, to be read once."""
        return Content(self.pieces * MIB, self, tag="")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._error and self.read == self.pieces - 1:
            raise self._error
        if self.read == self.pieces:
            raise StopAsyncIteration
        self.read += 1
        return (b"x" * 1022 + b"\r\n") * 1024
