"""Invitations to manage a domain; their mails are tested in test_notices.py, the roles in test_role_matrix.py."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any
from uuid import uuid4

import pytest

from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.client import PASSWORD, Client, Reply
from tests.conftest import FRIEND, ME

DOMAIN = "/api/v2/domains/bücher.ok.test"
INVITATIONS = f"{DOMAIN}/invitations"
ACCEPT = "/api/v2/invitations/accept"
UNKNOWN = "6f2b0a52-9f4e-4c9c-9e4e-0b3c1a5d7e11"


@pytest.fixture
async def owner(api: Client) -> Client:
    """The owner of the domain."""
    owner = await api.register("owner")
    assert (await owner.post("/api/v2/domains", {"name": "bücher.ok.test"})).status == 201
    return owner


async def invite(owner: Client, email: str = FRIEND.address, role: str = "viewer") -> Reply:
    """Invite an address."""
    return await owner.post(INVITATIONS, {"email": email, "role": role})


async def listed(owner: Client) -> list[dict[str, Any]]:
    """Return the invitations to the domain."""
    reply = await owner.get(INVITATIONS)
    assert reply.json["total"] == len(reply.json["invitations"])
    invitations: list[dict[str, Any]] = reply.json["invitations"]
    return invitations


async def role_of(client: Client) -> str | None:
    """Return the client's role on the domain."""
    reply = await client.get(DOMAIN)
    return reply.json["role"] if reply.status == 200 else None


async def mailed(provider: Provider, address: str = FRIEND.address) -> str:
    """Return the text of the first mail that arrives for an address."""
    async with asyncio.timeout(20):
        while not provider.inbox(address):
            await asyncio.sleep(0.02)
    text: str = message_from_bytes(provider.inbox(address)[0], policy=policy.default).get_content()
    return text


async def token_of(provider: Provider) -> str:
    """Return the token that arrives by mail."""
    (token,) = re.findall(r"^[\w-]{40,}\r?$", await mailed(provider), re.MULTILINE)
    return str(token).strip()


async def test_invite(api: Client, owner: Client, provider: Provider) -> None:
    """Who comes with the token of the mail gets the role, once, whatever his own address is."""
    reply = await invite(owner, FRIEND.address.upper(), "administrator")
    assert reply.status == 201
    expires_at = datetime.fromisoformat(reply.json["expires_at"])
    assert timedelta(days=6.9) < expires_at - datetime.now(UTC) <= timedelta(days=7)
    assert {**reply.json, "id": "", "expires_at": ""} == {
        "id": "",
        "email": FRIEND.address,
        "role": "administrator",
        "expires_at": "",
    }
    assert await listed(owner) == [reply.json]
    token = await token_of(provider)
    friend, stranger = await api.register("friend"), await api.register("stranger")
    accepted = await friend.post(ACCEPT, {"token": token})
    assert (accepted.status, accepted.json) == (200, {"domain": "bücher.ok.test", "role": "administrator"})
    assert await role_of(friend) == "administrator"
    assert await listed(owner) == []
    for client in (friend, stranger):
        assert (await client.post(ACCEPT, {"token": token})).status == 404
    assert await role_of(stranger) is None


@pytest.mark.configured(server={"public_url": "https://mail.example/"})
async def test_link(owner: Client, provider: Provider) -> None:
    """Where people reach the gateway is known the mail has a link; it names inviter, domain and role."""
    await invite(owner)
    text = " ".join((await mailed(provider)).split())
    assert re.search(r" https://mail\.example/#invitation=[\w-]{43} ", text)
    assert "owner invites you to manage the domain bücher.ok.test, as viewer" in text


@pytest.mark.configured(domains={"sender": "robot@elsewhere.example"})
async def test_sender(owner: Client, provider: Provider) -> None:
    """The mail comes from the configured address."""
    await invite(owner)
    await mailed(provider)
    assert provider.received[0].mail_from == "robot@elsewhere.example"


async def test_accepted_at_once(api: Client, owner: Client, provider: Provider) -> None:
    """Of many who come with one token at once one gets the role."""
    await invite(owner)
    token = await token_of(provider)
    clients = [await api.register(f"user-{n}") for n in range(4)]
    replies = await asyncio.gather(*(client.post(ACCEPT, {"token": token}) for client in clients))
    assert sorted(reply.status for reply in replies) == [200, 404, 404, 404]
    assert (await owner.get(f"{DOMAIN}/accesses")).json["total"] == 2


async def test_higher_role_stays(owner: Client, provider: Provider) -> None:
    """Who has a higher role already keeps it."""
    await invite(owner)
    accepted = await owner.post(ACCEPT, {"token": await token_of(provider)})
    assert (accepted.status, accepted.json["role"]) == (200, "owner")
    assert await role_of(owner) == "owner"
    assert await listed(owner) == []


