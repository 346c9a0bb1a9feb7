"""Attachments: put on a draft, read, taken off, sent, and gone with what they belong to."""

from __future__ import annotations

import asyncio
import email
import io
from collections.abc import AsyncIterator
from email import policy
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.api.test_messages import sent_copy
from tests.client import PASSWORD, Client, Reply
from tests.conftest import FRIEND

MIB = 1024 * 1024
LIMIT = {"max_bytes": MIB}


@pytest.fixture
async def message_id(user: Client) -> str:
    """A draft of the user's."""
    return await user.draft((await user.local_identity())["identity_id"])


def path(message_id: str, temp_id: str = "") -> str:
    """Return the path of a message's attachments, or of one of them."""
    return f"/api/v2/messages/{message_id}/attachments" + (f"/{temp_id}" if temp_id else "")


async def upload(
    user: Client, message_id: str, content: Any = b"content", *, name: str = "a.txt", kind: str = "text/plain"
) -> Reply:
    """Send a file."""
    form = aiohttp.FormData()
    content = io.BytesIO(content) if isinstance(content, bytes) else content
    form.add_field("attachment", content, filename=name, content_type=kind)
    return await user.call("POST", path(message_id), data=form())


async def attach(user: Client, message_id: str, content: bytes = b"content", **changes: str) -> str:
    """Put a file on a draft; return its temp_id."""
    reply = await upload(user, message_id, content, **changes)
    assert reply.status == 201, reply.json
    temp_id: str = reply.json["temp_id"]
    return temp_id


async def shown(user: Client, message_id: str) -> list[dict[str, Any]]:
    """Return the attachments that a message shows."""
    attachments: list[dict[str, Any]] = (await user.get(f"/api/v2/messages/{message_id}")).json["attachments"]
    return attachments


async def stored(mongo: Mongo) -> int:
    """Return how many documents there are of all files."""
    names = [f"{bucket}.{kind}" for bucket in ("attachments", "raws") for kind in ("files", "chunks")]
    return sum([await mongo.collection(name).count_documents({}) for name in names])


def files_in(raw: bytes) -> list[tuple[str | None, str, Any]]:
    """Return name, type and bytes of each file in a message, as the standard library reads it."""
    mail = email.message_from_bytes(raw, policy=policy.default)
    return [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in mail.iter_attachments()
    ]


# -- put on, read, take off --------------------------------------------------------------------------------------


async def test_life_of_an_attachment(user: Client, message_id: str, mongo: Mongo) -> None:
    """A file is put on a draft, stands in the message, is read back, and taken off."""
    content = bytes(range(256)) * 4000
    temp_id = await attach(user, message_id, content, name="Résumé; 履歴.pdf", kind="application/pdf")
    expected = {"temp_id": temp_id, "file_name": "Résumé; 履歴.pdf", "content_type": "application/pdf"}
    assert await shown(user, message_id) == [expected | {"size": len(content)}]

    reply = await user.get(path(message_id, temp_id))
    assert (reply.status, reply.content) == (200, content)
    assert reply.headers["Content-Type"] == "application/pdf"
    assert reply.headers["Content-Length"] == str(len(content))
    assert reply.headers["Content-Disposition"] == (
        "attachment; filename=\"Resume; __.pdf\"; filename*=UTF-8''R%C3%A9sum%C3%A9%3B%20%E5%B1%A5%E6%AD%B4.pdf"
    )
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in reply.headers["Content-Security-Policy"]

    gone = await user.call("DELETE", path(message_id, temp_id))
    assert (gone.status, gone.content) == (204, b"")
    assert await shown(user, message_id) == []
    for verb in ("GET", "DELETE"):
        assert (await user.call(verb, path(message_id, temp_id))).status == 404
    assert await stored(mongo) == 0


async def test_head_and_etag(user: Client, message_id: str) -> None:
    """HEAD tells what GET would; who has the bytes is not sent them again."""
    temp_id = await attach(user, message_id, b"x" * 300_000)
    head = await user.call("HEAD", path(message_id, temp_id))
    assert (head.status, head.content, head.headers["Content-Length"]) == (200, b"", "300000")
    known = {"If-None-Match": head.headers["ETag"]}
    again = await user.get(path(message_id, temp_id), headers=known)
    assert (again.status, again.content) == (304, b"")


