"""The life of a remote identity over REST: verified, changed, deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.api.conftest import CLOSED_PORT
from tests.client import Client, Reply, draft, remote
from tests.conftest import ME

REMOTES = "/api/v2/identities/remotes"


async def patched(user: Client, identity_id: str, patch: dict[str, Any], **headers: str) -> Reply:
    """Send a merge patch."""
    headers = {"Content-Type": "application/merge-patch+json"} | headers
    return await user.call("PATCH", f"{REMOTES}/{identity_id}", patch, headers=headers)


async def shown(user: Client, identity_id: str) -> dict[str, Any]:
    """Return the identity."""
    identity: dict[str, Any] = (await user.get(f"{REMOTES}/{identity_id}")).json
    return identity


async def check(user: Client, identity_id: str) -> dict[str, Any]:
    """Check the identity; return it."""
    reply = await user.post(f"{REMOTES}/{identity_id}/actions", {"actions": ["check"]})
    identity: dict[str, Any] = reply.json
    return identity


# -- verify ------------------------------------------------------------------------------------------------------


async def test_verify(user: Client, provider: Provider) -> None:
    """An account that works is stored with the check that showed it."""
    reply = await user.post(f"{REMOTES}?verify=true", remote(provider))
    assert reply.status == 201
    identity = await shown(user, reply.json["identity_id"])
    assert identity["last_check"] == identity["infos"]["lastsync"]
    assert identity["infos"]["sentfolder"] == "Sent"


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"credentials": {"inusername": ME.address, "inpassword": "wrong"}},
            {"inserver": "Are they right?", "outserver": "Are they right?"},
        ),
        (
            {"credentials": {"inusername": ME.address, "inpassword": ME.password, "outpassword": "wrong"}},
            {"outserver": "Are they right?"},
        ),
        ({"outserver": f"127.0.0.1:{CLOSED_PORT}"}, {"outserver": "Are host and port right?"}),
        ({"inserver": "127.0.0.1:2"}, {"inserver": "Port 2 of 127.0.0.1 is not one that mail servers use"}),
        ({"outtls": "implicit"}, {"outserver": "Is the TLS mode right for this port?"}),
        ({"intls": "starttls"}, {"inserver": "offers no STARTTLS"}),
    ],
)
async def test_verify_fails(
    user: Client, provider: Provider, changes: dict[str, Any], faults: dict[str, str]
) -> None:
    """An account that does not work is 424, which tells of each server what is wrong; nothing is stored."""
    body = remote(provider)
    for key, value in changes.items():
        if key in body:
            body[key] = value
        else:
            body["infos"][key] = value
    reply = await user.post(f"{REMOTES}?verify=true", body)
    assert reply.status == 424
    assert reply.json["errors"].keys() == faults.keys()
    for server, words in faults.items():
        assert words in " ".join(reply.json["errors"][server])
    assert (await user.get(REMOTES)).json["total"] == 0


async def test_verify_is_asked_for(user: Client, provider: Provider) -> None:
    """Without verify=true an account is stored as it is said; other values are 422."""
    body = remote(provider, credentials={})
    assert (await user.post(f"{REMOTES}?verify=false", body)).status == 201
    for query in ("verify=yes", "verify=1", "verify=", "check=true"):
        assert (await user.post(f"{REMOTES}?{query}", body)).status == 422


# -- change ------------------------------------------------------------------------------------------------------


async def test_patch(user: Client, provider: Provider) -> None:
    """A merge patch changes what it names and nothing else."""
    identity_id = await user.add_remote(provider)
    before = await shown(user, identity_id)
    patch = {"display_name": "Me there", "status": "inactive", "infos": {"pollinterval": "30", "a.b": "x"}}
    reply = await patched(user, identity_id, patch)
    assert (reply.status, reply.content) == (204, b"")
    after = await shown(user, identity_id)
    infos = before["infos"] | {"pollinterval": "30", "a.b": "x"}
    assert after == before | {"display_name": "Me there", "status": "inactive", "infos": infos}


async def test_patch_removes(user: Client, provider: Provider) -> None:
    """Null removes a key; what has a default goes back to it."""
    identity_id = await user.add_remote(provider, display_name="Me there", status="inactive")
    await patched(user, identity_id, {"infos": {"colour": "red", "pollinterval": "30"}})
    patch = {
        "display_name": None,
        "status": None,
        "infos": {"colour": None, "pollinterval": None, "authtype": None},
    }
    assert (await patched(user, identity_id, patch)).status == 204
    after = await shown(user, identity_id)
    assert (after["display_name"], after["status"]) == (ME.address, "active")
    assert after["infos"] == remote(provider)["infos"] | {"pollinterval": "15", "authtype": "loginpassword"}


async def test_patch_credentials(user: Client, provider: Provider, mongo: Mongo) -> None:
    """Credentials merge, key by key; what is removed is removed from the database."""
    identity_id = await user.add_remote(provider, credentials={"inusername": ME.address, "inpassword": "wrong"})
    assert "lastFetchError" in (await check(user, identity_id))["infos"]
    assert (await patched(user, identity_id, {"credentials": {"inpassword": ME.password}})).status == 204
    assert "lastFetchError" not in (await check(user, identity_id))["infos"]
    assert (await patched(user, identity_id, {"credentials": {"inusername": None}})).status == 204
    document = await mongo.collection("identities").find_one({"_id": identity_id})
    assert document is not None
    assert document["credentials"].keys() == {"inpassword"}
    assert (await patched(user, identity_id, {"credentials": None})).status == 204
    document = await mongo.collection("identities").find_one({"_id": identity_id})
    assert document is not None
    assert document["credentials"] == {}


async def test_authtype_follows_the_credentials(user: Client, provider: Provider) -> None:
    """Without an authtype it follows from the credentials as they are after the patch."""
    identity_id = await user.add_remote(provider)
    patch = {"infos": {"authtype": None}, "credentials": {"accesstoken": "token"}}
    assert (await patched(user, identity_id, patch)).status == 204
    assert (await shown(user, identity_id))["infos"]["authtype"] == "oauth2"


@pytest.mark.parametrize(
    ("patch", "fault"),
    [
        ({"status": "deleted"}, "status"),
        ({"infos": {"outserver": None}}, "infos.outserver"),
        ({"infos": {"inserver": "a b"}}, "infos.inserver"),
        ({"infos": None}, "infos.inserver"),
        ({"infos": {"outtls": "maybe"}}, "infos.outtls"),
        ({"infos": {"pollinterval": "0"}}, "infos.pollinterval"),
        ({"infos": {str(n): "" for n in range(63)}}, "infos"),
        ({"credentials": {str(n): "" for n in range(63)}}, "credentials"),
        ({"credentials": {"inpassword": 1}}, "credentials.inpassword"),
        ({"identifier": "nobody"}, "identifier"),
        ({"identifier": None}, "identifier"),
        ({"protocol": "xmpp"}, "protocol"),
        ({"colour": "red"}, "colour"),
        ({"current_state": {"colour": "red"}}, "current_state.colour"),
        ({"current_state": None}, "current_state"),
    ],
)
async def test_refused_patch(user: Client, provider: Provider, patch: dict[str, Any], fault: str) -> None:
    """A patch that breaks a rule, or leaves an account that does, is 422 and changes nothing."""
    identity_id = await user.add_remote(provider)
    before = await shown(user, identity_id)
    reply = await patched(user, identity_id, patch)
    assert reply.status == 422
    assert fault in reply.json["errors"]
    assert await shown(user, identity_id) == before


async def test_immutable(user: Client, provider: Provider) -> None:
    """Identifier and protocol cannot be changed; sending them as they are, in any spelling, is fine."""
    identity_id = await user.add_remote(provider, identifier="me@bücher.example")
    same = {"identifier": "ME@xn--bcher-kva.example", "protocol": "imap", "type": "local", "last_check": None}
    assert (await patched(user, identity_id, same)).status == 204
    assert (await patched(user, identity_id, {"identifier": "you@bücher.example"})).status == 403
    assert (await patched(user, identity_id, {"protocol": "smtp"})).status == 403
    stale = {"protocol": "smtp", "current_state": {"display_name": "x"}}
    assert (await patched(user, identity_id, stale, **{"If-Match": '"x"'})).status == 403


async def test_workers_keys_stay(user: Client, provider: Provider) -> None:
    """What workers manage stays as it is, whatever a patch says, and is not compared."""
    identity_id = await user.add_remote(provider)
    before = await check(user, identity_id)
    patch = {
        "display_name": "New",
        "infos": {"sentfolder": "Trash", "unseen": None, "errorsCount": "9"},
        "credentials": {"inpassword": "new"},
        "current_state": {
            "display_name": ME.address,
            "infos": {"sentfolder": "Elsewhere", "lastsync": "never"},
            "credentials": {"inpassword": "not what is stored"},
            "last_check": "2020-01-01T00:00:00.000Z",
        },
    }
    assert (await patched(user, identity_id, patch)).status == 204
    assert await shown(user, identity_id) == before | {"display_name": "New"}


@pytest.mark.parametrize(
    ("current", "status"),
    [
        ({"display_name": ME.address, "infos": {"pollinterval": "15"}}, 204),
        ({"display_name": ME.address, "infos": {"pollinterval": "15", "colour": ""}}, 204),
        ({"display_name": ME.address, "infos": {"pollinterval": "15"}, "identifier": ME.address.upper()}, 204),
        ({"display_name": ME.address, "infos": {"pollinterval": "15", "colour": None}, "status": "active"}, 204),
        ({}, 409),
        ({"display_name": ME.address}, 409),
        ({"infos": {"pollinterval": "15"}}, 409),
        ({"display_name": ME.address, "infos": {"pollinterval": "16"}}, 409),
        ({"display_name": ME.address, "infos": {"pollinterval": "15", "colour": "red"}}, 409),
        ({"display_name": ME.address, "infos": {"pollinterval": "15"}, "status": "inactive"}, 409),
        ({"display_name": ME.address, "infos": {"pollinterval": "15"}, "identifier": "nobody"}, 409),
    ],
)
async def test_current_state(user: Client, provider: Provider, current: dict[str, Any], status: int) -> None:
    """A patch is applied if what it changes is stored as its current state says, absent being empty."""
    identity_id = await user.add_remote(provider)
    before = await shown(user, identity_id)
    patch = {"display_name": "New", "infos": {"pollinterval": "30", "colour": "blue"}, "current_state": current}
    assert (await patched(user, identity_id, patch)).status == status
    assert (await shown(user, identity_id) == before) == (status == 409)


async def test_two_patches_at_once(user: Client, provider: Provider) -> None:
    """Of patches with the same current state exactly one wins, and what it says is stored."""
    identity_id = await user.add_remote(provider)
    current = {"display_name": ME.address}
    replies = await asyncio.gather(
        *(patched(user, identity_id, {"display_name": f"Name {n}", "current_state": current}) for n in range(8))
    )
    statuses = [reply.status for reply in replies]
    assert sorted(statuses) == [204] + [409] * 7
    assert (await shown(user, identity_id))["display_name"] == f"Name {statuses.index(204)}"


async def test_patches_of_other_keys_at_once(user: Client, provider: Provider) -> None:
    """Patches of other keys at once are all applied, a check in between too."""
    identity_id = await user.add_remote(provider)
    await asyncio.gather(
        *(patched(user, identity_id, {"infos": {f"key{n}": "x"}}) for n in range(4)), check(user, identity_id)
    )
    infos = (await shown(user, identity_id))["infos"]
    assert {f"key{n}" for n in range(4)} | {"sentfolder", "lastsync"} <= infos.keys()


async def test_if_match(user: Client, provider: Provider) -> None:
    """A patch or deletion that is meant for another version is 412, a check counting as a change."""
    identity_id = await user.add_remote(provider)
    path = f"{REMOTES}/{identity_id}"
    tag = (await user.get(path)).headers["ETag"]
    assert (await patched(user, identity_id, {"display_name": "One"}, **{"If-Match": tag})).status == 204
    assert (await patched(user, identity_id, {"display_name": "Two"}, **{"If-Match": tag})).status == 412
    tag = (await user.get(path)).headers["ETag"]
    await check(user, identity_id)
    assert (await user.call("DELETE", path, headers={"If-Match": tag})).status == 412
    stale = {"display_name": "Two", "current_state": {"display_name": "x"}}
    assert (await patched(user, identity_id, stale, **{"If-Match": tag})).status == 409
    tag = (await user.get(path)).headers["ETag"]
    assert (await user.call("DELETE", path, headers={"If-Match": tag})).status == 204


async def test_one_of_many_with_a_tag(user: Client, provider: Provider) -> None:
    """Of patches at once that are meant for the same version exactly one wins."""
    identity_id = await user.add_remote(provider)
    tag = (await user.get(f"{REMOTES}/{identity_id}")).headers["ETag"]
    replies = await asyncio.gather(
        *(patched(user, identity_id, {"infos": {f"key{n}": "x"}}, **{"If-Match": tag}) for n in range(8))
    )
    assert sorted(reply.status for reply in replies) == [204] + [412] * 7


async def test_unknown_comes_first(user: Client, api: Client, provider: Provider) -> None:
    """Another's identity, a local one and one that there is not are 404, whatever the body."""
    other = await api.register("another")
    local = await user.local_identity()
    for identity_id in (await other.add_remote(provider), local["identity_id"], "x"):
        for patch in ({}, {"colour": "red"}, {"protocol": "smtp"}):
            assert (await patched(user, identity_id, patch)).status == 404
        assert (await user.call("DELETE", f"{REMOTES}/{identity_id}")).status == 404


