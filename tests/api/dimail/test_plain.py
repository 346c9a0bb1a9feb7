"""Errors as plain JSON, in an application that does nothing but fail."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from api.dimail.plain import plain_errors
from gateway import errors

CASES: list[tuple[Exception, int]] = [
    (errors.Malformed("x"), 422),
    (errors.UnsupportedMedia("x"), 422),
    (errors.Invalid("x"), 422),
    (errors.NotAuthenticated("x"), 401),
    (errors.Forbidden("x"), 403),
    (errors.NotFound("x"), 404),
    (errors.Conflict("x"), 409),
    (errors.TooLarge("x"), 413),
    (errors.TooOften("x", 7), 429),
    (errors.Unavailable("x", 7), 503),
    (errors.Refused("x"), 502),
    (errors.Unreachable("x"), 502),
    (web.HTTPRequestEntityTooLarge(1, 2, text="x"), 413),
    (errors.Invalid("x", {"a": ["It's one.", "It's two."], "b.0": ["Three."]}), 422),
]


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> TestClient[Any, Any]:
    """A client of the application, which raises a case by its number."""

    async def fail(request: web.Request) -> web.Response:
        raise CASES[int(request.match_info["number"])][0]

    async def crash(_: web.Request) -> web.Response:
        raise RuntimeError("a secret")

    app = web.Application(middlewares=[plain_errors])
    app.router.add_get("/dimail/{number:[0-9]+}", fail)
    app.router.add_get("/dimail/crash", crash)
    return await aiohttp_client(app)


async def test_statuses(client: TestClient[Any, Any]) -> None:
    """Each error has its status; what is over soon says when."""
    for number, (error, status) in enumerate(CASES):
        async with client.get(f"/dimail/{number}") as response:
            assert response.status == status, error
            assert response.headers["Content-Type"] == "application/json"
            assert (await response.json()).keys() == {"detail"}
            assert response.headers.get("Retry-After") == ("7" if status in (429, 503) else None)
            assert ("WWW-Authenticate" in response.headers) is (status == 401)


async def test_a_fault_of_ours(client: TestClient[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    """What nobody thought of is a 500 without details, which the log has."""
    async with client.get("/dimail/crash") as response:
        assert (response.status, await response.json()) == (500, {"detail": "Internal Server Error"})
    assert "a secret" in caplog.text


async def test_one_string(client: TestClient[Any, Any]) -> None:
    """Several faults are one string, without the apostrophes that People makes quotation marks of."""
    async with client.get(f"/dimail/{len(CASES) - 1}") as response:
        text = (await response.text()).replace("'", '"')
    quote = "\N{RIGHT SINGLE QUOTATION MARK}"
    assert orjson.loads(text)["detail"] == f"a: It{quote}s one. It{quote}s two.; b.0: Three."
