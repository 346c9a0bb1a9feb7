"""The HTTP connections of clients: what HTTP leaves to the server before a request is one, and when it stays half.

aiohttp speaks HTTP. Here stands what it leaves open: 1. what is no request is refused by a problem document, as
everything else is, and not quoted; 2. a client that keeps us waiting for the rest of a request, or for room to
answer, is let go; 3. there are so many connections at most, and whoever comes then takes the place of one that is
idle.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import cast
from uuid import uuid4

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from api import problems
from api.app import HEADERS, sane_request_id
from api.metrics import Metrics
from gateway.config import Config
from gateway.errors import TooLarge, TooSlow

logger = logging.getLogger(__name__)

MAX_LINE = 8190  # bytes of an address (RFC 9112 §3 asks for 8,000 and more)
MAX_HEADER = 64 * 1024  # bytes of a header, as long as it is not whole
_MAX_FIELD = 8192  # bytes of one field of it; another number, because aiohttp tells these two apart by it alone
_SLOWEST = 500  # bytes of a request in a second, on the average; the worst of mobile links have ten times that
_IDLE_S = 620.0  # a proxy that keeps connections for reuse has to be the first to close; some wait 10 minutes
_FRAMING = 64 * 1024  # bytes around a file
_BACKLOG = 1024
_OURS = 4  # of so many files one is not for a client, but for the database, a mail server, a file
_TOO_MANY_FIELDS = "Too many headers received"  # aiohttp's words are all that tells it


class Clients:
    """The connections that are open: at most as many as the configuration, and the limit of ``files``, allow."""

    def __init__(self, metrics: Metrics, config: Config, files: int) -> None:
        wanted = config.server.max_connections
        self._most = min(wanted, files - files // _OURS)
        self._open: dict[Connection, None] = {}  # oldest first
        self._metrics = metrics
        self.timeout_s = config.server.client_timeout_s
        self.largest_body = max(config.server.max_body_bytes, config.messages.max_bytes) + _FRAMING
        if self._most < wanted:
            logger.warning(
                "fewer connections than server.max_connections: the process may not have more files open",
                extra={"connections": self._most, "files": files},
            )

    @asynccontextmanager
    async def served(
        self, application: web.Application, listener: socket.socket, grace_s: float
    ) -> AsyncIterator[None]:
        """Answer who connects, until the end; then requests have ``grace_s`` seconds to end, and as much again."""
        # What is sent and not taken in that time breaks the connection, where the client reads no more and where it
        # is gone without a word (RFC 5482 §3.1). Connections have it from the listener.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.timeout_s * 1000))
        loop = asyncio.get_running_loop()
        runner = web.AppRunner(application, shutdown_timeout=grace_s)
        async with AsyncExitStack() as stack:
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            server = cast("web.Server", runner.server)
            accepting = await loop.create_server(lambda: Connection(self, server), sock=listener, backlog=_BACKLOG)
            stack.callback(accepting.close)
            yield

    def come(self, connection: Connection) -> None:
        """Let it in; where it is one too many, close the oldest one that is idle, this one if all are at work."""
        self._open[connection] = None
        self._metrics.connections.set(len(self._open))
        if len(self._open) > self._most:
            next(each for each in self._open if each.is_idle or each is connection).force_close()

    def go(self, connection: Connection) -> None:
        """Make room."""
        self._open.pop(connection, None)
        self._metrics.connections.set(len(self._open))

    def refusal(self, status: HTTPStatus, request_id: str) -> web.Response:
        """Return the answer to what comes to no handler; it is logged and counted as others are."""
        self._metrics.request("any", "none", status, 0.0)
        logger.info("request", extra={"request_id": request_id, "status": int(status)})
        return problems.of_status(status, headers={**HEADERS, "X-Request-ID": request_id})


class Connection(web.RequestHandler):
    """One client's connection.

    ``_body`` is that of the last request whose header has come. ``_window`` runs as long as a header or a body is
    not whole: so many bytes came in it, ``_came``, of the request of that number, ``_number``.
    """

    __slots__ = ("_body", "_came", "_clients", "_header", "_number", "_window")

    def __init__(self, clients: Clients, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_IDLE_S,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's way to have none
            max_line_size=MAX_LINE,
            max_field_size=_MAX_FIELD,
            auto_decompress=False,  # content codings are refused, see api/routing.py
        )
        self._clients = clients
        self._body: StreamReader = EMPTY_PAYLOAD
        self._window: asyncio.TimerHandle | None = None
        self._number = self._came = self._header = 0

    # -- what comes ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, if there is room."""
        super().connection_made(transport)
        self._clients.come(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room."""
        self._clients.go(self)
        if self._window:
            self._window.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; see to it that the rest comes too."""
        super().data_received(data)
        self._came += len(data)
        if self._messages:
            self._header = 0
            self._note(*self._messages[-1])
        elif self.is_idle:
            self._header += len(data if self._header else data.lstrip(b"\r\n"))  # RFC 9112 §2.2
            if self._header > MAX_HEADER:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if self._body.total_bytes > self._clients.largest_body and not self._body.is_eof():
            self._break_off(TooLarge("No body may be that large."))
        if self._window is None and self._is_unfinished:
            self._watch()

    def _note(self, message: object, body: StreamReader) -> None:
        if not isinstance(message, _ErrInfo):
            self._body = body
        elif not self._body.is_eof():  # the error is amid this body, and aiohttp would let its reader wait for ever
            self._break_off(web.RequestPayloadError("The body is not valid HTTP."))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on. Where it was we who kept the client waiting, that is not held against it."""
        if self._reading_paused:
            self._came = self._enough
        super().resume_reading(resume_parser)

    # -- what does not come --------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """True as long as no request has come whose header is whole."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def _is_unfinished(self) -> bool:
        return not self._body.is_eof() or (self._header > 0 and self.is_idle)

    @property
    def _enough(self) -> int:
        return int(self._clients.timeout_s * _SLOWEST)

    def _watch(self) -> None:
        self._number, self._came = self._request_count, 0
        self._window = self._loop.call_later(self._clients.timeout_s, self._look)

    def _look(self) -> None:
        """Let the client go that has sent too little."""
        self._window = None
        if not self._is_unfinished:
            return
        is_patient = self._came >= self._enough or self._reading_paused or self._buffer_paused
        if is_patient or self._number != self._request_count:
            self._watch()
        elif self._body.is_eof():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._break_off(TooSlow("The rest of the body did not come in time."))

    def _break_off(self, error: Exception) -> None:
        """Let the body's reader fail, if it still reads; answer, and close."""
        self._body.set_exception(error)
        self._body.feed_eof()  # or aiohttp would wait for the rest
        self.close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer what is not yet a request, and close."""
        self._messages.append((_ErrInfo(status, HttpProcessingError(code=status), ""), EMPTY_PAYLOAD))
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
        self.close()

    # -- what is answered ----------------------------------------------------------------------------------------

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer; say so where it is the last time on this connection (RFC 9112 §9.6)."""
        if isinstance(resp, web.HTTPException):  # nothing but Expect (RFC 9110 §10.1.1) is refused that late
            resp = self._clients.refusal(HTTPStatus(resp.status), sane_request_id(request))
        if self._close:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the client
    ) -> web.StreamResponse:
        """Return the answer to what is no request, or to an error that nobody foresaw."""
        if request.writer.output_size:
            raise ConnectionError("an answer has begun, this can be none")
        if isinstance(exc, HttpProcessingError):
            response = self._clients.refusal(_status_of(exc), str(uuid4()))
        elif "Expect" in request.headers:  # aiohttp would quote it, and fails where it is not UTF-8
            response = self._clients.refusal(HTTPStatus.EXPECTATION_FAILED, sane_request_id(request))
        else:
            logger.error("request failed unexpectedly", exc_info=exc)
            response = self._clients.refusal(HTTPStatus(status), sane_request_id(request))
        response.force_close()
        return response


def _status_of(error: HttpProcessingError) -> HTTPStatus:
    if isinstance(error, LineTooLong) and error.args[1] == MAX_LINE:
        return HTTPStatus.REQUEST_URI_TOO_LONG
    if isinstance(error, LineTooLong) or error.message == _TOO_MANY_FIELDS:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return HTTPStatus(error.code)
