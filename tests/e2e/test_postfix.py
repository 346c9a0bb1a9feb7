"""One complete chain of real servers: the gateway, Postfix, Dovecot, and a mail program that reads."""

from __future__ import annotations

import asyncio
import email
import imaplib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.absence import do_without
from tests.client import PASSWORD
from tests.e2e.conftest import Site
from tests.e2e.postfix import Postfix
from tests.protocols.dovecot import Dovecot

ME, FRIEND, HIDDEN = (f"{name}@{Postfix.domain}" for name in ("me", "friend", "hidden"))
STRANGER = "stranger@far-away.example"
_PATIENCE_S = 60


@pytest.fixture(scope="module")
def servers(authority: trustme.CA) -> Iterator[tuple[Postfix, Dovecot]]:
    """A Postfix that delivers to a Dovecot."""
    if not Postfix.is_installed() or not Dovecot.is_installed(for_an_mta=True):
        do_without("Postfix or Dovecot is not installed: apt-get install postfix dovecot-imapd dovecot-lmtpd")
    if os.geteuid() != 0:
        do_without("Only root can start a Postfix.")
    with Dovecot(authority, for_an_mta=True) as dovecot, Postfix(authority, dovecot) as postfix:
        yield postfix, dovecot


@pytest.fixture
async def session(
    new_site: Callable[..., Site],
    servers: tuple[Postfix, Dovecot],
    mongod: EmbeddedMongod,
    mongo: Mongo,
    ca_file: Path,
) -> AsyncIterator[aiohttp.ClientSession]:
    """A user who is signed in to a gateway, as a process, that trusts the authority."""
    postfix, dovecot = servers
    more = f"""
            [network]
            allow = ["127.0.0.0/8"]
            ports = [{postfix.port}, {dovecot.tls_port}]
            ca_file = "{ca_file}"
    """
    site = new_site(more, f'uri = "{mongod.uri}"\ndatabase = "{mongo.database.name}"')
    async with site.running(), aiohttp.ClientSession(site.url) as client:
        account = {"username": "someone", "password": PASSWORD}
        await post(client, "/api/v1/users", account, 201)
        signed_in = await post(client, "/api/v1/authentications", account, 200)
        client.headers["Authorization"] = f"Bearer {signed_in['tokens']['access_token']}"
        yield client


async def post(session: aiohttp.ClientSession, path: str, body: Any, status: int) -> Any:
    """Send a request; return the JSON of an answer that has this status."""
    async with session.post(path, json=body) as response:
        assert response.status == status, await response.text()
        return await response.json()


def account(servers: tuple[Postfix, Dovecot], **credentials: str) -> dict[str, Any]:
    """Return the body that adds the account of ME."""
    postfix, dovecot = servers
    return {
        "protocol": "imap",
        "identifier": ME,
        "display_name": "Mé Here",
        "infos": {
            "inserver": f"{dovecot.host}:{dovecot.tls_port}",
            "intls": "implicit",
            "outserver": f"{postfix.host}:{postfix.port}",
            "outtls": "starttls",
        },
        "credentials": {"inusername": ME, "inpassword": dovecot.password, **credentials},
    }


async def send(session: aiohttp.ClientSession, identity_id: str, status: int, **recipients: str) -> Any:
    """Write a message to recipients by their type, order it, return the answer."""
    draft = {
        "user_identities": [identity_id],
        "subject": "Grüße, and a subject that is too long for one line of a header, so that it has to be folded",
        "body": "One line.\n.\nA lonely dot above, and ünïcode.\n",
        "participants": [{"type": kind, "address": address} for kind, address in recipients.items()],
    }
    created = await post(session, "/api/v1/messages", draft, 201)
    return await post(session, f"{created['location']}/actions", {"actions": ["send"]}, status)


def read(dovecot: Dovecot, tls: ssl.SSLContext, user: str, folder: str) -> list[EmailMessage]:
    """Return what is in a folder, as a mail program that is not ours reads it; blocks."""
    with imaplib.IMAP4_SSL(dovecot.host, dovecot.tls_port, ssl_context=tls, timeout=_PATIENCE_S) as client:
        client.authenticate("PLAIN", lambda _: f"\0{user}\0{dovecot.password}".encode())
        client.select(folder, readonly=True)
        parts = client.uid("FETCH", "1:*", "(BODY.PEEK[])")[1]  # of an empty folder too
    return [email.message_from_bytes(part[1], policy=policy.default) for part in parts if isinstance(part, tuple)]


async def delivered(dovecot: Dovecot, tls: ssl.SSLContext, user: str, folder: str = "INBOX") -> EmailMessage:
    """Return the one message in a folder, as soon as it is there."""
    async with asyncio.timeout(_PATIENCE_S):
        while not (found := await asyncio.to_thread(read, dovecot, tls, user, folder)):
            await asyncio.sleep(0.02)
    (message,) = found
    return message


async def test_the_whole_way(
    session: aiohttp.ClientSession, servers: tuple[Postfix, Dovecot], client_tls: ssl.SSLContext
) -> None:
    """From an order over REST to the INBOX of each recipient and the sender's Sent folder, by real servers."""
    _, dovecot = servers
    added = await post(session, "/api/v2/identities/remotes?verify=true", account(servers), 201)
    message = await send(session, added["identity_id"], 200, To=FRIEND, Bcc=HIDDEN)
    outcome = message["delivery"]["recipients"]
    assert {(each["state"], each["smtp_code"]) for each in outcome.values()} == {("accepted", 250)}
    assert "queued as" in outcome[FRIEND]["smtp_reply"]
    own = await delivered(dovecot, client_tls, ME, dovecot.sent)
    assert (own["Bcc"], own["To"]) == (HIDDEN, FRIEND)
    for user in (FRIEND, HIDDEN):
        received = await delivered(dovecot, client_tls, user)
        assert received["Message-ID"] == own["Message-ID"]
        assert received["Message-ID"] == f"<{message['external_references']['message_id']}>"
        assert (received["Subject"], received["Bcc"]) == (message["subject"], None)
        assert received["From"].addresses[0].display_name == "Mé Here"
        assert received["From"].addresses[0].addr_spec == ME
        assert received.get_content().splitlines() == message["body"].splitlines()
        assert "with LMTP" in received["Received"]
        assert "with ESMTPSA" in received.get_all("Received", [])[-1]


async def test_what_postfix_refuses(session: aiohttp.ClientSession, servers: tuple[Postfix, Dovecot]) -> None:
    """What a real server refuses is told per recipient, or for the whole message when it refuses all."""
    added = await post(session, "/api/v2/identities/remotes", account(servers), 201)
    message = await send(session, added["identity_id"], 200, To=FRIEND, Cc=STRANGER)
    outcome = message["delivery"]["recipients"]
    assert {address: each["smtp_code"] for address, each in outcome.items()} == {FRIEND: 250, STRANGER: 554}
    problem = await send(session, added["identity_id"], 424, To=STRANGER)
    assert "Relay access denied" in problem["detail"]


async def test_a_wrong_password(session: aiohttp.ClientSession, servers: tuple[Postfix, Dovecot]) -> None:
    """A password that Postfix does not take is told when the account is added, and when a message is sent."""
    wrong = account(servers, outusername=ME, outpassword="wr0ng")
    problem = await post(session, "/api/v2/identities/remotes?verify=true", wrong, 424)
    assert problem["errors"].keys() == {"outserver"}
    added = await post(session, "/api/v2/identities/remotes", wrong, 201)
    problem = await send(session, added["identity_id"], 424, To=FRIEND)
    assert "535" in problem["detail"]
    assert "wr0ng" not in str(problem)
