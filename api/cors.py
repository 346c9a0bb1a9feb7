"""Which sites' scripts may use the API from a browser: by default none but its own (CORS, WHATWG Fetch §3.3).

The gateway knows a client by the header Authorization alone, which no browser adds by itself. So there are no
ambient credentials to let through, and Access-Control-Allow-Credentials is never sent.

A preflight asks what a path would let a script do, so it is answered for every path that there is, before anybody
has signed in; what the router would say of the verb OPTIONS tells the verbs. Every answer to an origin that is
allowed carries the headers, those of errors too: else a script could not tell a 401 from a network that is down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aiohttp import hdrs, web

_REQUEST_HEADERS = "Authorization, Content-Type, If-Match, If-None-Match, X-Request-ID"
_ANSWER_HEADERS = "Allow, Content-Disposition, ETag, Location, Retry-After, WWW-Authenticate, X-Request-ID"
_PREFLIGHT_S = 600  # for which a browser may keep the answer


class Cors:
    """The rules for these origins, each written as browsers do, or for all of them: ``*``."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(self, request: web.Request) -> web.Response | None:
        """Return the answer to a preflight of an origin that is allowed; None for any other request."""
        asked = hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        refusal = request.match_info.http_exception
        if request.method != hdrs.METH_OPTIONS or not asked or not self._allowed(request):
            return None
        if not isinstance(refusal, web.HTTPMethodNotAllowed):  # there is nothing at this address
            return None
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(refusal.allowed_methods)),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _REQUEST_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(_PREFLIGHT_S),
        }
        return web.Response(status=204, headers=headers)

    def headers(self, request: web.Request) -> Mapping[str, str]:
        """Return the headers that an answer to this request has beside its own."""
        headers: dict[str, str] = {}
        if self._origins and "*" not in self._origins:
            headers[hdrs.VARY] = hdrs.ORIGIN  # also where the origin is another, or none: caches keep it for others
        if origin := self._allowed(request):
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _ANSWER_HEADERS
        return headers

    def _allowed(self, request: web.Request) -> str | None:
        """Return what to allow: the origin of the request, or ``*``; None where it has none that is allowed."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None:
            return None
        return next((each for each in ("*", origin) if each in self._origins), None)
