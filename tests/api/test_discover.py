"""Discovery over REST: from an address to an identity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.client import Client
from tests.protocols.name_server import NameServer

DISCOVER = "/api/v2/identities/discover"
REMOTES = "/api/v2/identities/remotes"
ADDRESS = "me@elsewhere.example"


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    """A DNS server where one domain offers a service, and the mail of two goes to a provider that is known."""
    async with NameServer() as server:
        server.has("_imaps._tcp.elsewhere.example", "SRV", "0 1 993 imap.elsewhere.example.")
        server.has("_submissions._tcp.elsewhere.example", "SRV", "0 1 465 mail.provider.example.")
        server.has("elsewhere.example", "MX", "0 aspmx.l.google.com.")
        server.has("_submission._tcp.xn--bcher-kva.example", "SRV", "0 1 587 smtp.xn--bcher-kva.example.")
        yield server


@pytest.fixture
def settings(settings: dict[str, Any], names: NameServer) -> dict[str, Any]:
    """The configuration, with that DNS server and the usual ports."""
    settings["network"] |= {"nameservers": [names.address], "ports": [143, 465, 587, 993]}
    return settings


async def test_proposals(user: Client) -> None:
    """What was found comes best first, with suggested user names and whether to ask the user."""
    reply = await user.post(DISCOVER, {"identifier": "Me@Elsewhere.example"})
    assert (reply.status, reply.json["proposals"]) == (
        200,
        [
            {
                "protocol": "imap",
                "infos": {
                    "inserver": "imap.gmail.com:993",
                    "intls": "implicit",
                    "outserver": "smtp.gmail.com:465",
                    "outtls": "implicit",
                    "provider": "Google",
                },
                "inusername": ADDRESS,
                "outusername": ADDRESS,
                "source": "provider",
                "password": "app",
                "confirm": False,
            },
            {
                "protocol": "imap",
                "infos": {
                    "inserver": "imap.elsewhere.example:993",
                    "intls": "implicit",
                    "outserver": "mail.provider.example:465",
                    "outtls": "implicit",
                },
                "inusername": ADDRESS,
                "outusername": ADDRESS,
                "source": "srv",
                "password": None,
                "confirm": True,
            },
        ],
    )


@pytest.mark.parametrize("address", [ADDRESS, "me@bücher.example", "me@hotmail.com", "me@free.fr"])
async def test_an_identity_from_a_proposal(address: str, user: Client) -> None:
    """Protocol and infos of a proposal are taken as they are when the identity is added."""
    proposal = (await user.post(DISCOVER, {"identifier": address})).json["proposals"][0]
    body = {"identifier": address, "protocol": proposal["protocol"], "infos": proposal["infos"]}
    added = await user.post(REMOTES, body)
    assert added.status == 201, added.json
    identity = (await user.get(added.json["location"])).json
    assert proposal["infos"].items() <= identity["infos"].items()


@pytest.mark.parametrize("address", ["me@nothing.example", "me@[127.0.0.1]", "me@[IPv6:::1]", "me@localhost"])
async def test_nothing_found(address: str, user: Client) -> None:
    """Where nothing is found, and for an address literal, the list is empty."""
    reply = await user.post(DISCOVER, {"identifier": address})
    assert (reply.status, reply.json) == (200, {"proposals": []})


@pytest.mark.parametrize("identifier", ["nobody", "a@b@c", "", "me@elsewhere.example\r\n", "x" * 321, 5, None])
async def test_no_address(identifier: object, user: Client) -> None:
    """What is no mail address is refused."""
    reply = await user.post(DISCOVER, {"identifier": identifier})
    assert reply.status == 422
    assert reply.json["errors"].keys() == {"identifier"}


async def test_signed_in_users_only(api: Client, names: NameServer) -> None:
    """Nobody else makes the gateway ask around."""
    assert (await api.post(DISCOVER, {"identifier": ADDRESS})).status == 401
    assert not names.asked
