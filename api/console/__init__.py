"""The console: static files. What it shows it asks of the REST API."""

from __future__ import annotations

from aiohttp import web

from api import static


def routes() -> list[web.RouteDef]:
    """Return a route for every file: the page at ``/``, all others below ``/console/``."""
    return static.routes(__name__, page="/", below="/console")
