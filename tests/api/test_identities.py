"""UserIdentities over REST: locals, remotes, checks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.api.conftest import CLOSED_PORT
from tests.client import Client, remote
from tests.conftest import ME

REMOTES = "/api/v2/identities/remotes"
LOCALS = "/api/v2/identities/locals"


async def test_add(user: Client, provider: Provider) -> None:
    """A remote identity has its defaults and never shows its credentials."""
    reply = await user.post(REMOTES, remote(provider))
    assert reply.status == 201
    assert reply.headers["Location"] == reply.json["location"]
    assert reply.json["remote_id"] == reply.json["identity_id"]
    identity = (await user.get(reply.json["location"])).json
    assert identity.keys() == {
        "identity_id", "user_id", "type", "protocol", "identifier", "display_name", "status", "infos", "last_check",
    }  # fmt: skip
    assert identity["type"] == "remote"
    assert identity["display_name"] == identity["identifier"] == ME.address
    assert identity["infos"]["pollinterval"] == "15"
    assert identity["infos"]["authtype"] == "loginpassword"
    assert identity["last_check"] is None


async def test_second_path(user: Client, provider: Provider) -> None:
    """/api/v2/remotes is the same collection, without a redirect."""
    reply = await user.post("/api/v2/remotes", remote(provider))
    listed = await user.get("/api/v2/remotes")
    assert listed.json == (await user.get(REMOTES)).json
    assert listed.json["remote_identities"][0]["identity_id"] == reply.json["identity_id"]
    assert (await user.get(f"/api/v2/remotes/{reply.json['identity_id']}")).status == 200


async def test_type_is_the_route_s(user: Client, provider: Provider) -> None:
    """Whatever type the client sends, what it adds is remote; and each type has its own addresses."""
    identity_id = await user.add_remote(provider, type="local", last_check="2020-01-01T00:00:00.000Z")
    local = await user.local_identity()
    assert (await user.get(f"{REMOTES}/{identity_id}")).json["type"] == "remote"
    assert (await user.get(f"{LOCALS}/{identity_id}")).status == 404
    assert (await user.get(f"{REMOTES}/{local['identity_id']}")).status == 404
    assert (await user.get(f"{LOCALS}/{local['identity_id']}")).status == 200


async def test_unique(user: Client, api: Client, provider: Provider) -> None:
    """Identifier and protocol are unique within a user, in every spelling, also at the same moment."""
    spellings = ["me@bücher.example", "ME@xn--bcher-kva.example", "Me@Bücher.example"]
    replies = await asyncio.gather(
        *(user.post(REMOTES, remote(provider, identifier=spelling)) for spelling in spellings)
    )
    assert sorted(reply.status for reply in replies) == [201, 409, 409]
    listed = (await user.get(REMOTES)).json["remote_identities"]
    assert [identity["identifier"] for identity in listed] == ["me@bücher.example"]
    assert (await user.post(REMOTES, remote(provider, identifier=spellings[0], protocol="smtp"))).status == 201
    other = await api.register("another")
    assert (await other.post(REMOTES, remote(provider, identifier=spellings[0]))).status == 201


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"protocol": "xmpp"}, "protocol"),
        ({"identifier": "nobody"}, "identifier"),
        ({"identifier": None}, "identifier"),
        ({"status": "deleted"}, "status"),
        ({"infos": {"inserver": "127.0.0.1"}}, "infos.outserver"),
        ({"infos": {"outserver": "127.0.0.1"}}, "infos.inserver"),
        ({"infos": {"inserver": "a b", "outserver": "x:0"}}, "infos.inserver"),
        ({"infos": {"outtls": "maybe"}}, "infos.outtls"),
        ({"infos": {"pollinterval": "1441"}}, "infos.pollinterval"),
        ({"infos": {"n": 1}}, "infos.n"),
        ({"infos": {"n": "x" * 4097}}, "infos.n"),
        ({"infos": {str(n): "" for n in range(65)}}, "infos"),
        ({"credentials": {"inpassword": None}}, "credentials.inpassword"),
        ({"credentials": "secret"}, "credentials"),
        ({"display_name": "a\nb"}, "display_name"),
        ({"password": "x"}, "password"),
    ],
)
async def test_refused(user: Client, provider: Provider, changes: dict[str, Any], fault: str) -> None:
    """An account that breaks a rule is 422, names the property, and nothing is stored."""
    reply = await user.post(REMOTES, remote(provider, **changes))
    assert reply.status == 422
    assert fault in reply.json["errors"]
    assert (await user.get(REMOTES)).json["total"] == 0


@pytest.mark.configured(network={"allow_plaintext": False})
async def test_plaintext_is_refused(user: Client, provider: Provider) -> None:
    """Without network.allow_plaintext no account can choose a connection without TLS."""
    reply = await user.post(REMOTES, remote(provider))
    assert reply.json["errors"].keys() == {"infos.intls", "infos.outtls"}


async def test_odd_keys(user: Client, provider: Provider) -> None:
    """Keys of infos come back as they were, whatever characters the database uses itself; workers' keys do not."""
    odd = {"a.b": "1", "$set": "2", "100%": "3", "%2E": "4", "schlüssel": "5"}
    infos = remote(provider)["infos"] | odd | {"lastsync": "never", "errorsCount": "99"}
    identity_id = await user.add_remote(provider, infos=infos)
    stored = (await user.get(f"{REMOTES}/{identity_id}")).json["infos"]
    assert odd.items() <= stored.items()
    assert not {"lastsync", "errorsCount"} & stored.keys()


