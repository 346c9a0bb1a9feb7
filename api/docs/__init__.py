"""The documentation of the API at ``/api/docs``: a page that the browser makes of the OpenAPI document."""

from __future__ import annotations

from aiohttp import web

from api import static


def routes() -> list[web.RouteDef]:
    """Return a route for every file: the page at ``/api/docs``, all others below."""
    return static.routes(__name__, page="/api/docs", below="/api/docs")
