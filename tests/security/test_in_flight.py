"""Requests that were begun before somebody lost a right: what their bodies ask for is not done afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from gateway.errors import NotAuthenticated
from gateway.identity import Credentials
from gateway.notice import GATEWAY_ID
from storage.mongo import Mongo
from tests.client import PASSWORD, Client, Reply, draft
from tests.dimail import NAMES, DimailClient, new_domain
from tests.hosting import a_hosting, local_identity

Meanwhile = Callable[[], Awaitable[Reply]]
REMOTE = {
    "protocol": "smtp",
    "identifier": "me@elsewhere.example",
    "infos": {"outserver": "192.0.2.1:465"},
    "credentials": {"outusername": "me", "outpassword": "a secret"},
}


async def slowly(body: bytes, meanwhile: Meanwhile) -> AsyncIterator[bytes]:
    """Yield a body; it happens amid it, and the rest takes a moment more."""
    yield body[:-5]
    assert (await meanwhile()).status in {200, 204}
    yield body[-5:]


async def asked(user: Client, path: str, body: Any, meanwhile: Meanwhile, verb: str = "POST") -> Reply:
    """Send a body of JSON, of which the client waits with the rest until it has happened."""
    content = slowly(orjson.dumps(body), meanwhile)
    # By the answer to Expect the client knows that the header was read.
    headers = {"Content-Type": "application/json"}
    return await user.call(verb, path, data=content, headers=headers, expect100=True)


def gone(user: Client) -> Meanwhile:
    """Return what deletes the account."""
    return lambda: user.call("DELETE", f"/api/v2/users/{user.user_id}", {"password": PASSWORD})


def signed_out(user: Client) -> Meanwhile:
    """Return what voids the token."""
    return lambda: user.call("DELETE", "/api/v1/authentications")


@pytest.mark.parametrize(("kind", "loses"), [("identities", gone), ("domains", gone), ("messages", signed_out)])
async def test_body(user: Client, mongo: Mongo, kind: str, loses: Callable[[Client], Meanwhile]) -> None:
    """Who has signed out, or deleted the account, before the body has come whole, has asked for nothing."""
    path, body = {
        "identities": ("/api/v2/identities/remotes", REMOTE),
        "domains": ("/api/v2/domains", {"name": "mine.ok.test"}),
        "messages": ("/api/v1/messages", draft((await user.local_identity())["identity_id"])),
    }[kind]
    assert (await asked(user, path, body, loses(user))).status == 401
    of_people = {"user_id": {"$ne": GATEWAY_ID}}  # who has an identity, too
    assert await mongo.collection(kind).count_documents(of_people) == 0


async def test_change(user: Client) -> None:
    """It is not told then either whether what was to be changed is still there."""
    path = f"/api/v1/messages/{await user.draft((await user.local_identity())['identity_id'])}"
    assert (await asked(user, path, {"subject": "Late"}, gone(user), "PATCH")).status == 401


async def test_who_is_there_still(user: Client) -> None:
    """A body that takes its time is taken."""
    me = "/api/v1/me"
    assert (await asked(user, "/api/v2/identities/remotes", REMOTE, lambda: user.get(me))).status == 201


async def test_file(user: Client, mongo: Mongo) -> None:
    """Of a file of such a user nothing is stored."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    head = b'--x\r\nContent-Disposition: form-data; name="attachment"; filename="a"\r\n\r\n'
    content = slowly(head + b"a file" * 100_000 + b"\r\n--x--\r\n", signed_out(user))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    path = f"/api/v2/messages/{message_id}/attachments"
    reply = await user.call("POST", path, data=content, headers=headers, expect100=True)
    assert reply.status == 401
    assert await mongo.collection("attachments.chunks").count_documents({}) == 0


@pytest.mark.parametrize("by_token", [True, False])
async def test_dimail(api: Client, by_token: bool) -> None:
    """An API client that is deleted before its body has come whole has asked for nothing."""
    admin = await DimailClient(api).register("admin", is_admin=True)
    client = await admin.register("la_regie", is_admin=True)
    assert (await admin.host("taken.ok.test")).status == 201
    path, body = ("/domains/", new_domain("more.ok.test"))
    if by_token:
        path, body = "/domains/taken.ok.test/mailboxes/me", {"givenName": "A", "surName": "B", "displayName": "C"}
    reply = await client.request(
        "POST",
        path,
        f"Bearer {client.token}" if by_token else client.basic,
        data=slowly(orjson.dumps(body), lambda: admin.call("DELETE", "/users/la_regie")),
        headers={"Content-Type": "application/json"},
        expect100=True,
    )
    assert reply.status == 403
    domains = (await admin.call("GET", "/domains/")).json
    assert [each["name"] for each in domains] == ["taken.ok.test"]
    assert (await admin.by_token("GET", "/domains/taken.ok.test/mailboxes/")).json == []


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("POST", "mailboxes/me", NAMES),
        ("PATCH", "mailboxes/ada", {"givenName": "Eve"}),
        ("POST", "mailboxes/ada/code", {"maxuse": 2}),
        ("POST", "aliases/", {"user_name": "info", "destination": "me@elsewhere.example"}),
    ],
)
async def test_allow(api: Client, verb: str, path: str, body: Any) -> None:
    """An API client whose allow on a domain is taken away before its body has come whole may nothing there."""
    admin = await DimailClient(api).register("admin", is_admin=True)
    client = await admin.register("la_regie", perms=["new_domain"])
    assert (await client.host("a.ok.test")).status == 201
    await client.mailbox("a.ok.test", "ada")
    reply = await client.request(
        verb,
        f"/domains/a.ok.test/{path}",
        f"Bearer {client.token}",
        data=slowly(orjson.dumps(body), lambda: admin.call("DELETE", "/allows/a.ok.test/la_regie")),
        headers={"Content-Type": "application/json"},
        expect100=True,
    )
    assert reply.status == 403
    boxes = (await admin.by_token("GET", "/domains/a.ok.test/mailboxes/")).json
    assert [each["givenName"] for each in boxes] == [NAMES["givenName"]]
    assert (await admin.by_token("GET", "/domains/a.ok.test/aliases/")).json == []


async def test_nothing_is_added_to_nobody(mongo: Mongo, tmp_path: Path) -> None:
    """However late it comes: an identity or a domain of a user who is gone is not stored."""
    hosting = await a_hosting(mongo, tmp_path)
    with pytest.raises(NotAuthenticated):
        await hosting.identities.add(local_identity(str(uuid4()), "me@home.example"), Credentials({"a": "secret"}))
    await mongo.collection("users").delete_many({})
    with pytest.raises(NotAuthenticated):
        await hosting.host()
    for name in ("identities", "domains"):
        assert await mongo.collection(name).count_documents({}) == 0