# -- deletion ----------------------------------------------------------------------------------------------------


async def test_delete(user: Client, provider: Provider, mongo: Mongo) -> None:
    """A deleted identity is in no list, its credentials are destroyed, and its pair is free again."""
    identity_id = await user.add_remote(provider)
    message_id = await user.draft(identity_id)
    path = f"{REMOTES}/{identity_id}"
    reply = await user.call("DELETE", path)
    assert (reply.status, reply.content) == (204, b"")
    document = await mongo.collection("identities").find_one({"_id": identity_id})
    assert document is not None
    assert (document["status"], document["credentials"], document["infos"]) == ("deleted", {}, {})
    assert (await user.get(REMOTES)).json["total"] == 0
    for verb in ("GET", "DELETE"):
        assert (await user.call(verb, path)).status == 404
    assert (await patched(user, identity_id, {})).status == 404
    assert (await user.post(f"{path}/actions", {"actions": ["check"]})).status == 404
    assert (await user.get(f"/api/v1/messages/{message_id}")).status == 200
    assert (await user.send(message_id)).status == 422
    assert (await user.post("/api/v1/messages", draft(identity_id))).status == 422
    assert await user.add_remote(provider) != identity_id


async def test_second_path(user: Client, provider: Provider) -> None:
    """Change and deletion work under the second path too."""
    identity_id = await user.add_remote(provider)
    path = f"/api/v2/remotes/{identity_id}"
    assert (await user.call("PATCH", path, {"display_name": "New"})).status == 204
    assert (await user.call("DELETE", path)).status == 204


