"""Logging: the standard library's loggers everywhere, structlog to write what they say.

Every line carries what is bound to the context, such as the ``request_id``. The libraries that speak SMTP and IMAP
log whole commands at level debug, credentials included, so theirs is never below warning.
"""

from __future__ import annotations

import logging
import sys

import structlog

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
    else:
        rendering = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
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
    # What is left for aiohttp to log is malformed HTTP, which it quotes, Authorization included.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
