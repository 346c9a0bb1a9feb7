"""Drafts over REST: changed, answered, canceled, deleted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import Any
from uuid import uuid4

import pytest

from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.client import Client, Reply, draft
from tests.conftest import FRIEND, ME

OTHER = "other@elsewhere.example"


async def patched(user: Client, message_id: str, patch: dict[str, Any], **headers: str) -> Reply:
    """Send a merge patch."""
    return await user.call("PATCH", f"/api/v1/messages/{message_id}", patch, headers=headers)


async def shown(user: Client, message_id: str) -> dict[str, Any]:
    """Return the message."""
    message: dict[str, Any] = (await user.get(f"/api/v1/messages/{message_id}")).json
    return message


async def sent(user: Client, provider: Provider, **changes: Any) -> dict[str, Any]:
    """Return a message that was sent to FRIEND, on behalf of the account ME."""
    identity_id = await user.add_remote(provider)
    message_id = await user.draft(identity_id, **changes)
    reply = await user.send(message_id)
    assert reply.status == 200, reply.json
    message: dict[str, Any] = reply.json
    return message


def addresses(message: dict[str, Any], kind: str) -> list[str]:
    """Return the addresses of one kind of participants."""
    return [each["address"] for each in message["participants"] if each["type"] == kind]


def in_an_hour() -> str:
    """Return a time for send_at."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


# -- change ------------------------------------------------------------------------------------------------------


async def test_patch(user: Client) -> None:
    """A merge patch changes what it names, and what follows from that."""
    identity = await user.local_identity()
    message_id = await user.draft(identity["identity_id"])
    before = await shown(user, message_id)
    patch = {
        "subject": "Another",
        "body": "<p>Another body</p>",
        "body_is_plain": False,
        "participants": [{"type": "Cc", "address": OTHER, "label": "Other"}],
        "importance_level": 3,
    }
    reply = await patched(user, message_id, patch)
    assert (reply.status, reply.content) == (204, b"")
    after = await shown(user, message_id)
    assert (after["subject"], after["body"], after["importance_level"]) == ("Another", "<p>Another body</p>", 3)
    assert after["excerpt"] == "Another body"
    assert [(each["type"], each["address"]) for each in after["participants"]] == [
        ("From", identity["identifier"]),
        ("Cc", OTHER),
    ]
    assert after["discussion_id"] != before["discussion_id"]
    assert (after["date_insert"], after["is_draft"]) == (before["date_insert"], True)


async def test_patch_removes(user: Client) -> None:
    """Null sets what a new draft without the property has."""
    identity = await user.local_identity()
    message_id = await user.draft(identity["identity_id"], importance_level=3)
    patch = dict.fromkeys(["subject", "body", "body_is_plain", "participants", "importance_level", "parent_id"])
    assert (await patched(user, message_id, patch)).status == 204
    after = await shown(user, message_id)
    assert (after["subject"], after["body"], after["body_is_plain"]) == ("", "", True)
    assert (len(after["participants"]), after["importance_level"]) == (1, 0)