async def test_guessing_by_verification(user: Client, provider: Provider) -> None:
    """Nobody can try out passwords of a mailbox through the gateway as fast as they like."""
    wrong = remote(provider, credentials={"inusername": ME.address, "inpassword": "wrong"})
    statuses = [(await user.post(f"{REMOTES}?verify=true", wrong)).status for _ in range(22)]
    assert statuses[0] == 424
    assert statuses[-1] == 429
    assert (await user.post(REMOTES, remote(provider))).status == 201


async def test_infos_at_the_limit(user: Client, provider: Provider) -> None:
    """What was accepted with 64 keys can be changed; one more key is 422."""
    infos = remote(provider)["infos"] | {f"key{n}": "" for n in range(60)}
    identity_id = await user.add_remote(provider, infos=infos)
    assert (await patched(user, identity_id, {"display_name": "New"})).status == 204
    assert (await patched(user, identity_id, {"infos": {"one": "", "more": "", "key": ""}})).status == 422


async def test_a_new_start(user: Client, provider: Provider, mongo: Mongo) -> None:
    """What failed before an identity was made active again does not count for what fails after."""
    identity_id = await user.add_remote(provider)
    gone = {
        "status": "inactive",
        "infos.inactivereason": "unreachable",
        "infos.firstErrorDate": "2026-01-01T00:00:00.000Z",
        "infos.errorsCount": "145",
    }
    await mongo.collection("identities").update_one({"_id": identity_id}, {"$set": gone})
    await provider.stop()
    assert (await patched(user, identity_id, {"status": "active"})).status == 204
    identity = await check(user, identity_id)
    assert (identity["status"], identity["infos"]["errorsCount"]) == ("active", "1")


async def test_oauth2_follows_a_token(user: Client, provider: Provider) -> None:
    """Where a patch brings an access token and no authtype, that follows from it, as in the beginning."""
    identity_id = await user.add_remote(provider, credentials={})
    assert (await shown(user, identity_id))["infos"]["authtype"] == "loginpassword"
    patch = {"credentials": {"username": ME.address, "accesstoken": "token"}}
    assert (await patched(user, identity_id, patch)).status == 204
    assert (await shown(user, identity_id))["infos"]["authtype"] == "oauth2"