async def test_taken_back(api: Client, owner: Client, provider: Provider) -> None:
    """What is taken back is in no list and gives nothing."""
    invitation_id = (await invite(owner)).json["id"]
    token = await token_of(provider)
    path = f"{INVITATIONS}/{invitation_id}"
    other = await api.register("other")
    assert (await other.post("/api/v2/domains", {"name": "other.ok.test"})).status == 201
    assert (await other.call("DELETE", f"/api/v2/domains/other.ok.test/invitations/{invitation_id}")).status == 404
    assert (await owner.call("DELETE", path)).status == 204
    assert (await owner.call("DELETE", path)).status == 404
    assert (await owner.call("DELETE", f"{INVITATIONS}/{UNKNOWN}")).status == 404
    assert await listed(owner) == []
    assert (await owner.post(ACCEPT, {"token": token})).status == 404


@pytest.mark.parametrize("end", ["removed", "lowered", "left", "deleted"])
async def test_inviter_without_role(api: Client, owner: Client, provider: Provider, end: str) -> None:
    """What who has lost the role had invited to is void, as a token that nobody knows, and cleared away."""
    administrator = await api.register("helper")
    access = f"{DOMAIN}/accesses/{administrator.user_id}"
    body = {"user_id": administrator.user_id, "role": "administrator"}
    assert (await owner.post(f"{DOMAIN}/accesses", body)).status == 201
    for address in (FRIEND.address, "later@home.example"):
        assert (await invite(administrator, address, "administrator")).status == 201
    token = await token_of(provider)
    ways = {
        "removed": lambda: owner.call("DELETE", access),
        "lowered": lambda: owner.call("PATCH", access, {"role": "viewer"}),
        "left": lambda: administrator.call("DELETE", access),
        "deleted": lambda: administrator.call(
            "DELETE", f"/api/v2/users/{administrator.user_id}", {"password": PASSWORD}
        ),
    }
    assert (await ways[end]()).status == 204
    assert len(await listed(owner)) == 2
    later = await api.register("later")
    assert (await later.post(ACCEPT, {"token": token})).status == 404
    assert await role_of(later) is None
    assert await listed(owner) == []


async def test_invited_anew(api: Client, owner: Client) -> None:
    """What somebody had invited to who has lost the role does not keep the owner from inviting."""
    helper = await api.register("helper")
    body = {"user_id": helper.user_id, "role": "administrator"}
    assert (await owner.post(f"{DOMAIN}/accesses", body)).status == 201
    assert (await invite(helper)).status == 201
    assert (await invite(owner)).status == 409
    assert (await owner.call("PATCH", f"{DOMAIN}/accesses/{helper.user_id}", {"role": "viewer"})).status == 204
    again = await invite(owner)
    assert (again.status, await listed(owner)) == (201, [again.json])


async def test_expired(api: Client, owner: Client, provider: Provider, mongo: Mongo) -> None:
    """What has expired is in no list and gives nothing; the address can be invited again."""
    await invite(owner)
    await invite(owner, "later@home.example")
    token = await token_of(provider)
    past = {"$set": {"expires_at": datetime.now(UTC) - timedelta(milliseconds=1)}}
    await mongo.collection("invitations").update_many({}, past)
    assert await listed(owner) == []
    assert (await owner.post(ACCEPT, {"token": token})).status == 404
    assert await role_of(await api.register("later")) is None
    assert (await invite(owner)).status == 201


@pytest.mark.parametrize("body", [{"token": "x"}, {"token": ""}, {"token": "\u0000"}])
async def test_wrong_token(owner: Client, body: dict[str, str]) -> None:
    """A wrong token is 404."""
    assert (await owner.post(ACCEPT, body)).status == 404


@pytest.mark.parametrize("body", [{}, {"token": 7}, {"token": "x" * 129}, {"token": "x", "colour": "red"}])
async def test_no_token(owner: Client, body: dict[str, Any]) -> None:
    """What cannot be a token is 422."""
    assert (await owner.post(ACCEPT, body)).status == 422


async def test_guessing(api: Client, owner: Client) -> None:
    """Who tries wrong tokens is told to wait, and nobody else is."""
    replies = [await owner.post(ACCEPT, {"token": f"{n}"}) for n in range(21)]
    assert [reply.status for reply in replies] == [404] * 20 + [429]
    assert int(replies[-1].headers["Retry-After"]) > 0
    assert (await (await api.register("other")).post(ACCEPT, {"token": "x"})).status == 404


async def test_many_invitations(owner: Client) -> None:
    """Nobody can have the gateway write to the whole world."""
    replies = [await invite(owner, f"n{n}@elsewhere.example") for n in range(51)]
    assert [reply.status for reply in replies] == [201] * 50 + [429]


async def test_invited_already(owner: Client) -> None:
    """A second invitation of an address is 409, in whatever spelling, until the first is taken back."""
    invitation_id = (await invite(owner, "me@bücher.example")).json["id"]
    reply = await invite(owner, "ME@xn--bcher-kva.example", "owner")
    assert reply.status == 409
    assert [each["role"] for each in await listed(owner)] == ["viewer"]
    assert (await owner.call("DELETE", f"{INVITATIONS}/{invitation_id}")).status == 204
    assert (await invite(owner, "me@bücher.example")).status == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "a@b\r\nc"}, "email"),
        ({"email": None}, "email"),
        ({"role": "king"}, "role"),
        ({"token": "x"}, "token"),
    ],
)
async def test_refused(owner: Client, change: dict[str, Any], field: str) -> None:
    """What is no address, no role or no property is 422, and nobody is invited."""
    reply = await owner.post(INVITATIONS, {"email": FRIEND.address, "role": "viewer"} | change)
    assert (reply.status, list(reply.json["errors"])) == (422, [field])
    assert await listed(owner) == []