async def test_another_identity(user: Client, provider: Provider) -> None:
    """A draft can move to another identity, and From follows."""
    local = await user.local_identity()
    message_id = await user.draft(local["identity_id"])
    remote_id = await user.add_remote(provider, display_name="Me there")
    assert (await patched(user, message_id, {"user_identities": [remote_id]})).status == 204
    after = await shown(user, message_id)
    assert after["user_identities"] == [remote_id]
    assert after["participants"][0] | {"contact_ids": []} == {
        "type": "From", "address": ME.address, "label": "Me there", "protocol": "email", "contact_ids": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("patch", "fault"),
    [
        ({"user_identities": []}, "user_identities"),
        ({"user_identities": None}, "user_identities"),
        ({"user_identities": [str(uuid4())]}, "user_identities.0"),
        ({"participants": [{"type": "To", "address": "nobody"}]}, "participants.0.address"),
        ({"participants": [{"type": "Sender", "address": a} for a in (OTHER, ME.address)]}, "participants"),
        ({"subject": "a\nb"}, "subject"),
        ({"parent_id": str(uuid4())}, "parent_id"),
        ({"colour": "red"}, "colour"),
        ({"current_state": {"colour": "red"}}, "current_state.colour"),
    ],
)
async def test_refused_patch(user: Client, patch: dict[str, Any], fault: str) -> None:
    """A patch that breaks a rule is 422, names the property, and changes nothing."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    before = await shown(user, message_id)
    reply = await patched(user, message_id, patch)
    assert (reply.status, list(reply.json["errors"])) == (422, [fault])
    assert await shown(user, message_id) == before


async def test_current_state(user: Client) -> None:
    """A patch is applied if what it changes is stored as its current state says; From is not compared."""
    message_id = await user.draft((await user.local_identity())["identity_id"], subject="One")
    before = await shown(user, message_id)
    stale = {"subject": "Two", "current_state": {"subject": "Zero"}}
    assert (await patched(user, message_id, stale)).status == 409
    assert (await patched(user, message_id, {"subject": "Two", "current_state": {}})).status == 409
    assert await shown(user, message_id) == before
    assert (await patched(user, message_id, {"subject": "Two", "current_state": before})).status == 204
    people = {"participants": [], "current_state": {"participants": before["participants"][1:]}}
    assert (await patched(user, message_id, people)).status == 204
    assert (await patched(user, message_id, people)).status == 409


async def test_many_autosaves_at_once(user: Client) -> None:
    """Of patches with the same current state one wins; patches of other properties are all applied."""
    message_id = await user.draft((await user.local_identity())["identity_id"], subject="One")
    current = {"subject": "One"}
    replies = await asyncio.gather(
        *(patched(user, message_id, {"subject": f"S{n}", "current_state": current}) for n in range(6))
    )
    assert sorted(reply.status for reply in replies) == [204] + [409] * 5
    replies = await asyncio.gather(
        *(patched(user, message_id, patch) for patch in ({"body": "B"}, {"importance_level": 1}))
    )
    assert [reply.status for reply in replies] == [204, 204]
    after = await shown(user, message_id)
    assert (after["body"], after["importance_level"]) == ("B", 1)


async def test_if_match(user: Client) -> None:
    """A patch or deletion that is meant for another version is 412."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    path = f"/api/v1/messages/{message_id}"
    tag = (await user.get(path)).headers["ETag"]
    assert (await patched(user, message_id, {"subject": "One"}, **{"If-Match": tag})).status == 204
    assert (await patched(user, message_id, {"subject": "Two"}, **{"If-Match": tag})).status == 412
    assert (await user.call("DELETE", path, headers={"If-Match": tag})).status == 412


async def test_sent_is_no_draft(user: Client, provider: Provider) -> None:
    """A message that was sent cannot be changed, and a rule that the patch breaks is told first."""
    message = await sent(user, provider)
    assert (await patched(user, message["message_id"], {"subject": "New"})).status == 403
    stale = {"subject": "New", "current_state": {}}
    assert (await patched(user, message["message_id"], stale)).status == 403
    assert (await patched(user, message["message_id"], {"colour": "red"})).status == 422


async def test_edit_after_failure(user: Client, provider: Provider) -> None:
    """A message that was refused is a draft again: it can be mended and sent."""
    identity_id = await user.add_remote(provider)
    message_id = await user.draft(identity_id, "never@elsewhere.example")
    assert (await user.send(message_id)).status == 424
    patch = {"participants": [{"type": "To", "address": FRIEND.address}]}
    assert (await patched(user, message_id, patch)).status == 204
    assert (await user.send(message_id)).status == 200
    assert len(provider.inbox(FRIEND.address)) == 1


# -- answers -----------------------------------------------------------------------------------------------------


