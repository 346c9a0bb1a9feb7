"""Drafts and their sending over REST."""

from __future__ import annotations

import asyncio
import email
import imaplib
from datetime import UTC, datetime, timedelta
from email import policy
from typing import Any

import pytest

from api.demo.provider import Provider
from gateway.errors import Unavailable
from protocols.imap import ImapAdapter
from storage.messages import MongoMessages
from storage.mongo import Mongo
from tests.api.conftest import CLOSED_PORT
from tests.client import Client, draft, remote
from tests.conftest import FRIEND, ME
from tests.flowed import unflowed

MESSAGES = "/api/v1/messages"
CHOSEN = "6f2b0a52-9f4e-4c9c-9e4e-0b3c1a5d7e11"


def parsed(raw: bytes) -> Any:
    """Return a message as the standard library reads it."""
    return email.message_from_bytes(raw, policy=policy.default)


async def test_draft(user: Client) -> None:
    """A draft comes back with all properties, its From rebuilt from its identity."""
    identity = await user.local_identity()
    participants = [
        {"type": "From", "address": "somebody@else.example", "label": "Not me"},
        {"type": "To", "address": "Friend@Elsewhere.example", "label": "Ein Freünd"},
        {"type": "Bcc", "address": '"odd one"@[127.0.0.1]'},
    ]
    message_id = await user.draft(
        identity["identity_id"], participants=participants, body="<p>Hi</p>", body_is_plain=False
    )
    message = (await user.get(f"{MESSAGES}/{message_id}")).json
    assert message == (await user.get(f"/api/v2/messages/{message_id}")).json
    assert [(p["type"], p["address"], p["label"]) for p in message["participants"]] == [
        ("From", identity["identifier"], identity["display_name"]),
        ("To", "Friend@elsewhere.example", "Ein Freünd"),
        ("Bcc", '"odd one"@[127.0.0.1]', ""),
    ]
    assert message["user_identities"] == [identity["identity_id"]]
    assert (message["is_draft"], message["delivery"], message["excerpt"]) == (True, None, "Hi")
    assert message.keys() == {
        "message_id", "user_id", "user_identities", "subject", "body", "body_is_plain", "excerpt", "participants",
        "discussion_id", "parent_id", "external_references", "attachments", "date", "date_insert", "date_sort",
        "importance_level", "is_answered", "is_draft", "is_unread", "is_received", "raw_msg_id", "type", "delivery",
    }  # fmt: skip


async def test_sender(user: Client, provider: Provider) -> None:
    """What goes out has the user as Sender; for a local identity a local one, for a remote one is not proven."""
    local, remote_id = await user.local_identity(), await user.add_remote(provider)
    for identity_id, address, status in (
        (local["identity_id"], local["identifier"].upper(), 200),
        (local["identity_id"], ME.address, 422),
        (remote_id, ME.address, 200),
        (remote_id, local["identifier"], 200),
        (remote_id, "ceo@home.example", 422),
    ):
        people = [{"type": "To", "address": FRIEND.address}, {"type": "Sender", "address": address}]
        reply = await user.send(await user.draft(identity_id, participants=people))
        assert reply.status == status, (address, reply.json)
        if status == 422:
            assert list(reply.json["errors"]) == ["participants.2.address"]


async def test_same_people_same_discussion(user: Client) -> None:
    """Drafts to the same people share a discussion, whatever their labels and types."""
    identity_id = (await user.local_identity())["identity_id"]

    async def discussion(*participants: dict[str, str]) -> Any:
        message_id = await user.draft(identity_id, participants=list(participants))
        return (await user.get(f"{MESSAGES}/{message_id}")).json["discussion_id"]

    one = {"type": "To", "address": "a@example.org"}, {"type": "Cc", "address": "b@example.org"}
    two = {"type": "To", "address": "b@example.org", "label": "B"}, {"type": "Bcc", "address": "A@example.org"}
    assert await discussion(*one) == await discussion(*two)
    assert await discussion(*one) != await discussion(one[0])
    listed = (await user.get(f"/api/v2/messages?discussion_id={await discussion(*one)}")).json
    assert listed["total"] == 4


