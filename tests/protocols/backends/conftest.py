"""A dimail server for the tests, and backends that ask it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import pytest

from gateway.config import DimailSection
from gateway.ports import system_clock
from protocols.backends.dimail import DimailBackend
from tests.protocols.backends.dimail_double import NAME, PASSWORD, DimailDouble

Made = Callable[..., Awaitable[DimailBackend]]


class Pauses:
    """Takes the place of sleep; notes how long it should have been."""

    def __init__(self) -> None:
        self.noted: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Note it."""
        self.noted.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def server() -> AsyncIterator[DimailDouble]:
    async with DimailDouble() as double:
        yield double


@pytest.fixture
async def made(pauses: Pauses, client_tls: ssl.SSLContext) -> AsyncIterator[Made]:
    """Return a backend for a URL, with these settings."""
    async with AsyncExitStack() as stack:

        async def make(url: str, clock: Callable[[], datetime] = system_clock, **changes: Any) -> DimailBackend:
            settings: dict[str, Any] = {"url": url, "username": NAME, "password": PASSWORD, "timeout_s": 5.0}
            backend = DimailBackend(DimailSection(**settings | changes), client_tls, clock, pauses)
            return await stack.enter_async_context(backend)

        yield make


@pytest.fixture
async def backend(server: DimailDouble, made: Made) -> DimailBackend:
    return await made(server.url)