async def test_reply(user: Client, provider: Provider) -> None:
    """An answer goes to who wrote, a copy to the others but the user's own addresses and Bcc, in one discussion."""
    local = await user.local_identity()
    people = [
        {"type": "To", "address": FRIEND.address, "label": "A Friend"},
        {"type": "Cc", "address": OTHER},
        {"type": "Cc", "address": local["identifier"].upper()},
        {"type": "Bcc", "address": "secret@elsewhere.example"},
    ]
    parent = await sent(user, provider, participants=people, subject="RE: re: Lunch")
    body = {"user_identities": [local["identity_id"]], "parent_id": parent["message_id"], "body": "Yes."}
    created = await user.post("/api/v1/messages", body)
    answer = await shown(user, created.json["message_id"])
    assert addresses(answer, "To") == [ME.address]
    assert addresses(answer, "Cc") == [FRIEND.address, OTHER]
    assert addresses(answer, "Bcc") == []
    assert answer["subject"] == "Re: Lunch"
    assert answer["discussion_id"] == parent["discussion_id"]
    assert answer["parent_id"] == parent["message_id"]
    parents_id = parent["external_references"]["message_id"]
    assert answer["external_references"] == {
        "message_id": None, "parent_id": parents_id, "ancestors_ids": [parents_id],
    }  # fmt: skip
    assert (await shown(user, parent["message_id"]))["is_answered"] is False
    assert (await user.send(answer["message_id"])).status == 200
    assert (await shown(user, parent["message_id"]))["is_answered"] is True
    delivered = message_from_bytes(provider.received[-1].data)
    assert delivered["In-Reply-To"] == delivered["References"] == f"<{parents_id}>"


async def test_reply_to(user: Client, provider: Provider) -> None:
    """An answer goes to whom the parent names in Reply-To."""
    people = [{"type": "To", "address": FRIEND.address}, {"type": "Reply-To", "address": OTHER}]
    parent = await sent(user, provider, participants=people)
    message_id = await user.draft(parent["user_identities"][0], participants=[], parent_id=parent["message_id"])
    assert addresses(await shown(user, message_id), "To") == [OTHER]


async def test_chosen_recipients_stay(user: Client, provider: Provider) -> None:
    """What the client says of an answer stays as it is, now and later; the discussion stays the parent's."""
    parent = await sent(user, provider)
    message_id = await user.draft(
        parent["user_identities"][0], OTHER, subject="Mine", parent_id=parent["message_id"]
    )
    answer = await shown(user, message_id)
    assert (addresses(answer, "To"), answer["subject"]) == ([OTHER], "Mine")
    assert answer["discussion_id"] == parent["discussion_id"]
    assert (await patched(user, message_id, {"participants": [], "subject": ""})).status == 204
    answer = await shown(user, message_id)
    assert (addresses(answer, "To"), answer["subject"]) == ([], "")
    assert answer["discussion_id"] == parent["discussion_id"]


async def test_becomes_an_answer(user: Client, provider: Provider) -> None:
    """A draft becomes an answer by a patch, and stops being one."""
    parent = await sent(user, provider)
    message_id = await user.draft(parent["user_identities"][0], participants=[], subject="")
    assert (await patched(user, message_id, {"parent_id": parent["message_id"]})).status == 204
    answer = await shown(user, message_id)
    assert addresses(answer, "Cc") == [FRIEND.address]
    assert answer["external_references"]["parent_id"]
    assert (await patched(user, message_id, {"parent_id": None})).status == 204
    answer = await shown(user, message_id)
    assert answer["external_references"]["ancestors_ids"] == []


async def test_chain_of_answers(user: Client, provider: Provider) -> None:
    """An answer to an answer refers to both, the older first."""
    parent = await sent(user, provider)
    chain = [parent["external_references"]["message_id"]]
    for _ in range(2):
        message_id = await user.draft(parent["user_identities"][0], parent_id=parent["message_id"])
        parent = (await user.send(message_id)).json
        assert parent["external_references"]["ancestors_ids"] == chain
        chain.append(parent["external_references"]["message_id"])


async def test_what_cannot_be_answered(user: Client, api: Client, provider: Provider) -> None:
    """Drafts, messages of others and no messages cannot be answered."""
    other = await api.register("another")
    theirs = await sent(other, provider)
    local = await user.local_identity()
    mine = await user.draft(local["identity_id"])
    for parent_id in (theirs["message_id"], mine, str(uuid4())):
        reply = await user.post("/api/v1/messages", draft(local["identity_id"], parent_id=parent_id))
        assert (reply.status, list(reply.json["errors"])) == (422, ["parent_id"])


