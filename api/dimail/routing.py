"""How a request under ``/dimail`` becomes a call: who asks, then the handler.

It is an API of its own, with rules that differ from those of ``api/routing.py``: trailing slashes are optional,
unknown properties and bodies that nobody asked for are ignored, errors are plain (``api/dimail/plain.py``), and
what is wrong with a body is told after what the account may not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import orjson
from aiohttp import web
from marshmallow import EXCLUDE, Schema

from api.auth import IPNetwork, basic_credentials, is_from_here, source_of
from api.routing import Answer, go_on, pattern, read_json, validated
from gateway.api_client import ApiClient
from gateway.dimail import FIRST_COMER, Dimail
from gateway.errors import Forbidden, NotAuthenticated


class SignIn(Enum):
    """How a client says who it is."""

    BASIC = "name and password"
    BEARER = "token"
    EITHER = "token, or name and password"
    OPEN_AT_FIRST = "name and password, but on the gateway's machine while there is no account"


class DimailSchema(Schema):
    """Ignores what it does not know."""

    class Meta:
        """Marshmallow's settings."""

        unknown = EXCLUDE


@dataclass(slots=True)
class DimailCall:
    """One request of a client; ``client`` is as of the moment when the body has come, once it has.

    ``is_there``: the body was there before it was asked who the client is.
    """

    client: ApiClient
    request: web.Request
    is_there: bool
    again: Callable[[], Awaitable[ApiClient]]
    """Asks again who that is: the body may take its time, and the account may be gone when it has come."""

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return self.request.match_info[name]

    def query(self, *names: str) -> str | None:
        """Return a parameter of the query, by the first of these names that has a value."""
        return next((value for name in names if (value := self.request.query.get(name))), None)

    async def body(
        self, schema: Schema, judge: Callable[[DimailCall], Awaitable[object]] | None = None
    ) -> dict[str, Any]:
        """Return the body, as the schema has it; ``judge`` is asked again what it was asked before the body came.

        Raises Malformed, UnsupportedMedia, TooLarge, Invalid; NotAuthenticated, Forbidden (no longer allowed).
        """
        document = await read_json(self.request)
        if not self.is_there:
            self.client = await self.again()
            if judge:
                await judge(self)
        return validated(schema, document)


@dataclass(frozen=True, slots=True)
class DimailOperation:
    """One verb on one path, which begins behind ``/dimail`` and ends without a slash.

    ``needs`` raises Forbidden for an account that may not ask for it.
    """

    verb: str
    path: str
    sign_in: SignIn
    handler: Callable[[DimailCall], Awaitable[Answer]]
    needs: Callable[[ApiClient], None] = lambda _: None


class DimailRoutes(Protocol):
    """A group of operations."""

    def operations(self) -> Sequence[DimailOperation]:
        """Return them."""


class DimailFace:
    """All operations under ``/dimail``."""

    def __init__(self, dimail: Dimail, groups: Sequence[DimailRoutes]) -> None:
        self._dimail = dimail
        self._operations = [operation for group in groups for operation in group.operations()]

    def register(self, app: web.Application, proxies: Sequence[IPNetwork]) -> None:
        """Add the operations to the application. ``proxies`` are believed about where requests come from."""
        for operation in self._operations:
            endpoint = self._endpoint(operation, proxies)
            for slash in ("", "/"):
                resource = app.router.add_resource(pattern(f"/dimail{operation.path}{slash}"))
                resource.add_route(operation.verb, endpoint, expect_handler=go_on)

    def _endpoint(
        self, operation: DimailOperation, proxies: Sequence[IPNetwork]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def endpoint(request: web.Request) -> web.StreamResponse:
            is_there = request.content.is_eof()
            source = source_of(request.remote or "", request.headers.getall("X-Forwarded-For", ()), proxies)

            async def who() -> ApiClient:
                client = await self._client(operation.sign_in, request, source)
                operation.needs(client)
                return client

            answer = await operation.handler(DimailCall(await who(), request, is_there, who))
            if answer.body is None:
                return web.Response(status=answer.status)
            return web.Response(
                status=answer.status, body=orjson.dumps(answer.body), content_type="application/json"
            )

        return endpoint

    async def _client(self, how: SignIn, request: web.Request, source: str) -> ApiClient:
        """Return who asks. Raises NotAuthenticated (no name and password), Forbidden, TooOften."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        from_here = is_from_here(request.remote or "", request.headers)
        if how is SignIn.OPEN_AT_FIRST and from_here and await self._dimail.is_open():
            return FIRST_COMER
        if how is SignIn.BEARER or (how is SignIn.EITHER and scheme.lower() != "basic"):
            if scheme.lower() != "bearer":
                raise Forbidden("Not authenticated")
            return await self._dimail.of_token(value.strip())
        name, password = _name_and_password(scheme, value.strip())
        return await self._dimail.sign_in(name, password, source)


def _name_and_password(scheme: str, value: str) -> tuple[str, str]:
    try:
        if scheme.lower() == "basic":
            return basic_credentials(value)
    except NotAuthenticated:
        pass  # it is told in dimail's words
    raise NotAuthenticated("Not authenticated")
