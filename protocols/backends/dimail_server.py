"""Asking a dimail server by HTTP: signing in, repeating, and what its answers mean.

It is the operator's server: the address guard is not for it, its certificate is verified. What it says is bounded
in size and in time, and nothing of it that is shown holds a secret of ours.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import jwt
import orjson
from yarl import URL

from gateway.config import DimailSection
from gateway.errors import (
    ConfigurationError,
    Deferred,
    Refused,
    RemoteError,
    SignInRefused,
    Unreachable,
)
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.ports import Clock
from protocols.network import explain
from protocols.replies import printable

_SUCCESS = range(200, 300)
NOT_FOUND = 404
CONFLICT = 409
_NO_CONTENT = 204
_TOO_MANY = 429
_SIGN_IN = (401, 403)  # dimail has 403 for a wrong password and for an expired token, too
_IDEMPOTENT = ("GET", "PATCH", "DELETE")  # RFC 9110 §9.2.2; each PATCH of ours sets all that it names
_PAUSES_S = (0.2, 0.5, 1.0)
_MAX_BYTES = 256 * 1024
_MAX_HEADER_BYTES = 8 * 1024
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{1,4096}=*")  # RFC 6750 §2.1
_EARLY_S = 30  # that long before its end a token is not used any more
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: the JSON of a success, the reason of a refusal."""

    status: int
    content: Any = None
    reason: str = ""