async def test_chosen_id(user: Client) -> None:
    """The same creation twice makes one draft; another body under the same id is 409."""
    body = draft((await user.local_identity())["identity_id"], message_id=CHOSEN)
    first, second = await asyncio.gather(user.post(MESSAGES, body), user.post(MESSAGES, body))
    assert (first.status, second.status) == (201, 201)
    assert first.json == second.json == {"location": f"{MESSAGES}/{CHOSEN}", "message_id": CHOSEN}
    assert (await user.get("/api/v2/messages")).json["total"] == 1
    assert (await user.post(MESSAGES, body | {"subject": "Another"})).status == 409


async def test_ids_are_of_one_user(user: Client, api: Client) -> None:
    """Two users may choose the same id."""
    other = await api.register("another")
    for client in (user, other):
        identity_id = (await client.local_identity())["identity_id"]
        assert (await client.post(MESSAGES, draft(identity_id, message_id=CHOSEN))).status == 201


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"user_identities": []}, "user_identities"),
        ({"user_identities": [CHOSEN, CHOSEN]}, "user_identities"),
        ({"user_identities": [CHOSEN]}, "user_identities.0"),
        ({"message_id": "1"}, "message_id"),
        ({"subject": "a\nBcc: x@example.org"}, "subject"),
        ({"subject": "a\0"}, "subject"),
        ({"participants": [{"type": "To", "address": "a@b@c"}]}, "participants.0.address"),
        ({"participants": [{"type": "To", "address": "a@example.org\r\nX: y"}]}, "participants.0.address"),
        (
            {"participants": [{"type": "To", "address": "a@example.org", "protocol": "xmpp"}]},
            "participants.0.protocol",
        ),
        ({"participants": [{"type": "Sender", "address": "a@example.org"}] * 2}, "participants"),
        ({"importance_level": 10**30}, "importance_level"),
        ({"body_is_plain": "yes"}, "body_is_plain"),
        ({"body_is_plain": 1}, "body_is_plain"),
        ({"body": None}, "body"),
    ],
)
async def test_refused_draft(user: Client, changes: dict[str, Any], fault: str) -> None:
    """A draft that breaks a rule is 422 and names the property."""
    body = draft((await user.local_identity())["identity_id"]) | changes
    reply = await user.post(MESSAGES, body)
    assert reply.status == 422
    assert fault in reply.json["errors"]


async def test_deep_nonsense(user: Client) -> None:
    """What is ignored may be nested as deep as it likes."""
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    body = draft((await user.local_identity())["identity_id"], delivery=deep)
    assert (await user.post(MESSAGES, body)).status == 201


async def test_one_id_two_users(user: Client, api: Client, provider: Provider) -> None:
    """Two users who wait for messages of one id at once each get their own."""
    other = await api.register("another")
    for client in (user, other):
        identity_id = (await client.local_identity())["identity_id"]
        await client.post(MESSAGES, draft(identity_id, message_id=CHOSEN))
    replies = await asyncio.gather(user.send(CHOSEN), other.send(CHOSEN))
    assert [reply.json["user_id"] for reply in replies] == [user.user_id, other.user_id]
    assert len(provider.received) == 2


async def test_send_by_the_relay(user: Client, provider: Provider) -> None:
    """A local identity sends through the relay; its address is the envelope's sender."""
    identity = await user.local_identity()
    reply = await user.send(await user.draft(identity["identity_id"], ME.address, FRIEND.address))
    assert reply.status == 200
    message = reply.json
    assert (message["is_draft"], message["delivery"]["state"], message["delivery"]["attempts"]) == (
        False,
        "sent",
        1,
    )
    assert message["delivery"]["last_error"] is None
    assert {r["state"] for r in message["delivery"]["recipients"].values()} == {"accepted"}
    delivery = provider.received[-1]
    assert (delivery.mail_from, delivery.signed_in_as) == (identity["identifier"], None)
    assert delivery.rcpt_tos == (ME.address, FRIEND.address)
    mail = parsed(provider.inbox(FRIEND.address)[0])
    assert mail["Message-ID"] == f"<{message['external_references']['message_id']}>"
    assert mail["Subject"] == "A subject"
    assert datetime.fromisoformat(message["date"]).replace(microsecond=0) == mail["Date"].datetime


