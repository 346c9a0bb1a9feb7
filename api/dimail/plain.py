"""Errors → HTTP under ``/dimail``: ``{"detail": "…"}``, as clients of dimail read them.

A detail is a string, also where several things are wrong: La Suite's People shows it as it is. It has no
apostrophe, because that client turns each one into a quotation mark before it parses the body.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import orjson
from aiohttp import web

from api import problems
from gateway import errors

logger = logging.getLogger(__name__)

_ROOT = "/dimail"
_CHALLENGE = 'Basic realm="mail gateway", charset="UTF-8"'
_STATUSES: Mapping[type[errors.GatewayError], HTTPStatus] = {
    **problems.STATUSES,
    errors.Malformed: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnsupportedMedia: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RemoteError: HTTPStatus.BAD_GATEWAY,  # People tries a PATCH again after that
}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn all errors below ``/dimail`` into plain ones; nothing else is touched."""
    if f"{request.path}/".startswith(f"{_ROOT}/"):
        return await _answered(request, handler)
    return await handler(request)


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except errors.GatewayError as error:
        if isinstance(error, errors.Unavailable):
            logger.warning("database away", extra={"cause": str(error.__cause__)})
        return _of_error(error)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _plain(error.status, error.reason, headers)
    except Exception:
        logger.exception("request failed unexpectedly")
        return _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")


def _plain(status: int, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = orjson.dumps({"detail": detail.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _of_error(error: errors.GatewayError) -> web.Response:
    status = next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)
    headers = {}
    if isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = _CHALLENGE
    if isinstance(error, errors.Unavailable | errors.TooOften):
        headers["Retry-After"] = str(error.retry_after)
    return _plain(status, _detail(error), headers)


def _detail(error: errors.GatewayError) -> str:
    faults = error.errors if isinstance(error, errors.Invalid) else {}
    return "; ".join(f"{path}: {' '.join(messages)}" for path, messages in faults.items()) or str(error)
