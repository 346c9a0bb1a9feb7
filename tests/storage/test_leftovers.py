"""Bytes that no message names: they are found and removed, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from gateway.errors import NotFound
from gateway.message import Attachment, Message
from gateway.ports import Round
from gateway.sweep import BETWEEN_BATCHES, BETWEEN_ROUNDS, LEFT_AFTER, Sweep
from storage import files, leftovers, messages, raws
from storage.embedded import EmbeddedMongod
from storage.files import ATTACHMENTS, CHUNK_BYTES, MongoFiles
from storage.leftovers import MongoLeftovers
from storage.messages import MongoMessages
from storage.mongo import Document, Mongo
from storage.raws import RAWS, MongoRaws
from storage.secrets import Vault
from tests.storage.test_messages import USER, message

NOW = datetime.now(UTC)
LATER = NOW + LEFT_AFTER + timedelta(days=1)
LEASE = timedelta(seconds=60)
INDEXES = files.INDEXES | leftovers.INDEXES | messages.INDEXES | raws.INDEXES


class Mail:
    """The stores of one database, and what sweeps it up."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo
        self.messages = MongoMessages(mongo)
        self.files = MongoFiles(mongo, ATTACHMENTS)
        self.raws = MongoRaws(mongo, Vault(mongo, Path()))
        self.leftovers = MongoLeftovers(mongo, self.files, self.raws, batch=3)
        self.now = LATER
        self.gateway = Sweep(self.leftovers, lambda: self.now)

    async def attachment(self, message_id: str, size: int = 10) -> Attachment:
        """Store the bytes of an attachment."""
        temp_id = str(uuid4())
        await self.files.put((USER, message_id, temp_id), pieces_of(size))
        return Attachment(temp_id, "a.txt", "text/plain", size)

    async def raw(self, message_id: str, size: int = 10) -> str:
        """Store the bytes of an order; return their id."""
        raw_msg_id = str(uuid4())
        await self.raws.put(USER, message_id, raw_msg_id, pieces_of(size))
        return raw_msg_id

    async def message(self, sizes: Iterable[int] = (10,)) -> Message:
        """Store a message that names attachments and a sent copy of these sizes."""
        message_id = str(uuid4())
        attachments = tuple([await self.attachment(message_id, size) for size in sizes])
        raw_msg_id = await self.raw(message_id, max(sizes))
        stored = message(message_id=message_id, attachments=attachments, raw_msg_id=raw_msg_id)
        await self.messages.add(stored, "")
        return stored

    async def bytes_of(self, message: Message) -> int:
        """Return how many bytes of the message can be read."""
        found = [await self.raws.read(USER, message.raw_msg_id or "")]
        found += [await self.files.read((USER, message.message_id, each.temp_id)) for each in message.attachments]
        return sum([len(piece) for content in found async for piece in content.pieces])

    async def sweep(self, now: datetime = LATER) -> int:
        """Go through everything once; return how many batches that took."""
        self.now, batches = now, 0
        while rounds := await self.leftovers.claim("w", self.now, LEASE, 9):
            for each in rounds:
                await self.gateway.run("w", each)
            batches += len(rounds)
            self.now += BETWEEN_BATCHES
        return batches

    async def stored(self) -> int:
        """Return how many documents all bytes take."""
        names = (RAWS, f"{RAWS}.files", f"{RAWS}.chunks", f"{ATTACHMENTS}.files", f"{ATTACHMENTS}.chunks")
        return sum([await self.mongo.collection(name).count_documents({}) for name in names])


async def pieces_of(size: int) -> AsyncIterator[bytes]:
    """Yield so many bytes."""
    while size:
        yield b"x" * min(size, 65_536)
        size -= min(size, 65_536)


@pytest.fixture
async def mail(mongo: Mongo) -> Mail:
    """The stores under test."""
    await mongo.ensure_indexes(INDEXES)
    return Mail(mongo)


LARGE = 3 * CHUNK_BYTES


