"""Static files for browsers: served as they lie in a package, with a policy that lets in nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from hashlib import blake2b
from importlib import resources
from importlib.resources.abc import Traversable

from aiohttp import web

from api.routing import go_on

_CONTENT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Nothing of another host, nothing inline, and no text that becomes markup. Forms are sent by scripts alone: one
# that is submitted before they run must not put a password into an address.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'none'; frame-ancestors 'none'; base-uri 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)


def routes(package: str, page: str, below: str) -> list[web.RouteDef]:
    """Return a route for every file of a package: its HTML is at ``page``, all others are ``below`` a path."""
    return [
        web.get(
            page if path.endswith(".html") else f"{below}/{path}",
            _served(file, content_type),
            expect_handler=go_on,
        )
        for path, file, content_type in _files(resources.files(package))
    ]


def _files(directory: Traversable, above: str = "") -> Iterator[tuple[str, Traversable, str]]:
    """Return path, file and content type of all that is for browsers."""
    for each in directory.iterdir():
        if each.is_dir():
            yield from _files(each, f"{above}{each.name}/")
        elif content_type := _CONTENT_TYPES.get(f".{each.name.rpartition('.')[2]}"):
            yield f"{above}{each.name}", each, content_type


def _served(file: Traversable, content_type: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    content = file.read_bytes()
    tag = blake2b(content, digest_size=12).hexdigest()

    async def serve(request: web.Request) -> web.StreamResponse:
        if any(each.value in (tag, "*") for each in request.if_none_match or ()):
            response = web.Response(status=304)
        else:
            response = web.Response(body=content, content_type=content_type, charset="utf-8")
        response.headers.update({"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"})
        response.etag = tag
        return response

    return serve
