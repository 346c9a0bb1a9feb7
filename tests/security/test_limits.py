"""What one user may take up of the gateway: beyond the limits there is nothing, and others do not notice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from api.demo.provider import Provider
from storage.domains import DOMAINS
from storage.mongo import Mongo
from storage.usage import USAGE
from tests.api.test_attachments import upload
from tests.client import PASSWORD, Client, Reply, draft
from tests.conftest import FRIEND

MESSAGES, REMOTES = "/api/v1/messages", "/api/v2/identities/remotes"
LATER = "2099-01-01T00:00:00.000Z"
LARGE = "x" * 300_000
limited = pytest.mark.configured


async def statuses(*requests: Any) -> Counter[int]:
    """Return how often there was which answer to requests that are sent at once."""
    return Counter(reply.status for reply in await asyncio.gather(*requests))


def told(reply: Reply, words: str) -> int:
    """See that it is a refusal that says what to do; return after how many seconds to try again."""
    assert reply.status == 429, reply.json
    assert words in reply.json["detail"]
    return int(reply.headers["Retry-After"])


async def taken(mongo: Mongo, user: Client) -> int:
    """Return how many bytes a user's messages take up, as it is counted."""
    found = await mongo.collection(USAGE).find_one({"_id": user.user_id})
    return int(found["bytes"]) if found else 0


async def at_rest(mongo: Mongo) -> None:
    """Let a minute have passed in which no counter has moved."""
    await mongo.collection(USAGE).update_many({}, [{"$set": {"moved_at": {"$subtract": ["$moved_at", 120_000]}}}])


async def drafts(user: Client, count: int, *recipients: str) -> list[str]:
    """Create drafts to these recipients."""
    identity_id = (await user.local_identity())["identity_id"]
    return [await user.draft(identity_id, *recipients) for _ in range(count)]


# -- sending -------------------------------------------------------------------------------------------------------


@limited(limits={"messages_per_hour": 3})
async def test_messages(user: Client, api: Client) -> None:
    """A user gets so many orders, however many are given at once, and another user has orders of one's own."""
    ids = await drafts(user, 6)
    ended = await statuses(*(user.send(each) for each in ids))
    assert ended == {200: 3, 429: 3}
    refused = [each for each in ids if (await user.get(f"{MESSAGES}/{each}")).json["is_draft"]]
    assert 1100 < told(await user.send(refused[0]), "3 messages in an hour") <= 1200
    other = await api.register("another-user")
    assert (await other.send(*await drafts(other, 1))).status == 200


@limited(limits={"messages_per_hour": 2})
async def test_an_order_counts_once(user: Client) -> None:
    """To order again, or at once, what is ordered counts no more, by whichever path; nor what cannot be ordered."""
    first, second = await drafts(user, 2)
    nobody = await user.draft((await user.local_identity())["identity_id"], participants=[])
    assert await statuses(*(user.send(first, send_at=LATER) for _ in range(2))) == {202: 2}
    for _ in range(3):
        assert (await user.send(nobody)).status == 422
        assert (await user.send(first, send_at=LATER)).status == 202
        assert (await user.post(f"/api/v2/messages/{first}/actions", {"actions": ["send"]})).status == 202
    assert (await user.send(second)).status == 200
    assert (await user.send(*await drafts(user, 1))).status == 429


@limited(limits={"recipients_per_day": 5})
async def test_recipients(user: Client) -> None:
    """Recipients count one by one; a message with more than a day has of them can be mended."""
    addresses = [f"friend-{n}@elsewhere.example" for n in range(6)]
    most, one, many = (
        await drafts(user, 1, *addresses[:5]),
        await drafts(user, 1),
        await drafts(user, 1, *addresses),
    )
    assert (await user.send(*most, send_at=LATER)).status == 202
    assert told(await user.send(*one), "5 recipients in a day") > 17_000
    reply = await user.send(*many)
    assert reply.status == 422
    assert "participants" in reply.json["errors"]


# -- storage -------------------------------------------------------------------------------------------------------


@limited(limits={"storage_bytes": 1_048_576})
async def test_the_last_that_there_was_room_for(user: Client) -> None:
    """Who repeats the creation of a draft that took the last room, its answer lost, is answered as at first."""
    body = draft((await user.local_identity())["identity_id"], body=LARGE)
    ids = [str(uuid4()) for _ in range(4)]
    first = [(await user.post(MESSAGES, body | {"message_id": each})).status for each in ids]
    again = [(await user.post(MESSAGES, body | {"message_id": each})).status for each in ids]
    assert first == again == [201, 201, 201, 429]
    other = body | {"message_id": ids[0], "subject": "Another"}
    assert (await user.post(MESSAGES, other)).status == 429


