"""What the protocols' tests share: ways to reach a server on loopback, and a watch for what is left behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.config import NetworkSection
from gateway.identity import Endpoint, SignIn, TLSMode
from protocols.network import Network
from tests.absence import do_without
from tests.protocols.dovecot import Dovecot
from tests.protocols.name_server import NameServer

Reach = Callable[..., Network]

PASSWORD = 'corréct "horse" \\ battery'
ME = SignIn("me@elsewhere.example", PASSWORD)


@pytest.fixture
def reach(ca_file: Path) -> Reach:
    """Return a network that may connect to these ports on loopback and trusts the authority."""

    def network(*ports: int, **changes: Any) -> Network:
        settings: dict[str, Any] = {
            "allow": ("127.0.0.0/8",),
            "ports": ports,
            "allow_plaintext": True,
            "ca_file": str(ca_file),
            "connect_timeout_s": 5.0,
            "command_timeout_s": 5.0,
        }
        return Network(NetworkSection(**settings | changes))

    return network


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    """A DNS server that knows nothing yet."""
    async with NameServer() as server:
        yield server


def at(port: int, tls: TLSMode = TLSMode.NONE, sign_in: SignIn | None = ME, host: str = "127.0.0.1") -> Endpoint:
    """Return an endpoint on loopback."""
    return Endpoint(host, port, tls, sign_in)


@pytest.fixture(scope="session")
def dovecot(authority: trustme.CA) -> Iterator[Dovecot]:
    """One real Dovecot for the whole run."""
    if not Dovecot.is_installed():
        do_without("Dovecot is not installed: apt-get install dovecot-imapd")
    with Dovecot(authority) as server:
        yield server


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """Assert that a test leaves no task running and no error that nobody has seen."""
    problems: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: problems.append(context))
    gc.freeze()  # what is older need not be looked through
    yield
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:  # such as those that take leave of a server
        await asyncio.wait(others, timeout=5)
    gc.collect()  # errors that nobody has seen are reported when their task or future goes
    gc.unfreeze()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not problems