async def test_attaching_changes_the_version(user: Client, message_id: str) -> None:
    """Who changes a draft that has got a file meanwhile is told by If-Match."""
    before = (await user.get(f"/api/v2/messages/{message_id}")).headers["ETag"]
    await attach(user, message_id)
    patch = await user.call(
        "PATCH", f"/api/v2/messages/{message_id}", {"subject": "New"}, headers={"If-Match": before}
    )
    assert patch.status == 412
    assert (await user.call("PATCH", f"/api/v2/messages/{message_id}", {"subject": "New"})).status == 204
    assert len(await shown(user, message_id)) == 1


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("../../etc/passwd", "text/plain", ("passwd", "text/plain")),
        ("C:\\a b.eml", "message/rfc822", ("a b.eml", "application/octet-stream")),
        (".", "text/html; charset=utf-8", (None, "text/html")),
        ('a "b".txt', "image/svg+xml", ('a "b".txt', "image/svg+xml")),
    ],
)
async def test_what_a_client_says(
    user: Client, message_id: str, name: str, kind: str, expected: tuple[str | None, str]
) -> None:
    """Name and type are made such that they can be shown, stored and sent."""
    form = f'--b\r\nContent-Disposition: form-data; name="attachment"; filename="{_quoted(name)}"\r\n'
    body = f"{form}Content-Type: {kind}\r\n\r\n\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert (await user.call("POST", path(message_id), data=body.encode(), headers=headers)).status == 201
    (attachment,) = await shown(user, message_id)
    assert attachment["size"] == 0
    assert (attachment["file_name"], attachment["content_type"]) == (expected[0] or "attachment", expected[1])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


async def test_no_name_and_no_type(user: Client, message_id: str) -> None:
    """A file of which nothing is said is bytes of the name "attachment"."""
    body = b'--b\r\nContent-Disposition: form-data; name="attachment"\r\n\r\nx\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert (await user.call("POST", path(message_id), data=body, headers=headers)).status == 201
    (attachment,) = await shown(user, message_id)
    assert (attachment["file_name"], attachment["content_type"]) == ("attachment", "application/octet-stream")


async def test_many_at_once(user: Client, message_id: str) -> None:
    """Files that are put on a draft at the same time all arrive."""
    contents = [bytes([number]) * 1000 for number in range(8)]
    temp_ids = await asyncio.gather(*(attach(user, message_id, content) for content in contents))
    assert sorted(each["temp_id"] for each in await shown(user, message_id)) == sorted(temp_ids)
    replies = await asyncio.gather(*(user.get(path(message_id, temp_id)) for temp_id in temp_ids))
    assert [reply.content for reply in replies] == contents


# -- what is refused ---------------------------------------------------------------------------------------------


async def test_not_a_draft(user: Client, message_id: str, mongo: Mongo) -> None:
    """Nothing is put on a message that was sent, nor taken off; it is read as before."""
    temp_id = await attach(user, message_id)
    assert (await user.send(message_id)).status == 200
    before = await stored(mongo)
    assert (await upload(user, message_id)).status == 403
    assert (await user.call("DELETE", path(message_id, temp_id))).status == 403
    assert (await user.get(path(message_id, temp_id))).content == b"content"
    assert await stored(mongo) == before


async def test_sent_while_it_is_uploaded(user: Client, message_id: str, mongo: Mongo) -> None:
    """A file that comes too late is refused, and not kept."""

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        assert (await user.send(message_id)).status == 200
        yield b"y"

    assert (await upload(user, message_id, slow())).status == 403
    assert await shown(user, message_id) == []
    assert await stored(mongo) == 0


async def test_deleted_while_it_is_uploaded(user: Client, message_id: str, mongo: Mongo) -> None:
    """A file that comes when its draft is gone is 404, and not kept."""

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        assert (await user.call("DELETE", f"/api/v2/messages/{message_id}")).status == 204
        yield b"y"

    assert (await upload(user, message_id, slow())).status == 404
    assert await stored(mongo) == 0