@limited(limits={"storage_bytes": 1_048_576})
async def test_storage(user: Client, mongo: Mongo) -> None:
    """Drafts get as much room as there is, however many come at once, and what is deleted makes room again."""
    identity_id = (await user.local_identity())["identity_id"]
    body = draft(identity_id, body=LARGE)
    replies = await asyncio.gather(*(user.post(MESSAGES, body) for _ in range(8)))
    ids = [reply.json["message_id"] for reply in replies if reply.status == 201]
    assert len(ids) == 3
    assert told(await user.post(MESSAGES, body), "Delete some") == 3600
    reply = await user.call("PATCH", f"{MESSAGES}/{ids[0]}", {"body": LARGE * 2})
    told(reply, "Delete some")
    assert (await user.call("PATCH", f"{MESSAGES}/{ids[0]}", {"body": "Less."})).status == 204
    assert (await user.post(MESSAGES, body)).status == 201
    for each in ids:
        assert (await user.call("DELETE", f"{MESSAGES}/{each}")).status == 204
    assert [(await user.post(MESSAGES, body)).status for _ in range(3)] == [201, 201, 429]


async def test_nothing_is_left(user: Client, mongo: Mongo) -> None:
    """Whatever was written, attached, sent and canceled: when all is deleted nothing counts."""
    message_id, canceled = await drafts(user, 2)
    temp_id = (await upload(user, message_id, b"x" * 10_000)).json["temp_id"]
    await user.call("PATCH", f"{MESSAGES}/{message_id}", {"body": LARGE})
    with_a_file = await taken(mongo, user)
    assert (await user.call("DELETE", f"/api/v2/messages/{message_id}/attachments/{temp_id}")).status == 204
    assert with_a_file - await taken(mongo, user) == 10_000
    assert (await user.send(message_id)).status == 200
    assert (await user.send(canceled, send_at=LATER)).status == 202
    assert (await user.post(f"{MESSAGES}/{canceled}/actions", {"actions": ["cancel"]})).status == 200
    assert await taken(mongo, user) > 2 * len(LARGE)
    for each in (message_id, canceled):
        assert (await user.call("DELETE", f"{MESSAGES}/{each}")).status == 204
    assert await taken(mongo, user) == 0


@limited(limits={"storage_bytes": 1_048_576})
async def test_files_at_once(user: Client, mongo: Mongo) -> None:
    """Files without a length take no more room than there is either: what has come of them counts."""
    first, second = await drafts(user, 2)
    replies = []

    async def content() -> AsyncIterator[bytes]:
        yield b"x" * 700_000
        async with asyncio.timeout(10):
            while await taken(mongo, user) < 700_000:
                await asyncio.sleep(0.01)
        replies.append(await upload(user, second, other()))
        yield b"x" * 100_000

    async def other() -> AsyncIterator[bytes]:
        yield b"x" * 700_000

    assert (await upload(user, first, content())).status == 201
    told(replies[0], "Delete some")
    assert 800_000 < await taken(mongo, user) < 810_000
    assert (await upload(user, second, b"x" * 200_000)).status == 201


@limited(limits={"storage_bytes": 1_048_576})
async def test_attachments(user: Client) -> None:
    """A file that has no room is refused, by its length before it is read, or else when it is there."""
    message_id = (await drafts(user, 1))[0]
    assert told(await upload(user, message_id, b"x" * 2_000_000), "Delete some") == 3600
    ended = await statuses(*(upload(user, message_id, b"x" * 400_000) for _ in range(5)))
    assert ended == {201: 2, 429: 3}
    assert len((await user.get(f"{MESSAGES}/{message_id}")).json["attachments"]) == 2
    assert (await user.send(message_id)).status == 429  # the copy has no room


@limited(limits={"storage_bytes": 1_048_576})
async def test_what_a_crash_left_over(user: Client, mongo: Mongo) -> None:
    """Before somebody is refused for what a crash left counted, it is counted anew."""
    await drafts(user, 1)
    await mongo.collection(USAGE).update_many({}, {"$inc": {"bytes": 1_048_576}})
    identity_id = (await user.local_identity())["identity_id"]
    assert (await user.post(MESSAGES, draft(identity_id))).status == 429  # somebody may be at work
    await at_rest(mongo)
    assert (await user.post(MESSAGES, draft(identity_id))).status == 201
    assert await taken(mongo, user) < 10_000


# -- things --------------------------------------------------------------------------------------------------------


def remote(number: int) -> dict[str, Any]:
    """Return the body that adds an account."""
    return {
        "protocol": "smtp",
        "identifier": f"me{number}@elsewhere.example",
        "infos": {"outserver": "localhost:1"},
    }