async def test_filters(user: Client, provider: Provider) -> None:
    """Remotes can be filtered by status and protocol."""
    await user.add_remote(provider)
    await user.add_remote(provider, protocol="smtp", status="inactive")
    for query, count in {"status=active": 1, "protocol=smtp": 1, "status=active&protocol=smtp": 0}.items():
        assert (await user.get(f"{REMOTES}?{query}")).json["total"] == count


async def test_check(user: Client, provider: Provider) -> None:
    """A check that succeeds records when, and what the mailbox is like."""
    identity_id = await user.add_remote(provider)
    reply = await user.post(f"{REMOTES}/{identity_id}/actions", {"actions": ["check"]})
    assert reply.status == 200
    identity = (await user.get(f"{REMOTES}/{identity_id}")).json
    assert reply.json == identity
    assert identity["last_check"] == identity["infos"]["lastsync"]
    assert identity["infos"]["sentfolder"] == "Sent"
    assert identity["infos"]["unseen"] == "0"
    assert "IMAP4rev1" in identity["infos"]["capabilities"].split()
    assert "lastFetchError" not in identity["infos"]


async def test_failing_check(user: Client, provider: Provider) -> None:
    """A check that fails is 200: the failure stands in infos, with its first and last date and how often."""
    servers = remote(provider)["infos"] | {"outserver": f"127.0.0.1:{CLOSED_PORT}"}
    credentials = {"inusername": ME.address, "inpassword": "wrong"}
    identity_id = await user.add_remote(provider, infos=servers, credentials=credentials)
    path = f"{REMOTES}/{identity_id}/actions"
    first = (await user.post(path, {"actions": ["check"]})).json
    second = (await user.post(path, {"actions": ["check"]})).json
    assert (first["infos"]["errorsCount"], second["infos"]["errorsCount"]) == ("1", "2")
    assert second["infos"]["firstErrorDate"] == first["infos"]["lastErrorDate"] == first["last_check"]
    assert second["infos"]["lastErrorDate"] == second["last_check"]
    assert "inserver: 127.0.0.1 does not take this user name and password" in second["infos"]["lastFetchError"]
    assert "outserver: 127.0.0.1 port 1 refuses connections" in second["infos"]["lastFetchError"]
    assert "wrong" not in str(second)


async def test_recovered_check(user: Client, provider: Provider) -> None:
    """A check that succeeds again clears the error keys."""
    identity_id = await user.add_remote(provider)
    path = f"{REMOTES}/{identity_id}/actions"
    await provider.stop()
    assert "errorsCount" in (await user.post(path, {"actions": ["check"]})).json["infos"]
    await provider.start()
    infos = (await user.post(path, {"actions": ["check"]})).json["infos"]
    assert not {"lastFetchError", "firstErrorDate", "lastErrorDate", "errorsCount"} & infos.keys()


async def test_unknown_action(user: Client, provider: Provider) -> None:
    """An action that there is not is 422."""
    identity_id = await user.add_remote(provider)
    for actions in (["dance"], [], ["check", "check"], "check", None):
        assert (await user.post(f"{REMOTES}/{identity_id}/actions", {"actions": actions})).status == 422


async def test_credentials_are_encrypted(user: Client, provider: Provider, mongo: Mongo) -> None:
    """What the database holds of credentials is ciphertext."""
    await user.add_remote(provider)
    document = await mongo.collection("identities").find_one({"type": "remote"})
    assert document is not None
    assert document["credentials"].keys() == {"inusername", "inpassword"}
    assert ME.password.encode() not in b"".join(bytes(value) for value in document["credentials"].values())


async def test_one_question(user: Client, provider: Provider, mongo: Mongo) -> None:
    """Once a token is warm a list of identities is one question to the database."""
    await user.add_remote(provider)
    await mongo.database.command("profile", 2)
    for _ in range(20):
        assert (await user.get(REMOTES)).json["total"] == 1
    await mongo.database.command("profile", 0)
    commands = [each["command"] async for each in mongo.collection("system.profile").find()]
    asked = [(each["find"], each["filter"].get("_id")) for each in commands if "find" in each]
    asked += [(each["aggregate"], None) for each in commands if "aggregate" in each]
    # A worker looks for due messages by turns, and all warm tokens are confirmed together by turns.
    assert [name for name, key in asked if name != "messages" and not isinstance(key, dict)] == ["identities"] * 20
