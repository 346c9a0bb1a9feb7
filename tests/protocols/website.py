"""A web server on loopback, with TLS, whose pages a test writes."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Self

import trustme
from aiohttp import web

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Website:
    """Serves ``pages``, by path, for all of its hosts; ``requests`` notes host, path and query of each request."""

    host = "127.0.0.1"

    def __init__(self, authority: trustme.CA, *hosts: str) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*hosts).configure_cert(self.tls)
        self.pages: dict[str, Page] = {}
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, 0, ssl_context=self.tls).start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(f"{request.url.host}{request.path_qs}")
        self.headers.append(dict(request.headers))
        page = self.pages.get(request.path)
        return await page(request) if page else web.Response(status=404)


def page(body: bytes, **headers: str) -> Page:
    """Answer with this body; underscores in the names of headers stand for hyphens."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def redirect(location: str, status: int = 302) -> Page:
    """Lead elsewhere; ``{port}`` stands for the site's own."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers={"Location": location.replace("{port}", str(request.url.port))})

    return answer
