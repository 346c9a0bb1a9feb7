"""Aliases and addresses under ``/dimail``."""

from __future__ import annotations

import pytest

from tests.client import Client
from tests.dimail import DimailClient

DOMAIN = "a.ok.test"
ALIASES = f"/domains/{DOMAIN}/aliases"
THERE = "anything@example.com"
ELSEWHERE = "other@example.com"


@pytest.fixture
async def host(people: DimailClient) -> DimailClient:
    """The account that hosts the domain."""
    assert (await people.host(DOMAIN)).status == 201
    return people


def alias(user_name: str, destination: str) -> dict[str, str]:
    """Return an alias as clients see it."""
    return {"username": user_name, "domain": DOMAIN, "destination": destination}


async def add(client: DimailClient, user_name: str, destination: str) -> None:
    """Add an alias."""
    body = {"user_name": user_name, "destination": destination}
    reply = await client.by_token("POST", f"{ALIASES}/", body)
    assert (reply.status, reply.json) == (201, alias(user_name, destination))


async def test_add(host: DimailClient) -> None:
    """A pair is there once; an address may have many destinations."""
    await add(host, "from", THERE)
    again = await host.by_token("POST", ALIASES, {"user_name": "From", "destination": "anything@EXAMPLE.com"})
    assert again.status == 409
    await add(host, "from", ELSEWHERE)


async def test_list(host: DimailClient) -> None:
    """All aliases, those of an address, or one pair; a destination alone is too little to ask for."""
    assert (await host.by_token("GET", f"{ALIASES}/")).json == []
    for user_name, destination in (("from", THERE), ("from", ELSEWHERE), ("old.chap", THERE)):
        await add(host, user_name, destination)
    everything = [alias("from", THERE), alias("from", ELSEWHERE), alias("old.chap", THERE)]
    for query, expected in (
        ("", everything),
        ("?user_name=&destination=", everything),
        ("?user_name=from", everything[:2]),
        ("?user_name=FROM&destination=", everything[:2]),
        ("?user_name=nobody", []),
        (f"?user_name=from&destination={ELSEWHERE}", everything[1:2]),
    ):
        reply = await host.by_token("GET", f"{ALIASES}/{query}")
        assert (reply.status, reply.json) == (200, expected), query
    for query in (f"?user_name=old.chap&destination={ELSEWHERE}", "?user_name=from&destination=nothing"):
        assert (await host.by_token("GET", f"{ALIASES}/{query}")).status == 404
    for query in (f"?destination={THERE}", f"?user_name=&destination={THERE}"):
        assert (await host.by_token("GET", f"{ALIASES}/{query}")).status == 412


async def test_delete(host: DimailClient) -> None:
    """One destination goes, or all of an address; what is not there is not found."""
    for user_name, destination in (("from", THERE), ("from", ELSEWHERE), ("old.chap", THERE)):
        await add(host, user_name, destination)
    for path, status in (
        (f"from/{THERE}", 204),
        (f"from/{THERE}", 404),
        ("from/nothing", 404),
        ("from/all", 204),
        ("from/all", 404),
        ("nobody/all/", 404),
        (f"OLD.chap/{THERE}/", 204),
    ):
        assert (await host.by_token("DELETE", f"{ALIASES}/{path}")).status == status, path
    assert (await host.by_token("GET", f"{ALIASES}/")).json == []


async def test_what_is_no_alias(host: DimailClient) -> None:
    """What cannot be an alias is 422."""
    for body in [
        {"user_name": "a..b", "destination": THERE},
        {"user_name": "from", "destination": "all"},
        {"user_name": "from", "destination": f"from@{DOMAIN}"},
        {"user_name": "from"},
        {"destination": THERE},
        {"user_name": None, "destination": THERE},
        {"user_name": "from", "destination": "x" * 1000},
    ]:
        assert (await host.by_token("POST", f"{ALIASES}/", body)).status == 422


async def test_the_same_alias(people: DimailClient, user: Client) -> None:
    """An alias that is made here is seen under /api/v2, and the other way round."""
    await user.post("/api/v2/domains", {"name": DOMAIN})
    await people.call("POST", "/allows/", {"user": "la_regie", "domain": DOMAIN})
    await add(people, "from", THERE)
    aliases = f"/api/v2/domains/{DOMAIN}/aliases"
    assert (await user.get(aliases)).json["aliases"] == [{"local_part": "from", "destination": THERE}]
    await user.post(aliases, {"local_part": "from", "destination": ELSEWHERE})
    assert (await people.by_token("GET", f"{ALIASES}/")).json == [alias("from", THERE), alias("from", ELSEWHERE)]


async def test_address(host: DimailClient) -> None:
    """An address is a mailbox, an alias, both or nothing."""
    await host.mailbox(DOMAIN, "ada")
    await add(host, "from", THERE)
    await add(host, "ada", ELSEWHERE)
    for user_name, primary, destinations in (
        ("Ada", f"ada@{DOMAIN}", [ELSEWHERE]),
        ("from", None, [THERE]),
    ):
        reply = await host.by_token("GET", f"/domains/{DOMAIN}/address/{user_name}/")
        email = f"{user_name.lower()}@{DOMAIN}"
        assert reply.json == {"email": email, "ox_primary_email": primary, "aliases": destinations}
    assert (await host.by_token("GET", f"/domains/{DOMAIN}/address/nobody/")).status == 404
