"""Errors → HTTP: one table, and ``application/problem+json`` (RFC 9457) for what the table says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from gateway import errors

CONTENT_TYPE = "application/problem+json"

STATUSES: Mapping[type[errors.GatewayError], HTTPStatus] = {
    errors.Malformed: HTTPStatus.BAD_REQUEST,
    errors.TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.Stale: HTTPStatus.PRECONDITION_FAILED,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMedia: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RemoteError: HTTPStatus.FAILED_DEPENDENCY,
    errors.TooOften: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
_TITLES = {
    HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Body Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
    HTTPStatus.FAILED_DEPENDENCY: "The Mail Server Refused",
}
_DETAILS = {
    HTTPStatus.BAD_REQUEST: "This is no HTTP request, or not one as RFC 9112 has it.",
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take that verb; see Allow.",
    HTTPStatus.REQUEST_TIMEOUT: "The rest of the request did not come in time.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The address is too long.",
    HTTPStatus.EXPECTATION_FAILED: "Of what a client may expect (Expect), 100-continue alone is known.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The header is too large, or one of its fields is.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An internal error. The log has it under this X-Request-ID.",
}
_MAX_DETAIL = 2000  # characters; some details name what a client sent, which may be long
_CHALLENGE = 'Basic realm="mail gateway", charset="UTF-8", Bearer realm="mail gateway"'


def status_of(error: errors.GatewayError) -> HTTPStatus:
    """Return the status of the nearest class in the table."""
    for kind in type(error).__mro__:
        if status := STATUSES.get(kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    field_errors: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return a problem document. ``type`` is about:blank: the status says what kind of problem it is."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, status.phrase),
        "status": int(status),
        "detail": detail if len(detail) <= _MAX_DETAIL else f"{detail[:_MAX_DETAIL]}…",
    }
    if field_errors:
        document["errors"] = field_errors
    body = orjson.dumps(document)
    return web.Response(status=status, body=body, content_type=CONTENT_TYPE, headers=headers)


def of_error(error: errors.GatewayError) -> web.Response:
    """Return the problem document of one of our errors."""
    status = status_of(error)
    headers = {}
    if isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = _CHALLENGE
    if isinstance(error, errors.Unavailable | errors.TooOften):
        headers["Retry-After"] = str(error.retry_after)
    field_errors = error.errors if isinstance(error, errors.Invalid | errors.CheckFailed) else None
    return problem(status, str(error), field_errors=field_errors, headers=headers)


def of_http_error(error: web.HTTPException) -> web.Response:
    """Return the problem document of an error that aiohttp found: no such route, wrong verb."""
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return of_status(HTTPStatus(error.status), headers)


def of_status(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return the problem document where the status says all there is to say."""
    return problem(status, _DETAILS.get(status, status.phrase), headers=headers)
