"""The process: where it listens, which signals end it, and who may look into it."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeVar

from gateway.config import ServerSection
from gateway.errors import StartError

Started = TypeVar("Started")

_LAST_RESORT_S = 9
_PR_SET_DUMPABLE = 4  # <linux/prctl.h>
_FILES = 65_536

_ADVICE = {
    errno.EADDRINUSE: "Stop what uses it, or set server.port (GATEWAY_SERVER__PORT) to another.",
    errno.EACCES: "This user may not take that port: set server.port (GATEWAY_SERVER__PORT) to one above 1023.",
}
_OTHER_ADVICE = "Set server.host (GATEWAY_SERVER__HOST) to an address of this machine."


def keep_memory_private() -> None:
    """Let no core dump and no other process of this user have this process's memory: keys and passwords are in it.

    prctl(2) with PR_SET_DUMPABLE; unlike a limit on the size of a core, it holds for handlers such as
    systemd-coredump too. Root still may look.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0))


async def until_signal(
    service: AbstractAsyncContextManager[Started], ready: Callable[[Started], None] = lambda _: None
) -> None:
    """Start the service, call ``ready``, and stop it at SIGINT (Ctrl-C), SIGTERM or SIGHUP.

    Raises StartError; CancelledError when the signal came during the start. Then nothing is left running.
    """
    stop = _stop_event()
    async with AsyncExitStack() as stack:
        start = asyncio.create_task(stack.enter_async_context(service))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([start, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            start.cancel()
        ready(await start)
        await stopping


def _stop_event() -> asyncio.Event:
    """Return an event that the first signal sets; a second one ends the process at once."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else nohup(1) wants it ignored
        numbers.append(signal.SIGHUP)

    def stop() -> None:
        event.set()
        # PyMongo's threads are waited for at the exit, and one that asks a hung server of the operator's can take
        # 10 s and more: then SIGALRM ends the process. What it would have said, leases return.
        signal.alarm(_LAST_RESORT_S)
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, stop)
    return event


def open_files() -> int:
    """Return how many files and connections the process may have open, after asking for as many as are of use."""
    soft, hard = (
        _FILES if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    wanted = max(soft, min(hard, _FILES))
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def bind(settings: ServerSection) -> socket.socket:
    """Return a socket that listens there. Raises StartError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        found = socket.getaddrinfo(settings.host, settings.port, family=family, type=socket.SOCK_STREAM)
        return socket.create_server(found[0][4], family=family)
    except socket.gaierror as error:
        raise _cannot_listen(settings, error.strerror or "it does not resolve", _OTHER_ADVICE) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise _cannot_listen(settings, reason, _ADVICE.get(error.errno or 0, _OTHER_ADVICE)) from error
    except ValueError as error:  # a NUL, or a label that IDNA does not know
        raise _cannot_listen(settings, "not a host name", _OTHER_ADVICE) from error


def _cannot_listen(settings: ServerSection, reason: str, advice: str) -> StartError:
    return StartError(f"Cannot listen on {settings.host} port {settings.port}: {reason}. {advice}")


def url_of(listener: socket.socket) -> str:
    """Return the address of what listens there."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