async def test_send_on_behalf_of_a_remote(user: Client, provider: Provider) -> None:
    """A remote imap identity sends through its own server, signed in, and a seen copy is filed in Sent."""
    identity_id = await user.add_remote(provider)
    participants = [{"type": "To", "address": FRIEND.address}, {"type": "Bcc", "address": ME.address}]
    message_id = await user.draft(identity_id, participants=participants)
    message = (await user.send(message_id)).json
    delivery = provider.received[-1]
    assert (delivery.mail_from, delivery.signed_in_as) == (ME.address, ME.address)
    assert parsed(provider.inbox(FRIEND.address)[0])["Bcc"] is None

    raw = await user.get(f"/api/v1/raws/{message['raw_msg_id']}")
    assert raw.headers["Content-Type"] == "message/rfc822"
    assert parsed(raw.content)["Bcc"] == ME.address
    flags, copy = await sent_copy(provider, user, message_id)
    assert b"\\Seen" in flags
    assert copy == raw.content


async def sent_copy(provider: Provider, user: Client, message_id: str) -> tuple[bytes, bytes]:
    """Return flags and bytes of the newest message in ME's Sent, when nothing is left to do for the delivery."""

    def look() -> tuple[bytes, bytes] | None:
        with imaplib.IMAP4(provider.host, provider.imap_port) as imap:
            imap.login(ME.address, ME.password)
            imap.select("Sent", readonly=True)
            found = imap.fetch("*", "(FLAGS BODY.PEEK[])")[1][0]
            return (bytes(found[0]), bytes(found[1])) if isinstance(found, tuple) else None

    async with asyncio.timeout(10):
        while True:
            if found := await asyncio.to_thread(look):
                return found


async def test_some_are_refused(user: Client, provider: Provider) -> None:
    """A message that some recipients' servers take and others refuse is sent, and says which."""
    identity_id = await user.add_remote(provider, protocol="smtp")
    reply = await user.send(await user.draft(identity_id, FRIEND.address, "never@elsewhere.example"))
    assert reply.status == 200
    recipients = reply.json["delivery"]["recipients"]
    assert recipients[FRIEND.address]["state"] == "accepted"
    assert recipients["never@elsewhere.example"]["state"] == "rejected"
    assert recipients["never@elsewhere.example"]["smtp_code"] == 550
    assert len(provider.inbox(FRIEND.address)) == 1


async def test_some_are_deferred(user: Client, provider: Provider) -> None:
    """A message that some recipients' servers want later is 202, and only they are tried again."""
    identity_id = await user.add_remote(provider, protocol="smtp")
    reply = await user.send(await user.draft(identity_id, FRIEND.address, "later@elsewhere.example"))
    assert reply.status == 202
    delivery = reply.json["delivery"]
    assert (reply.json["is_draft"], delivery["state"], delivery["attempts"]) == (False, "queued", 1)
    assert delivery["recipients"][FRIEND.address]["state"] == "accepted"
    assert delivery["recipients"]["later@elsewhere.example"] == {
        "state": "queued",
        "smtp_code": 451,
        "smtp_reply": "4.3.0 try again later",
    }
    assert datetime.fromisoformat(delivery["next_attempt_at"]) > datetime.now(UTC)


async def test_all_are_refused(user: Client, provider: Provider) -> None:
    """A message that is refused for good is 424 with the server's words, and a draft that can be sent again."""
    identity_id = await user.add_remote(provider, protocol="smtp")
    message_id = await user.draft(identity_id, "never@elsewhere.example")
    for attempt in range(2):
        reply = await user.send(message_id)
        assert (reply.status, "5.7.1" in reply.json["detail"]) == (424, True)
        message = (await user.get(f"{MESSAGES}/{message_id}")).json
        assert (message["is_draft"], message["delivery"]["state"]) == (True, "failed"), attempt