# -- cancel ------------------------------------------------------------------------------------------------------


async def test_cancel(user: Client, provider: Provider) -> None:
    """An order that no attempt has started can be taken back; the draft can be changed and sent again."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    path = f"/api/v2/messages/{message_id}/actions"
    assert (await user.send(message_id, send_at=in_an_hour())).status == 202
    assert (await patched(user, message_id, {"subject": "New"})).status == 403
    canceled = await user.post(path, {"actions": ["cancel"]})
    assert canceled.status == 200
    assert (canceled.json["is_draft"], canceled.json["delivery"]["state"]) == (True, "canceled")
    assert canceled.json["delivery"]["next_attempt_at"] is None
    assert (await user.post(path, {"actions": ["cancel"]})).status == 409
    assert (await patched(user, message_id, {"subject": "New"})).status == 204
    assert (await user.send(message_id)).status == 200
    assert len(provider.received) == 1


async def test_nothing_to_cancel(user: Client, provider: Provider) -> None:
    """Without an order, after an attempt and after the sending there is nothing to cancel."""
    identity_id = (await user.local_identity())["identity_id"]
    cancel = {"actions": ["cancel"]}
    plain = await user.draft(identity_id)
    assert (await user.post(f"/api/v1/messages/{plain}/actions", cancel)).status == 409
    later = await user.draft(identity_id, "later@elsewhere.example")
    assert (await user.send(later)).status == 202
    assert (await user.post(f"/api/v1/messages/{later}/actions", cancel)).status == 409
    assert (await user.send(plain)).status == 200
    assert (await user.post(f"/api/v1/messages/{plain}/actions", cancel)).status == 409
    with_time = cancel | {"params": {"send_at": in_an_hour()}}
    assert (await user.post(f"/api/v1/messages/{plain}/actions", with_time)).status == 422
    assert (await user.post(f"/api/v1/messages/{uuid4()}/actions", cancel)).status == 404


async def test_canceled_or_sent(user: Client, provider: Provider) -> None:
    """Cancellations at the moment of sending: a message is either taken back or sent, as the answer says."""
    identity_id = (await user.local_identity())["identity_id"]
    for n in range(10):
        message_id = await user.draft(identity_id, subject=f"S{n}")
        path = f"/api/v1/messages/{message_id}/actions"
        ordered, canceled = await asyncio.gather(user.send(message_id), user.post(path, {"actions": ["cancel"]}))
        subjects = [message_from_bytes(each.data)["Subject"] for each in provider.received]
        assert (canceled.status == 200) == (f"S{n}" not in subjects)
        assert ordered.status == (202 if canceled.status == 200 else 200)


# -- deletion ----------------------------------------------------------------------------------------------------


async def test_delete(user: Client, provider: Provider, mongo: Mongo) -> None:
    """A draft and a sent message can be deleted, with their bytes; then they are not there."""
    message = await sent(user, provider)
    draft_id = await user.draft(message["user_identities"][0])
    for message_id in (message["message_id"], draft_id):
        path = f"/api/v1/messages/{message_id}"
        reply = await user.call("DELETE", path)
        assert (reply.status, reply.content) == (204, b"")
        assert (await user.get(path)).status == 404
        assert (await user.call("DELETE", path)).status == 404
        assert (await patched(user, message_id, {"subject": "New"})).status == 404
    assert (await user.get(f"/api/v1/raws/{message['raw_msg_id']}")).status == 404
    assert (await user.get("/api/v2/messages")).json["total"] == 0
    assert await mongo.collection("raws").count_documents({}) == 0


async def test_delete_what_is_on_its_way(user: Client) -> None:
    """What was ordered and is not sent is 409, until it is canceled."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    path = f"/api/v2/messages/{message_id}"
    await user.send(message_id, send_at=in_an_hour())
    assert (await user.call("DELETE", path)).status == 409
    await user.post(f"{path}/actions", {"actions": ["cancel"]})
    assert (await user.call("DELETE", path)).status == 204
