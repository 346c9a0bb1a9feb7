"""The aiohttp application: the operations, and what is done around every one of them.

Around a request: 1. it gets an id, which its answer and its log lines carry; 2. a preflight is answered, see
``api/cors.py``; 3. errors become problem documents; 4. it is logged and counted.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from ipaddress import ip_network
from random import getrandbits
from uuid import UUID

from aiohttp import web
from aiohttp.typedefs import Middleware
from structlog.contextvars import bound_contextvars

from api import console, docs, problems
from api.auth import IPNetwork
from api.cors import Cors
from api.dimail.plain import plain_errors
from api.dimail.routing import DimailFace
from api.listing import CLIENT_TIMEOUT_S
from api.metrics import Metrics
from api.openapi import OpenAPI
from api.routing import Operation, register
from gateway.accounts import Accounts
from gateway.config import ServerSection
from gateway.errors import GatewayError, Unavailable

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def build(
    operations: Sequence[Operation],
    dimail: DimailFace,
    accounts: Accounts,
    metrics: Metrics,
    settings: ServerSection,
) -> web.Application:
    """Return the application, ready to be served."""
    app = bare(OpenAPI(operations).operations, accounts, metrics, settings)
    dimail.register(app, _proxies(settings))
    app.router.add_routes([*console.routes(), *docs.routes()])
    return app


def bare(
    operations: Sequence[Operation], accounts: Accounts, metrics: Metrics, settings: ServerSection
) -> web.Application:
    """Return an application of these operations and nothing else."""
    around = _around(metrics, Cors(settings.cors_origins))
    app = web.Application(middlewares=[around, plain_errors], client_max_size=settings.max_body_bytes)
    app[CLIENT_TIMEOUT_S] = settings.client_timeout_s
    register(app, operations, accounts, _proxies(settings))
    return app


def _proxies(settings: ServerSection) -> Sequence[IPNetwork]:
    return [ip_network(network) for network in settings.trusted_proxies]


def _around(metrics: Metrics, cors: Cors) -> Middleware:
    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = sane_request_id(request)
        started = time.monotonic()
        with bound_contextvars(request_id=request_id), metrics.in_flight.track_inprogress():
            response = cors.preflight(request) or await _answered(request, handler)
            for name, value in {**HEADERS, **cors.headers(request), "X-Request-ID": request_id}.items():
                response.headers.setdefault(name, value)
            _report(request, response.status, time.monotonic() - started, metrics)
        return response

    return around


def sane_request_id(request: web.BaseRequest) -> str:
    """Return the id that the client gave the request, where it is one, else a new one."""
    given = request.headers.get("X-Request-ID", "")
    # No secret, so not of the system's randomness, which is a call of the kernel.
    return given if _SANE_REQUEST_ID.fullmatch(given) else str(UUID(int=getrandbits(128), version=4))


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except GatewayError as error:
        if isinstance(error, Unavailable):
            logger.warning("database away", extra={"cause": str(error.__cause__)})
        return problems.of_error(error)
    except web.HTTPException as error:
        return problems.of_http_error(error)
    except Exception:
        logger.exception("request failed unexpectedly")
        return problems.of_status(HTTPStatus.INTERNAL_SERVER_ERROR)


def _report(request: web.Request, status: int, seconds: float, metrics: Metrics) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "none"
    method = request.method if resource else "any"
    metrics.request(method, route, status, seconds)
    logger.info(
        "request",
        extra={
            "method": request.method,
            "path": request.path,
            "status": status,
            "ms": round(seconds * 1000, 1),
        },
    )