async def test_refused_sign_in(user: Client, provider: Provider) -> None:
    """A refused sign-in fails the order at once, and tells neither name nor password."""
    credentials = {"inusername": ME.address, "inpassword": "not-the-password"}
    identity_id = await user.add_remote(provider, protocol="smtp", credentials=credentials)
    message_id = await user.draft(identity_id)
    reply = await user.send(message_id)
    assert reply.status == 424
    assert "does not take this user name and password" in reply.json["detail"]
    assert "535" in reply.json["detail"]
    assert b"not-the-password" not in reply.content + (await user.get(f"{MESSAGES}/{message_id}")).content


async def test_unreachable_server(user: Client, provider: Provider) -> None:
    """A server that cannot be reached leaves the message queued."""
    servers = remote(provider)["infos"] | {"outserver": f"127.0.0.1:{CLOSED_PORT}"}
    identity_id = await user.add_remote(provider, infos=servers)
    reply = await user.send(await user.draft(identity_id))
    assert (reply.status, reply.json["delivery"]["state"]) == (202, "queued")
    assert "refuses connections" in reply.json["delivery"]["last_error"]


@pytest.mark.configured(network={"allow": []})
async def test_private_network_is_guarded(user: Client, provider: Provider) -> None:
    """A user's server in a private network is not connected to unless the configuration allows it."""
    identity_id = await user.add_remote(provider)
    reply = await user.send(await user.draft(identity_id))
    assert reply.status == 424
    assert "not allowed" in reply.json["detail"]
    assert not provider.received


async def test_send_later(user: Client, provider: Provider) -> None:
    """A scheduled message is 202 and waits; a time in the past means now."""
    identity_id = (await user.local_identity())["identity_id"]
    at = datetime.now(UTC) + timedelta(days=1)
    reply = await user.send(await user.draft(identity_id), send_at=at.isoformat())
    assert (reply.status, reply.json["delivery"]["state"]) == (202, "queued")
    assert reply.json["delivery"]["send_at"] == reply.json["delivery"]["next_attempt_at"] == reply.json["date"]
    assert not provider.received
    reply = await user.send(await user.draft(identity_id), send_at="2020-01-01T00:00:00+02:00")
    assert (reply.status, reply.json["delivery"]["send_at"]) == (200, "2019-12-31T22:00:00.000Z")
    for nonsense in ("tomorrow", "2020-01-01T00:00:00", "9999-12-31T23:59:59-12:00", "2200-01-01T00:00:00Z", 5):
        assert (await user.send(await user.draft(identity_id), send_at=nonsense)).status == 422


@pytest.mark.parametrize(("infos", "state"), [({}, "failed"), ({"inactivereason": "unreachable"}, "sent")])
async def test_inactive_after_the_order(
    user: Client, provider: Provider, mongo: Mongo, infos: dict[str, str], state: str
) -> None:
    """An account that its user has made inactive sends nothing any more; one that checks have, still tries to."""
    identity_id = await user.add_remote(provider)
    message_id = await user.draft(identity_id)
    assert (await user.send(message_id, send_at="2099-01-01T00:00:00Z")).status == 202
    inactive = {"status": "inactive"} | {f"infos.{key}": value for key, value in infos.items()}
    await mongo.collection("identities").update_one({"_id": identity_id}, {"$set": inactive})
    await mongo.collection("messages").update_many({}, {"$currentDate": {"delivery.due_at": True}})
    async with asyncio.timeout(10):
        while (await user.get(f"{MESSAGES}/{message_id}")).json["delivery"]["state"] != state:
            await asyncio.sleep(0.01)
    assert len(provider.received) == (state == "sent")