class DimailServer:
    """A session with a dimail server: to be opened before it is asked, and closed."""

    def __init__(
        self,
        settings: DimailSection,
        tls: ssl.SSLContext,
        clock: Clock,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        """Raises ConfigurationError."""
        _check(settings)
        url = URL(settings.url)
        self._url = str(url).rstrip("/")
        self._endpoint = Endpoint(url.host or "", url.port or 0, TLSMode.NONE, operators=True)
        self._sign_in = SignIn(settings.username, settings.password)
        self._basic = aiohttp.encode_basic_auth(settings.username, settings.password)
        self._timeout_s = settings.timeout_s
        self._tls = tls
        self._clock = clock
        self._sleep = sleep
        self._token, self._token_until = "", _NEVER
        self._signing_in = asyncio.Lock()

    async def open(self) -> None:
        """Begin the session; no connection is made yet."""
        self._http = aiohttp.ClientSession(
            # A POST on a connection that the server is just closing would be lost, and is not repeated.
            connector=aiohttp.TCPConnector(ssl=self._tls, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a small body could become a very large one
            headers={"Accept-Encoding": "identity", "User-Agent": "mail-identity-gateway"},
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )

    async def close(self) -> None:
        """End the session."""
        await self._http.close()

    async def ask(
        self, verb: str, path: str, body: Any = None, *, token: bool, fine: Collection[int] = ()
    ) -> Answer:
        """Ask by name and password, or by a token that was got by them; return a success, or a status in ``fine``.

        What is idempotent is tried a few times. Raises RemoteError, at the latest after the configured time.
        """
        pauses = iter(_PAUSES_S if verb in _IDEMPOTENT else ())
        ask_once = self._ask_by_token if token else self._ask_by_password
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        return await ask_once(verb, path, body, fine)
                    except RemoteError as error:
                        pause = next(pauses, None)
                        if pause is None or not error.temporary:
                            raise
                    await self._sleep(pause)
        except TimeoutError as error:
            raise explain(error, self._endpoint) from error

    async def _ask_by_password(self, verb: str, path: str, body: Any, fine: Collection[int]) -> Answer:
        return await self._ask_once(verb, path, body, fine, self._basic)

    async def _ask_by_token(self, verb: str, path: str, body: Any, fine: Collection[int]) -> Answer:
        token = await self._valid_token()
        try:
            return await self._ask_once(verb, path, body, fine, f"Bearer {token}")
        except SignInRefused:  # expired, or the server has forgotten it: then it has done nothing
            token = await self._valid_token(refused=token)
        return await self._ask_once(verb, path, body, fine, f"Bearer {token}")

    async def _valid_token(self, refused: str = "") -> str:
        async with self._signing_in:
            if self._token in ("", refused) or self._clock() >= self._token_until:
                try:
                    self._token = await self._new_token()
                except RemoteError as error:
                    error.nothing_done = True  # what the token is for has not been asked
                    raise
                self._token_until = end_of(self._token)
            return self._token

    async def _new_token(self) -> str:
        answer = await self._ask_by_password("GET", "/token/", None, ())
        token = text(answer.content, "access_token")
        if not _BEARER.fullmatch(token):
            raise misunderstood()
        return token

    async def _ask_once(self, verb: str, path: str, body: Any, fine: Collection[int], sign_in: str) -> Answer:
        url = URL(self._url + path, encoded=True)
        headers = {"Authorization": sign_in}
        try:
            async with self._http.request(verb, url, json=body, headers=headers, allow_redirects=False) as response:
                status, content = response.status, await _read(response)
        except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:  # RuntimeError: as in network.py
            problem = explain(error, self._endpoint)
            problem.nothing_done |= isinstance(error, aiohttp.ClientConnectorError)  # there was no connection
            raise problem from error
        if status in _SUCCESS:
            return Answer(status, None if status == _NO_CONTENT else _json(content))
        reason = self._printable(reason_in(content), sign_in)
        if status in fine:
            return Answer(status, reason=reason)
        raise self._refusal(status, reason)

    def _printable(self, reason: str, sign_in: str) -> str:
        return printable(reason.replace(sign_in.partition(" ")[2], "***"), self._sign_in)

    def _refusal(self, status: int, reason: str) -> RemoteError:
        message = f"{self._endpoint.host}: {status} {reason}".rstrip()
        match status // 100:  # RFC 9110 §15: the first digit is the class
            case 4 if status in _SIGN_IN:
                return SignInRefused(f"{message} (are dimail.username and dimail.password right?)", reply=reason)
            case 4 if status != _TOO_MANY:
                return Refused(message, reply=reason)
            case 4 | 5:
                return Deferred(message, reply=reason, nothing_done=status == _TOO_MANY)
        return Unreachable(f"{message} (is dimail.url right?)", reply=reason)  # redirects: they are not followed


def _check(settings: DimailSection) -> None:
    problems = []
    if not settings.url:
        problems.append("dimail.url: must be set where domains.backend is dimail")
    elif URL(settings.url).user is not None:
        problems.append("dimail.url: holds a user name; write it into dimail.username")
    if not settings.username or ":" in settings.username:
        problems.append("dimail.username: must be set, and have no colon (RFC 7617)")
    if problems:
        raise ConfigurationError("The configuration is wrong:\n" + "\n".join(f"  - {each}" for each in problems))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    try:
        await response.content.readexactly(_MAX_BYTES + 1)
    except asyncio.IncompleteReadError as error:
        return error.partial
    raise Unreachable("The answer of the dimail server is too large.")


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise misunderstood() from error


def reason_in(content: bytes) -> str:
    """Return the ``detail`` of a refusal; that of a 422 is a list, of which the words alone are taken."""
    try:
        detail = orjson.loads(content)["detail"]
        return detail if isinstance(detail, str) else "; ".join(text(each, "msg") for each in detail)
    except (orjson.JSONDecodeError, LookupError, TypeError, Unreachable):
        return ""


def end_of(token: str) -> datetime:
    """Return until when a token is to be used; one that does not tell is used until it is refused."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return datetime.fromtimestamp(claims["exp"] - _EARLY_S, UTC)
    except (jwt.PyJWTError, LookupError, TypeError, ValueError, OverflowError, OSError, RecursionError):
        return _NEVER


def text(content: Any, key: str) -> str:
    """Return a text of an answer. Raises Unreachable where there is none."""
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, str):
        raise misunderstood()
    return value


def misunderstood() -> Unreachable:
    """Return the error of an answer that makes no sense: perhaps a proxy, or a page of maintenance, gave it."""
    return Unreachable("The dimail server answered otherwise than it should.")
