"""A dimail server on loopback that keeps what it is told in memory, and whose next answers a test may write."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import aiohttp
import jwt
from aiohttp import web

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]

NAME, PASSWORD = "gateway", 'corréct "horse" \\ battery'


class DimailDouble:
    """A server on a free port of 127.0.0.1, with one administrator.

    ``script`` holds answers that come before its own, one per request, by verb and end of the path; ``requests``
    notes verb and path of each request, ``bodies`` what came with it.
    """

    host = "127.0.0.1"

    def __init__(self, tls: ssl.SSLContext | None = None, life: timedelta = timedelta(hours=1)) -> None:
        self._tls = tls
        self.life = life
        self.users: dict[str, str] = {NAME: PASSWORD}
        self.tokens: set[str] = set()
        self.domains: dict[str, dict[str, Any]] = {}
        self.mailboxes: dict[tuple[str, str], dict[str, Any]] = {}
        self.aliases: set[tuple[str, str, str]] = set()
        self.script: list[tuple[str, str, Page]] = []
        self.requests: list[str] = []
        self.bodies: list[Any] = []

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[self._answer])
        domain = "/domains/{domain}"
        user = "{user:[^/]+}"  # without a pattern of its own it may hold no braces, which local parts may
        mailbox = f"{domain}/mailboxes/{user}"
        application.add_routes([
            web.get("/token/", self._token),
            web.post("/users/", self._add_user),
            web.post("/domains/", self._add_domain),
            web.get(domain, self._domain),
            web.get(f"{domain}/check", self._check),
            web.get(f"{domain}/fix/", self._check),
            web.get(f"{domain}/spec/", self._spec),
            web.get(mailbox, self._mailbox),
            web.post(mailbox, self._add_mailbox),
            web.patch(mailbox, self._change_mailbox),
            web.delete(mailbox, self._delete_mailbox),
            web.post(f"{mailbox}/reset_password/", self._reset_password),
            web.post(f"{mailbox}/code", self._code),
            web.post(f"{domain}/aliases/", self._add_alias),
            web.delete(f"{domain}/aliases/{user}/{{destination:[^/]+}}", self._delete_alias),
        ])  # fmt: skip
        self._runner = web.AppRunner(application, shutdown_timeout=0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, 0, ssl_context=self._tls).start()
        self.port: int = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._runner.cleanup()

    def answer_next(self, verb: str, end: str, *pages: Page) -> None:
        """Answer the next requests of that verb, to a path that ends so, by these pages."""
        self.script += [(verb, end, page) for page in pages]

    @web.middleware
    async def _answer(self, request: web.Request, handler: Page) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.rel_url.raw_path}")
        self.bodies.append(await request.json() if request.can_read_body else None)
        for scripted in self.script:
            verb, end, page = scripted
            if request.method == verb and request.path.endswith(end):
                self.script.remove(scripted)
                return await page(request)
        try:
            self._authorise(request)
            return await handler(request)
        except Refusal as refusal:
            return detail(refusal.status, refusal.reason)

    def _authorise(self, request: web.Request) -> None:
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        inside = request.path.startswith("/domains/") and request.path.count("/") > 2
        administrative = request.path.endswith(("/check", "/fix/", "/spec/"))
        by_token = not administrative and (inside or (request.method == "GET" and request.path != "/token/"))
        if scheme != ("Bearer" if by_token else "Basic"):
            raise Refusal(401, "Not authenticated")
        if by_token and credential not in self.tokens:
            raise Refusal(403, "Permission denied")
        pairs = [aiohttp.encode_basic_auth(name, password) for name, password in self.users.items()]
        if not by_token and self.users and f"Basic {credential}" not in pairs:
            raise Refusal(403, "Permission denied")

    async def _token(self, _: web.Request) -> web.Response:
        claims = {"sub": NAME, "jti": secrets.token_hex(), "exp": datetime.now(UTC) + self.life}
        token = jwt.encode(claims, "k" * 32)
        self.tokens.add(token)
        return web.json_response({"access_token": token, "token_type": "bearer"})

    async def _add_user(self, _: web.Request) -> web.Response:
        wanted = self.bodies[-1]
        if wanted["name"] in self.users:
            raise Refusal(409, "User already exists")
        self.users[wanted["name"]] = wanted["password"]
        return web.json_response({"name": wanted["name"], "is_admin": wanted["is_admin"]}, status=201)

    async def _add_domain(self, _: web.Request) -> web.Response:
        wanted = self.bodies[-1]
        if wanted["name"] in self.domains:
            raise Refusal(409, "Domain already exists")
        self.domains[wanted["name"]] = wanted
        return web.json_response(wanted, status=201)

    def _of(self, request: web.Request) -> dict[str, Any]:
        if request.match_info["domain"] not in self.domains:
            raise Refusal(404, "Domain not found")
        return self.domains[request.match_info["domain"]]

    async def _domain(self, request: web.Request) -> web.Response:
        return web.json_response(self._of(request))

    async def _check(self, request: web.Request) -> web.Response:
        fault = {"code": "no_mx", "detail": "There is no MX."}
        checks = {name: {"ok": True, "internal": True, "errors": []} for name in ("postfix", "ox", "cert")}
        checks["mx"] = {"ok": False, "internal": False, "errors": [fault]}
        return web.json_response(self._of(request) | {"state": "broken", "valid": False} | checks)

    async def _spec(self, request: web.Request) -> web.Response:
        self._of(request)
        hosts = [{"target": name, "type": "cname", "value": f"{name}.mail.example."} for name in ("imap", "smtp")]
        others = [
            {"target": "webmail", "type": "cname", "value": "webmail.mail.example."},
            {"target": "", "type": "mx", "value": "mx.mail.example."},
            {"target": "", "type": "txt", "value": "v=spf1 include:_spf.mail.example -all"},
            {"target": "s1._domainkey", "type": "txt", "value": "v=DKIM1; h=sha256; k=rsa; p=MIIB"},
        ]
        return web.json_response(hosts + others)

    def _key(self, request: web.Request) -> tuple[str, str]:
        if "mailbox" not in self._of(request)["features"]:
            raise Refusal(422, "Feature 'mailbox' not available on the domain")
        return request.match_info["domain"], request.match_info["user"]

    def _existing(self, request: web.Request) -> dict[str, Any]:
        key = self._key(request)
        if key not in self.mailboxes:
            raise Refusal(404, "Mailbox not found")
        return self.mailboxes[key]

    async def _add_mailbox(self, request: web.Request) -> web.Response:
        key = self._key(request)
        if key in self.mailboxes:
            raise Refusal(409, "Mailbox already exists")
        self.mailboxes[key] = {"active": "yes"} | self.bodies[-1]
        answer = {
            "email": "@".join(reversed(key)),
            "password": secrets.token_hex(16),
            "uuid": secrets.token_hex(16),
        }
        return web.json_response(answer, status=201)

    async def _mailbox(self, request: web.Request) -> web.Response:
        return web.json_response(self._existing(request))

    async def _change_mailbox(self, request: web.Request) -> web.Response:
        mailbox = self._existing(request)
        mailbox.update(self.bodies[-1])
        return web.json_response(mailbox)

    async def _delete_mailbox(self, request: web.Request) -> web.Response:
        self._existing(request)
        del self.mailboxes[self._key(request)]
        return web.Response(status=204)

    async def _reset_password(self, request: web.Request) -> web.Response:
        self._existing(request)
        return web.json_response({"email": "", "password": secrets.token_hex(16)})

    async def _code(self, request: web.Request) -> web.Response:
        self._existing(request)
        wanted = self.bodies[-1]
        at = datetime.now(UTC) + timedelta(seconds=wanted["expires_in"])
        return web.json_response(wanted | {"code": secrets.token_hex(16), "expires_at": at.isoformat(), "nbuse": 0})

    async def _add_alias(self, request: web.Request) -> web.Response:
        self._of(request)
        wanted = self.bodies[-1]
        alias = request.match_info["domain"], wanted["user_name"], wanted["destination"]
        if alias in self.aliases:
            raise Refusal(409, "Alias already exists")
        self.aliases.add(alias)
        return web.json_response(wanted, status=201)

    async def _delete_alias(self, request: web.Request) -> web.Response:
        alias = tuple(request.match_info[name] for name in ("domain", "user", "destination"))
        if alias not in self.aliases:
            raise Refusal(404, "Alias not found")
        self.aliases.remove(alias)
        return web.Response(status=204)


class Refusal(Exception):
    """What the server answers instead."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def detail(status: int, reason: Any) -> web.Response:
    """Return an error as dimail tells it."""
    return web.json_response({"detail": reason}, status=status)


def say(status: int, body: bytes | str | Mapping[str, Any] | list[Any] = b"", **headers: str) -> Page:
    """Answer so; a mapping or list as JSON; underscores in the names of headers stand for hyphens."""

    async def answer(_: web.Request) -> web.Response:
        if isinstance(body, Mapping | list):
            return web.json_response(body, status=status, headers=headers)
        content = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=content, headers=named)

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """Break the connection without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_short(request: web.Request) -> web.StreamResponse:
    """Break the connection in the middle of an answer."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"password": "')
    return await cut(request)