async def test_send_twice(user: Client, provider: Provider, mongo: Mongo) -> None:
    """However often an order is repeated, the message goes out once, and one copy of its bytes is kept."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    replies = await asyncio.gather(*(user.send(message_id) for _ in range(8)))
    assert {reply.status for reply in replies} == {200}
    assert (await user.send(message_id)).status == 200
    assert len(provider.received) == 1
    assert await mongo.collection("raws").count_documents({}) == 1


async def test_outage_before_the_record(user: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away when the server has answered is waited for: nothing is sent a second time."""
    outages, record = [1, 2, 3], MongoMessages.record

    async def away(self: MongoMessages, *args: Any, **kwargs: Any) -> bool:
        if outages:
            outages.pop()
            raise Unavailable("away")
        return await record(self, *args, **kwargs)

    monkeypatch.setattr(MongoMessages, "record", away)
    monkeypatch.setattr("gateway.send._RECORD_AGAIN_S", 0.01)
    reply = await user.send(await user.draft((await user.local_identity())["identity_id"]))
    assert (reply.status, reply.json["delivery"]["attempts"], outages) == (200, 1, [])
    assert len(provider.received) == 1


async def test_copy_meets_a_fault_of_ours(
    user: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours while the copy is filed leaves the message sent, says so, and is tried again later."""

    async def broken(*_: object) -> str:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(ImapAdapter, "file_sent", broken)
    message_id = await user.draft(await user.add_remote(provider))
    assert (await user.send(message_id)).status == 200
    async with asyncio.timeout(10):
        while not (delivery := (await user.get(f"{MESSAGES}/{message_id}")).json["delivery"])["last_error"]:
            await asyncio.sleep(0.01)
    assert (delivery["state"], len(provider.received)) == ("sent", 1)
    assert delivery["last_error"].startswith("Sent, but no copy could be put into the Sent folder")


async def test_no_recipient(user: Client) -> None:
    """A draft without a recipient cannot be sent, and stays a draft."""
    message_id = await user.draft((await user.local_identity())["identity_id"], participants=[])
    reply = await user.send(message_id)
    assert (reply.status, list(reply.json["errors"])) == (422, ["participants"])
    assert (await user.get(f"{MESSAGES}/{message_id}")).json["is_draft"]


async def test_inactive_identity(user: Client, provider: Provider) -> None:
    """A draft of an inactive identity cannot be sent."""
    identity_id = await user.add_remote(provider, status="inactive")
    assert (await user.send(await user.draft(identity_id))).status == 422


async def test_lists(user: Client, provider: Provider) -> None:
    """Messages are listed newest first, by whether they are drafts and by identity."""
    local = (await user.local_identity())["identity_id"]
    remote_id = await user.add_remote(provider)
    older, newer = await user.draft(local), await user.draft(remote_id)
    sent = await user.draft(local)
    await user.send(sent)

    async def ids(query: str) -> list[str]:
        reply = (await user.get(f"/api/v2/messages?{query}")).json
        assert reply["total"] == len(reply["messages"])
        return [message["message_id"] for message in reply["messages"]]

    assert await ids("") == [sent, newer, older]
    assert await ids("is_draft=true") == [newer, older]
    assert await ids("is_draft=false") == [sent]
    assert await ids(f"identity_id={remote_id}") == [newer]


async def test_non_ascii(user: Client, provider: Provider) -> None:
    """Names, subjects, bodies and domains outside ASCII arrive as they were written."""
    identity_id = await user.add_remote(provider, protocol="smtp", display_name="Jörg 🐎")
    text = "Grüße,\n\n日本語" + " lang" * 400 + "\n.\n..\nEnde"
    message_id = await user.draft(identity_id, subject="Füße & 🐎", body=text)
    assert (await user.send(message_id)).status == 200
    mail = parsed(provider.inbox(FRIEND.address)[0])
    assert (mail["Subject"], mail["From"].addresses[0].display_name) == ("Füße & 🐎", "Jörg 🐎")
    assert "\n".join(line for _, line in unflowed(mail.get_content())).rstrip("\n") == text


async def test_html(user: Client, provider: Provider) -> None:
    """An HTML body goes out with a plain alternative."""
    identity_id = (await user.local_identity())["identity_id"]
    await user.send(await user.draft(identity_id, body="<p>Hello <b>you</b></p>", body_is_plain=False))
    mail = parsed(provider.inbox(FRIEND.address)[0])
    assert mail.get_body(["plain"]).get_content().strip() == "Hello you"
    assert "<b>you</b>" in mail.get_body(["html"]).get_content()