async def test_order_of_errors(api: Client, owner: Client) -> None:
    """What is unknown comes before a wrong address, and that before a role that is too low."""
    viewer = await api.register("viewer")
    assert (await viewer.post(INVITATIONS, {"email": "nobody", "role": "viewer"})).status == 404
    body = {"user_id": viewer.user_id, "role": "viewer"}
    assert (await owner.post(f"{DOMAIN}/accesses", body)).status == 201
    assert (await viewer.post(INVITATIONS, {"email": "nobody", "role": "viewer"})).status == 422
    assert (await viewer.post(INVITATIONS, {"email": FRIEND.address, "role": "viewer"})).status == 403
    invitation_id = (await invite(owner)).json["id"]
    assert (await viewer.call("DELETE", f"{INVITATIONS}/{UNKNOWN}")).status == 404
    refused = await viewer.call("DELETE", f"{INVITATIONS}/{invitation_id}")
    assert (refused.status, FRIEND.address in str(refused.json)) == (403, False)


async def test_owned_address(api: Client, owner: Client, provider: Provider) -> None:
    """Who owns the address as an active local identity has the role at once, without a mail."""
    member = await api.register("member")
    reply = await invite(owner, "Member@home.example", "administrator")
    assert (reply.status, reply.json["email"]) == (201, "member@home.example")
    assert await listed(owner) == []
    accesses = (await owner.get(f"{DOMAIN}/accesses")).json["accesses"]
    assert {each["username"]: each["role"] for each in accesses} == {"owner": "owner", "member": "administrator"}
    assert await role_of(member) == "administrator"
    await invite(owner)  # its mail comes after any other
    await mailed(provider)
    assert len(provider.received) == 1


@pytest.mark.parametrize("path", ["/api/v2/domains", DOMAIN, f"{DOMAIN}/accesses", INVITATIONS])
async def test_younger_identity(api: Client, owner: Client, path: str) -> None:
    """Whose identity is younger than the invitation has the role wherever it is asked for."""
    await invite(owner, "later@home.example", "administrator")
    later = await api.register("Later")
    reply = await later.get(path)
    assert (reply.status, reply.json.get("total", 1)) == (200, 2 if "accesses" in path else path != INVITATIONS)
    assert await role_of(later) == "administrator"
    assert await listed(owner) == []


async def test_raised(api: Client, owner: Client) -> None:
    """A viewer whose address is invited as administrator is one."""
    await invite(owner, "later@home.example", "administrator")
    later = await api.register("later")
    assert (await owner.post(f"{DOMAIN}/accesses", {"user_id": later.user_id, "role": "viewer"})).status == 201
    assert await role_of(later) == "administrator"


async def test_full(api: Client, owner: Client, provider: Provider, mongo: Mongo) -> None:
    """Where a domain has become full meanwhile nobody gets a role, and the invitations stay."""
    await invite(owner)
    await invite(owner, "later@home.example")
    token = await token_of(provider)
    managers = [{"user_id": str(uuid4()), "role": "viewer"} for _ in range(999)]
    await mongo.collection("domains").update_one({}, {"$push": {"managers": {"$each": managers}}})
    later = await api.register("later")
    assert await role_of(later) is None
    assert (await later.post(ACCEPT, {"token": token})).status == 409
    assert len(await listed(owner)) == 2


async def test_recovery_email(api: Client, owner: Client) -> None:
    """A recovery address, which nobody has proven, gives nothing, and neither does a remote identity."""
    body = {"username": "guest", "password": PASSWORD, "recovery_email": FRIEND.address}
    assert (await api.post("/api/v1/users", body)).status == 201
    guest = await api.sign_in("guest")
    remote = {"protocol": "smtp", "identifier": ME.address, "infos": {"outserver": "smtp.elsewhere.example"}}
    assert (await guest.post("/api/v2/identities/remotes", remote)).status == 201
    for address in (FRIEND.address, ME.address):
        await invite(owner, address)
    assert await role_of(guest) is None
    assert len(await listed(owner)) == 2


async def test_the_gateways_address(owner: Client) -> None:
    """The address from which the gateway writes is nobody's, and gets no role."""
    await invite(owner, "no-reply@home.example", "owner")
    assert (await owner.get(f"{DOMAIN}/accesses")).json["total"] == 1
    assert len(await listed(owner)) == 1


@pytest.mark.parametrize("name", ["no-reply", "No-Reply", "postmaster", "abuse", "Admin", "webmaster", "security"])
async def test_reserved_names(api: Client, name: str) -> None:
    """The names of the gateway and of its operator are no users'."""
    assert (await api.get(f"/api/v2/username/isAvailable?username={name}")).json["available"] is False
    assert (await api.post("/api/v1/users", {"username": name, "password": PASSWORD})).status == 409