async def test_what_is_named_stays(mail: Mail) -> None:
    """The bytes of messages stay, whatever their size, in however many batches they are looked at."""
    kept = [await mail.message((10, LARGE)) for _ in range(4)]
    assert await mail.sweep() == 5  # of 8 attachments and 4 sent copies, 3 at a time
    assert [await mail.bytes_of(each) for each in kept] == [2 * LARGE + 10] * 4


@pytest.mark.parametrize("size", [10, LARGE])
async def test_what_is_not_named_goes(mail: Mail, size: int) -> None:
    """Bytes of a message that does not name them, and of one that is not there, go; what it names stays."""
    kept = await mail.message()
    documents = await mail.stored()
    for message_id in (kept.message_id, "another"):
        await mail.attachment(message_id, size)
        await mail.raw(message_id, size)
    await mail.sweep()
    assert await mail.stored() == documents
    assert await mail.bytes_of(kept) == 20


async def test_what_was_cut_off_goes(mail: Mail) -> None:
    """The chunks of a file that was never finished go, of an attachment as of a sent copy."""
    await mail.attachment("another", LARGE)
    await mail.raw("another", LARGE)
    for bucket in (ATTACHMENTS, RAWS):
        await mail.mongo.collection(f"{bucket}.files").delete_many({})
    await mail.sweep()
    assert await mail.stored() == 0


async def test_what_is_young_stays(mail: Mail) -> None:
    """Bytes of less than three days ago stay: the message that will name them may be under way."""
    attachment, raw_msg_id = await mail.attachment("another"), await mail.raw("another")
    await mail.sweep(NOW + LEFT_AFTER - timedelta(minutes=1))
    assert (await mail.files.read((USER, "another", attachment.temp_id))).size == 10
    await mail.sweep(NOW + LEFT_AFTER + BETWEEN_ROUNDS + timedelta(minutes=5))
    with pytest.raises(NotFound):
        await mail.raws.read(USER, raw_msg_id)


async def test_one_worker_at_a_time(mail: Mail) -> None:
    """Of many workers one gets a round until its lease ends or it hands it back; who lost it stores nothing."""
    claims = await asyncio.gather(*(mail.leftovers.claim(f"w{n}", NOW, LEASE, 5) for n in range(5)))
    assert sorted(each.kind for claim in claims for each in claim) == [ATTACHMENTS, RAWS]
    held = [("x", each) for each in await mail.leftovers.claim("x", NOW + LEASE, LEASE, 5)]
    await mail.leftovers.renew(held, NOW + 3 * LEASE)
    assert await mail.leftovers.claim("y", NOW + 2 * LEASE, LEASE, 5) == []
    await mail.leftovers.go_on("w0", Round(RAWS, "lost"), NOW)
    await mail.leftovers.release(held, NOW)
    assert {each.after for each in await mail.leftovers.claim("y", NOW, LEASE, 5)} == {""}


async def test_keys_come_from_indexes(mail: Mail, mongod: EmbeddedMongod, mongo: Mongo) -> None:
    """To find what is left over no bytes are read: in a large database that would take hours."""
    for _ in range(3):
        await mail.message((LARGE,))
    heard = Finds()
    listened = Mongo(mongod.uri, mongo.database.name, listeners=[heard])
    await Mail(listened).sweep()
    listened.close()
    plans = [await mongo.database.command("explain", find, verbosity="executionStats") for find in heard.finds]
    assert len(plans) == 4  # of three keys each, and what follows
    assert {plan["executionStats"]["totalDocsExamined"] for plan in plans} == {0}
    assert max(plan["executionStats"]["totalKeysExamined"] for plan in plans) <= 8


class Finds(CommandListener):
    """Notes the queries for keys."""

    def __init__(self) -> None:
        self.finds: list[Document] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Note a query."""
        if event.command_name == "find" and "$gt" in str(event.command["filter"]):
            self.finds.append(
                {key: event.command[key] for key in ("find", "filter", "projection", "sort", "limit")}
            )

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing to note."""
