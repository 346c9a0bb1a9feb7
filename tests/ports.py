"""Ports for servers that can choose none themselves."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

_PORTS = range(10_000, 32_000)
"""Below those that Linux hands out by itself, so that no connection and no other server gets one in between."""


def free_ports(count: int) -> Sequence[int]:
    """Return ports that nobody listens on at the moment."""
    free: list[socket.socket] = []
    while len(free) < count:
        try:
            free.append(socket.create_server(("127.0.0.1", random.choice(_PORTS))))  # noqa: S311 - no secret
        except OSError:
            continue
    ports = [each.getsockname()[1] for each in free]
    for each in free:
        each.close()
    return ports


def free_port() -> int:
    """Return one such port."""
    (port,) = free_ports(1)
    return port