async def test_of_another_user(user: Client, api: Client, message_id: str) -> None:
    """Another user's message and its attachments are not there."""
    temp_id = await attach(user, message_id)
    other = await api.register("another")
    assert (await upload(other, message_id)).status == 404
    for verb in ("GET", "DELETE"):
        assert (await other.call(verb, path(message_id, temp_id))).status == 404
    for unknown in (str(uuid4()), "nonsense", "..%2Fx", f"{message_id}%2F{temp_id}"):
        assert (await user.get(path(message_id, unknown))).status == 404


@pytest.mark.configured(messages=LIMIT)
async def test_too_large(user: Client, message_id: str, mongo: Mongo) -> None:
    """A file that makes the message too large is 413, by its length or as soon as it is seen, and not kept."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    assert (await upload(user, message_id, b"x" * MIB)).status == 413
    assert (await upload(user, message_id, b"x" * (MIB * 57 // 78 + 57))).status == 413
    assert (await upload(user, message_id, endless())).status == 413
    assert await shown(user, message_id) == []
    assert await stored(mongo) == 0


@pytest.mark.configured(messages=LIMIT)
async def test_too_large_together(user: Client, message_id: str) -> None:
    """All attachments of a message share its room, also those that come at once."""
    replies = await asyncio.gather(*(upload(user, message_id, b"x" * 300_000) for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [201, 201, 413, 413]
    assert len(await shown(user, message_id)) == 2


@pytest.mark.configured(messages=LIMIT, server={"max_body_bytes": 2 * MIB})
async def test_message_too_large_to_be_ordered(user: Client, message_id: str, mongo: Mongo) -> None:
    """An order of a message that its text has made too large is 413; it stays a draft, and no bytes are kept."""
    await attach(user, message_id, b"x" * 600_000)
    before = await stored(mongo)
    patch = await user.call("PATCH", f"/api/v2/messages/{message_id}", {"body": "line\n" * 100_000})
    assert patch.status == 204
    assert (await user.send(message_id)).status == 413
    assert (await user.get(f"/api/v2/messages/{message_id}")).json["is_draft"]
    assert await stored(mongo) == before


async def test_too_many(user: Client, message_id: str) -> None:
    """The hundred and first attachment is 413."""
    for _ in range(10):
        await asyncio.gather(*(attach(user, message_id, b"") for _ in range(10)))
    assert (await upload(user, message_id)).status == 413


START = b'--b\r\nContent-Disposition: form-data; name="attachment"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/mixed; boundary=b", START + b"x\r\n--b--\r\n", 415),
        ("multipart/form-data", START + b"x\r\n--b--\r\n", 400),
        ("multipart/form-data; boundary=b", b"", 400),
        ("multipart/form-data; boundary=b", b"nothing", 400),
        ("multipart/form-data; boundary=b", START, 400),
        ("multipart/form-data; boundary=b", START + b"x", 400),
        ("multipart/form-data; boundary=b", START + b"x\r\n--b", 422),
        ("multipart/form-data; boundary=b", START + b"x\r\n--bc\r\n", 400),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: y\r\n" * 200, 400),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 10_000 + b"\r\n\r\n", 400),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 422),
        ("multipart/form-data; boundary=b", START.replace(b"attachment", b"file") + b"x\r\n--b--\r\n", 422),
        ("multipart/form-data; boundary=b", START + b"x\r\n" + START + b"y\r\n--b--\r\n", 422),
        (
            "multipart/form-data; boundary=b",
            START[:-2] + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n",
            422,
        ),
    ],
)
async def test_no_such_body(
    user: Client, message_id: str, mongo: Mongo, *, content_type: str, body: bytes, status: int
) -> None:
    """A body that is not one file in the right field is refused, and nothing of it kept."""
    headers = {"Content-Type": content_type}
    reply = await user.call("POST", path(message_id), data=body, headers=headers)
    assert reply.status == status
    assert await stored(mongo) == 0
    assert (await user.call("POST", path(str(uuid4())), data=body, headers=headers)).status == 404


async def test_client_hangs_up(user: Client, message_id: str, mongo: Mongo) -> None:
    """Of a file whose client goes away amid it nothing is kept."""

    async def half() -> AsyncIterator[bytes]:
        yield START + b"x" * MIB
        while not await stored(mongo):
            await asyncio.sleep(0.01)
        raise ConnectionAbortedError

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    with pytest.raises((aiohttp.ClientError, ConnectionAbortedError)):
        await user.call("POST", path(message_id), data=half(), headers=headers)
    while await stored(mongo):
        await asyncio.sleep(0.01)
    assert await shown(user, message_id) == []


# -- sent --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 100_000, 12 * MIB])
async def test_sent(user: Client, provider: Provider, message_id: str, size: int) -> None:
    """Recipients get the files, small and large, and the sender's copy has them too."""
    await attach(user, message_id, b"x" * size, name="Résumé.bin", kind="application/x-thing")
    await attach(user, message_id, b"second")
    message = (await user.send(message_id)).json
    assert message["delivery"]["state"] == "sent"
    expected = [("Résumé.bin", "application/x-thing", b"x" * size), ("a.txt", "text/plain", b"second")]
    received = provider.inbox(FRIEND.address)[0]
    assert files_in(received) == expected
    raw = await user.get(f"/api/v1/raws/{message['raw_msg_id']}")
    assert raw.headers["Content-Length"] == str(len(raw.content))
    assert raw.content.count(b"\r\n") > size // 57
    assert files_in(raw.content) == expected
    head = await user.call("HEAD", f"/api/v1/raws/{message['raw_msg_id']}")
    assert head.headers["Content-Length"] == raw.headers["Content-Length"]