@limited(limits={"identities": 3}, network={"allow": ["127.0.0.0/8"], "ports": [1]})
async def test_identities(user: Client) -> None:
    """Of many identities at once as many get in as there may be; a deleted one makes room."""
    replies = await asyncio.gather(*(user.post(REMOTES, remote(n)) for n in range(8)))
    assert Counter(reply.status for reply in replies) == {201: 3, 429: 5}
    refused = next(reply for reply in replies if reply.status == 429)
    assert told(refused, "3 remote identities") == 3600
    mine = next(reply.json["identity_id"] for reply in replies if reply.status == 201)
    assert (await user.call("DELETE", f"{REMOTES}/{mine}")).status == 204
    assert (await user.post(REMOTES, remote(9))).status == 201
    assert (await user.post(REMOTES, remote(10))).status == 429
    assert (await user.get("/api/v2/identities/locals")).json["total"] == 1


@limited(limits={"domains": 2, "mailboxes": 1, "aliases": 1})
async def test_domains(user: Client, api: Client) -> None:
    """A user makes so many domains, also when others own them later, which have so many mailboxes and aliases."""
    ended = await statuses(*(user.post("/api/v2/domains", {"name": f"d{n}.ok.test"}) for n in range(4)))
    assert ended == {201: 2, 429: 2}
    name = (await user.get("/api/v2/domains")).json["domains"][0]["name"]
    other = await api.register("other-owner")
    given = {"user_id": other.user_id, "role": "owner"}
    assert (await user.post(f"/api/v2/domains/{name}/accesses", given)).status == 201
    assert (await user.call("DELETE", f"/api/v2/domains/{name}/accesses/{user.user_id}")).status == 204
    assert (await user.post("/api/v2/domains", {"name": "more.ok.test"})).status == 429
    assert (await other.post("/api/v2/domains", {"name": "theirs.ok.test"})).status == 201
    for kind, bodies in (
        ("mailboxes", [{"local_part": each, "first_name": "A", "last_name": "B"} for each in ("a", "b")]),
        ("aliases", [{"local_part": each, "destination": FRIEND.address} for each in ("c", "d")]),
    ):
        replies = [await other.post(f"/api/v2/domains/{name}/{kind}", body) for body in bodies]
        assert [reply.status for reply in replies] == [201, 429]
        told(replies[1], f"1 {kind}")


@limited(accounts={"local_domain": "home.example", "sessions": 3})
async def test_sessions(user: Client, api: Client) -> None:
    """A user has so many pairs of tokens; signing in once more voids the oldest."""
    name = (await user.get("/api/v1/me")).json["username"]
    others = [await api.sign_in(name) for _ in range(3)]
    assert [(await each.get("/api/v1/me")).status for each in others] == [200, 200, 200]
    async with asyncio.timeout(10):
        while (await user.get("/api/v1/me")).status == 200:
            await asyncio.sleep(0.05)


async def test_passwords_of_others(user: Client, provider: Provider) -> None:
    """No one tries passwords at a server through the gateway: new ones count, and checks that fail.

    An account that works can be checked as often as somebody likes, and given new access tokens.
    """
    good = f"{REMOTES}/{await user.add_remote(provider)}"
    for _ in range(21):
        assert (await user.post(f"{good}/actions", {"actions": ["check"]})).status == 200
    identity_id = (await user.post(REMOTES, remote(1))).json["identity_id"]
    one = f"{REMOTES}/{identity_id}"
    ended: Counter[int] = Counter()
    for _ in range(21):
        ended[(await user.post(f"{one}/actions", {"actions": ["check"]})).status] += 1
    for n in range(101):
        ended[(await user.call("PATCH", one, {"credentials": {"outpassword": f"guess {n}"}})).status] += 1
    assert ended == {200: 20, 204: 100, 429: 2}
    more = remote(2) | {"credentials": {"outusername": "me", "outpassword": "guess"}}
    assert (await user.post(REMOTES, more)).status == 429
    for change in ({"display_name": "Me"}, {"credentials": {"accesstoken": "new"}}):
        assert (await user.call("PATCH", one, change)).status == 204


async def test_who_goes_takes_the_counters_along(user: Client, api: Client, mongo: Mongo) -> None:
    """When a user is deleted nothing is left that counts, and no domain names who made it."""
    await drafts(user, 1)
    assert (await user.post("/api/v2/domains", {"name": "mine.ok.test"})).status == 201
    other = await api.register("other-owner")
    given = {"user_id": other.user_id, "role": "owner"}
    assert (await user.post("/api/v2/domains/mine.ok.test/accesses", given)).status == 201
    for collection, key in ((USAGE, "_id"), (DOMAINS, "creator")):
        assert await mongo.collection(collection).count_documents({key: user.user_id}) == 1
    assert (await user.call("DELETE", f"/api/v2/users/{user.user_id}", {"password": PASSWORD})).status == 204
    for collection, key in ((USAGE, "_id"), (DOMAINS, "creator")):
        assert await mongo.collection(collection).count_documents({key: user.user_id}) == 0
