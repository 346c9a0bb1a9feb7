"""A domain from its first mention to mail that is sent from it: DNS, Postfix, Dovecot and the gateway, all real."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.absence import do_without
from tests.client import PASSWORD
from tests.e2e.conftest import Site
from tests.e2e.test_postfix import FRIEND, HIDDEN, ME, delivered, post, send, servers
from tests.protocols.dovecot import Dovecot
from tests.protocols.name_server import NameServer

__all__ = ["servers"]  # a fixture

DOMAIN = "lodge.example"
_OURS = "_spf.home.example"
_AUTHORITY = "127.0.53.1"
_TXT_BYTES = 255  # of one string of a record, RFC 1035 §3.3.14
_PATIENCE_S = 60


@pytest.fixture
async def zone() -> AsyncIterator[NameServer]:
    """The domain's own name server, at the port where everybody looks for it."""
    server = NameServer(DOMAIN, _AUTHORITY, 53)
    try:
        async with server:
            server.has(DOMAIN, "NS", "ns.lodge.example.")
            yield server
    except PermissionError:
        do_without("Only root can listen on port 53.")


@pytest.fixture
async def resolver() -> AsyncIterator[NameServer]:
    """The resolver that the gateway asks."""
    async with NameServer() as server:
        server.has(DOMAIN, "NS", "ns.lodge.example.")
        server.has("ns.lodge.example", "A", _AUTHORITY)
        server.has(_OURS, "TXT", '"v=spf1 ip4:192.0.2.10 -all"')
        yield server


@pytest.fixture
def outside(servers: tuple[Any, Dovecot], resolver: NameServer, ca_file: Path) -> str:
    """Configure the Postfix as the relay, and whom to ask for names."""
    postfix, dovecot = servers
    return f"""
            [relay]
            host = "{postfix.host}"
            port = {postfix.port}
            username = "{ME}"
            password = "{dovecot.password}"
            [network]
            allow = ["127.0.0.0/8"]
            nameservers = ["{resolver.address}"]
            ca_file = "{ca_file}"
    """


@pytest.fixture
async def site(
    new_site: Callable[..., Site], outside: str, mongod: EmbeddedMongod, mongo: Mongo
) -> AsyncIterator[Site]:
    """A gateway at work."""
    site = new_site(outside, f'uri = "{mongod.uri}"\ndatabase = "{mongo.database.name}"')
    async with site.running():
        yield site


@pytest.fixture
async def owner(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    """A user who is signed in."""
    async with aiohttp.ClientSession(site.url) as client:
        account = {"username": "someone", "password": PASSWORD}
        await post(client, "/api/v1/users", account, 201)
        signed_in = await post(client, "/api/v1/authentications", account, 200)
        client.headers["Authorization"] = f"Bearer {signed_in['tokens']['access_token']}"
        yield client


async def check(session: aiohttp.ClientSession) -> Any:
    """Have the domain checked; return it."""
    return await post(session, f"/api/v2/domains/{DOMAIN}/actions", {"actions": ["check"]}, 200)


def publish(zone: NameServer, records: list[Mapping[str, str]]) -> None:
    """Do what the gateway tells the owner to do."""
    for record in records:
        name = f"{record['target']}.{DOMAIN}".lstrip(".")
        zone.has(name, record["type"].upper(), _presented(record["type"], record["value"]))


def _presented(kind: str, value: str) -> str:
    """Return a value as a zone file has it."""
    if kind == "mx":
        return f"10 {value}"
    if kind == "txt":
        parts = [value[start : start + _TXT_BYTES] for start in range(0, len(value), _TXT_BYTES)]
        return " ".join(f'"{part}"' for part in parts)
    return value


async def mailbox(session: aiohttp.ClientSession, status: str) -> Any:
    """Return the mailbox as soon as it has this status."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            async with session.get(f"/api/v2/domains/{DOMAIN}/mailboxes/desk") as response:
                found = await response.json()
            if found["status"] == status:
                return found
            await asyncio.sleep(0.02)


async def test_from_the_zone_to_the_letter(
    owner: aiohttp.ClientSession, servers: tuple[Any, Dovecot], zone: NameServer, client_tls: ssl.SSLContext
) -> None:
    """Whoever publishes what the gateway tells has an enabled domain, mailboxes with a sign-in link, and sends."""
    _, dovecot = servers
    domain = await post(owner, "/api/v2/domains", {"name": DOMAIN}, 201)
    assert (domain["status"], domain["role"]) == ("pending", "owner")
    async with owner.get("/api/v1/me") as response:
        me = await response.json()
    desk = {"local_part": "desk", "first_name": "Front", "last_name": "Desk", "secondary_email": HIDDEN}
    waiting = await post(owner, f"/api/v2/domains/{DOMAIN}/mailboxes", {**desk, "user_id": me["user_id"]}, 201)
    assert waiting["status"] == "pending"

    unpublished = await check(owner)
    assert unpublished["status"] == "action_required"
    missing = {fault["code"] for each in unpublished["checks"].values() for fault in each["errors"]}
    assert missing == {"no_mx", "no_cname_imap", "no_cname_smtp", "no_cname_webmail", "no_spf", "no_dkim"}

    publish(zone, unpublished["expected_config"])
    enabled = await check(owner)
    assert enabled["status"] == "enabled", enabled["checks"]
    await mailbox(owner, "enabled")
    letter = await delivered(dovecot, client_tls, HIDDEN)
    assert letter["From"].addresses[0].addr_spec == "no-reply@home.example"
    (link,) = re.findall(r"https://webmail\.home\.example/login/\S+", letter.get_content())
    assert len(link.rpartition("/")[2]) >= 20

    async with owner.get("/api/v2/identities/locals") as response:
        identities = (await response.json())["local_identities"]
    (identity,) = (each for each in identities if each["identifier"] == f"desk@{DOMAIN}")
    message = await send(owner, identity["identity_id"], 200, To=FRIEND)
    assert message["delivery"]["state"] == "sent"
    letter = await delivered(dovecot, client_tls, FRIEND)
    assert letter["From"].addresses[0].addr_spec == f"desk@{DOMAIN}"
    assert letter["Message-ID"] == f"<{message['external_references']['message_id']}>"