async def test_large_copy_is_filed(user: Client, provider: Provider) -> None:
    """The copy in Sent has the files too."""
    identity_id = await user.add_remote(provider)
    message_id = await user.draft(identity_id)
    await attach(user, message_id, b"x" * MIB)
    assert (await user.send(message_id)).status == 200
    _, copy = await sent_copy(provider, user, message_id)
    assert files_in(copy) == [("a.txt", "text/plain", b"x" * MIB)]


async def test_taken_off_while_it_is_ordered(user: Client, message_id: str, mongo: Mongo) -> None:
    """An order that finds an attachment's bytes gone is 409: the draft is being changed."""
    await attach(user, message_id)
    await mongo.collection("attachments.files").delete_many({})
    assert (await user.send(message_id)).status == 409
    assert (await user.get(f"/api/v2/messages/{message_id}")).json["is_draft"]


# -- gone with what they belong to -------------------------------------------------------------------------------


async def test_message_is_deleted(user: Client, message_id: str, mongo: Mongo) -> None:
    """With a message go its attachments, and its bytes, also the large ones."""
    other = await user.draft((await user.local_identity())["identity_id"])
    await attach(user, other, b"x" * MIB)
    before = await stored(mongo)
    await attach(user, message_id, b"x" * MIB)
    await user.send(message_id)
    assert await stored(mongo) > before
    assert (await user.call("DELETE", f"/api/v2/messages/{message_id}")).status == 204
    assert await stored(mongo) == before


async def test_user_is_deleted(user: Client, message_id: str, mongo: Mongo) -> None:
    """With a user goes every file, in whatever state its message is."""
    await attach(user, message_id, b"x" * MIB)
    await user.send(message_id)
    await attach(user, await user.draft((await user.local_identity())["identity_id"]))
    reply = await user.call("DELETE", f"/api/v2/users/{user.user_id}", {"password": PASSWORD})
    assert reply.status == 204
    assert await stored(mongo) == 0


async def test_documented(api: Client) -> None:
    """The document says what is to be sent: one file in a form."""
    described = api.contract.document["paths"][path("{message_id}")]["post"]
    schema = described["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["required"] == ["attachment"]
    assert schema["properties"]["attachment"]["format"] == "binary"
