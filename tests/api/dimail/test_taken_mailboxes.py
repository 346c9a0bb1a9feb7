"""Mailboxes that a dimail server behind the gateway has already, or may have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.dimail import NAMES, DimailClient
from tests.protocols.backends.dimail_double import NAME, PASSWORD, DimailDouble, cut, detail

DOMAIN = "a.dns.test"
ADA = f"/domains/{DOMAIN}/mailboxes/ada"
STRANGERS = {"givenName": "Adam"}


@pytest.fixture
async def server() -> AsyncIterator[DimailDouble]:
    """The server."""
    async with DimailDouble() as double:
        yield double


@pytest.fixture
def settings(settings: dict[str, Any], server: DimailDouble) -> dict[str, Any]:
    """A gateway of which it is the mail backend."""
    dimail = {"url": server.url, "username": NAME, "password": PASSWORD}
    return settings | {"domains": {"backend": "dimail"}, "dimail": dimail}


@pytest.fixture
async def host(people: DimailClient) -> DimailClient:
    """The account that hosts the domain."""
    assert (await people.host(DOMAIN)).status == 201
    return people


async def forbidden(_: web.Request) -> web.Response:
    """Take no password."""
    return detail(403, "Permission denied")


async def test_somebody_elses(host: DimailClient, server: DimailDouble) -> None:
    """What was not even asked for leaves what the server has alone, whatever is done to the mailbox then."""
    server.mailboxes[DOMAIN, "ada"] = STRANGERS
    server.answer_next("POST", "/ada", forbidden, forbidden)
    assert (await host.by_token("POST", ADA, NAMES)).status == 502
    assert (await host.by_token("PATCH", ADA, {"active": "no"})).status == 200
    assert (await host.by_token("PATCH", ADA, {"active": "yes"})).status == 200
    assert (await host.by_token("DELETE", ADA)).status == 204
    assert (await host.by_token("POST", ADA, NAMES)).status == 409
    assert (await host.by_token("GET", ADA)).status == 404
    assert server.mailboxes == {(DOMAIN, "ada"): STRANGERS}


async def test_lost_answer(host: DimailClient, server: DimailDouble) -> None:
    """What nobody knows whose it is stays at the server; that is told once, then it is deleted here."""
    server.answer_next("POST", "/ada", cut)
    assert (await host.by_token("POST", ADA, NAMES)).status == 502
    server.mailboxes[DOMAIN, "ada"] = STRANGERS
    refused = await host.by_token("DELETE", ADA)
    assert (refused.status, "not known to come from here" in refused.json["detail"]) == (409, True)
    assert (await host.by_token("DELETE", ADA)).status == 204
    assert server.mailboxes == {(DOMAIN, "ada"): STRANGERS}
