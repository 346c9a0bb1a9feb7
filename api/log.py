"""Logging: the standard library's loggers everywhere, structlog to write what they say.

Every line carries what is bound to the context, such as the ``request_id``. The libraries that speak SMTP and IMAP
log whole commands at level debug, credentials included, so theirs is never below warning.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import BadContentDispositionHeader, BadContentDispositionParam

from gateway.config import LogSection

_TALKATIVE = ("aioimaplib", "aiosmtplib", "mail.log", "pymap", "pymongo", "asyncio")


def configure(settings: LogSection) -> None:
    """Send all logging to standard error, as the configuration says."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    rendering: list[structlog.typing.Processor]
    if settings.format == "json":
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    elif sys.stderr.isatty():
        plain_traceback = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(exception_formatter=plain_traceback)
        rendering = [structlog.processors.format_exc_info, _visible, console]
    else:
        rendering = [structlog.processors.format_exc_info, _line]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # No line tells threads or processes, so nobody looks for them: Logging HOWTO, Optimization.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # What is left for aiohttp to log is malformed HTTP, which it quotes, Authorization included.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    # It also warns of names of files that it cannot read, and quotes them; api/multipart.py reads them itself.
    for category in (BadContentDispositionHeader, BadContentDispositionParam):
        warnings.simplefilter("ignore", category)
    logging.captureWarnings(capture=True)


def _visible(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape what would begin a line of its own or steer the terminal: much that is logged comes from outside."""
    shown = {key: _shown(value) if isinstance(value, str) else value for key, value in event.items()}
    if "exception" in event:
        shown["exception"] = "\n".join(_below(event["exception"]))
    return shown


def _line(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    """Return what ConsoleRenderer shows on a terminal, without colours, at a third of what that costs."""
    head = [event.pop("timestamp"), f"[{event.pop('level')}]", event.pop("event"), f"[{event.pop('logger')}]"]
    trace = _below(event.pop("exception", ""))
    words = [f"{key}={value!r}" if " " in str(value) else f"{key}={value}" for key, value in event.items()]
    return "\n".join([_shown(" ".join([*head, *words])), *trace])


def _below(trace: str) -> Sequence[str]:
    """Return its lines, indented: an exception can have text from outside too, with lines like those of the log."""
    return [f"  {_shown(line)}" for line in trace.splitlines()]


def _shown(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
