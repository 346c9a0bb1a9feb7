"""Messages with their deliveries: one document each.

``delivery.due_at`` exists only while something is left to do, and ``delivery.owner`` only while a worker holds the
message; a partial index over the former, with the server to pass over, is the queue. ``delivery.recorded_by`` is
the owner that gave the message up last, with an outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError

from gateway.delivery import Delivery, DeliveryState, Recipient, RecipientState
from gateway.errors import NotFound
from gateway.message import EDITABLE, Attachment, Message, Participant
from gateway.ports import ROOM, MessageFilter, Page, Room
from storage.due import find_due
from storage.grouped import Grouped
from storage.mongo import Document, Mongo, page_of, translating

logger = logging.getLogger(__name__)

MESSAGES = "messages"
INDEXES = {
    MESSAGES: [
        IndexModel([("user_id", ASCENDING), ("date_sort", DESCENDING), ("_id", ASCENDING)]),
        IndexModel([("user_id", ASCENDING), ("discussion_id", ASCENDING), ("date_sort", DESCENDING)]),
        IndexModel(
            [("delivery.due_at", ASCENDING), ("delivery.server", ASCENDING)],
            partialFilterExpression={"delivery.due_at": {"$exists": True}},
        ),
    ]
}
_IS_SENT = {"$eq": ["$delivery.state", DeliveryState.SENT.value]}
_IS_QUEUED = {"$eq": ["$delivery.state", DeliveryState.QUEUED.value]}
_IS_IN_DOUBT = {"$or": ["$delivery.in_doubt", {"$eq": ["$delivery.state", DeliveryState.SENDING.value]}]}


class _Record(NamedTuple):
    """An outcome to store, of the message of that key."""

    owner: str
    key: str
    delivery: Delivery
    keep: bool


class MongoMessages:
    """The core's Messages."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._messages = mongo.collection(MESSAGES)
        self._record = Grouped(self._record_all)

    @translating
    async def add(self, message: Message, fingerprint: str) -> str | None:
        """Store a new message. Where the user has one of that id, change nothing and return its fingerprint."""
        document = _to_document(message) | {"fingerprint": fingerprint}
        try:
            await self._messages.insert_one(document)
        except DuplicateKeyError:
            existing = await self._messages.find_one({"_id": document["_id"]}, {"fingerprint": 1})
            return existing["fingerprint"] if existing else await self.add(message, fingerprint)
        return None

    @translating
    async def get(self, user_id: str, message_id: str) -> Message:
        """Return a message of the user. Raises NotFound."""
        document = await self._messages.find_one({"_id": _key(user_id, message_id)})
        if document is None:
            raise NotFound("There is no such message.")
        return _from_document(document)

    @translating
    async def list(self, user_id: str, where: MessageFilter, page: Page) -> tuple[int, Sequence[Message]]:
        """Return how many messages there are and a page of them, newest ``date_sort`` first."""
        query: Document = {"user_id": user_id}
        if where.is_draft is not None:
            query["delivery.state"] = {"$in" if where.is_draft else "$nin": list(EDITABLE)}
        if where.discussion_id is not None:
            query["discussion_id"] = where.discussion_id
        if where.identity_id is not None:
            query["identity_id"] = where.identity_id
        order = [("date_sort", DESCENDING), ("_id", ASCENDING)]
        total, documents = await page_of(self._messages, query, order, page)
        return total, [_from_document(document) for document in documents]

    @translating
    async def save(self, message: Message) -> bool:
        """Store a draft, or the order that it has become, if it is still a draft and of that version."""
        draft = _unchanged(message) | {"delivery.state": {"$in": list(EDITABLE)}}
        document = _to_document(message) | {"version": message.version + 1}
        del document["_id"]
        return (await self._messages.update_one(draft, {"$set": document})).matched_count == 1

    @translating
    async def cancel(self, message: Message) -> bool:
        """Take back an order that no attempt has started; True when it was such a one."""
        waiting = _unchanged(message) | {"delivery.state": DeliveryState.QUEUED.value, "delivery.attempts": 0}
        taken_back = {
            "$set": {"delivery.state": DeliveryState.CANCELED.value},
            "$unset": {"delivery.due_at": ""},
            "$inc": {"version": 1},
        }
        return (await self._messages.update_one(waiting, taken_back)).matched_count == 1

    @translating
    async def delete(self, message: Message) -> bool:
        """Remove a message that is of that version and not on its way; True when it was."""
        on_its_way = [DeliveryState.QUEUED.value, DeliveryState.SENDING.value]
        at_rest = _unchanged(message) | {"delivery.state": {"$nin": on_its_way}}
        return (await self._messages.delete_one(at_rest)).deleted_count == 1

    @translating
    async def mark_answered(self, user_id: str, message_id: str) -> None:
        """Note that the user has sent an answer to a message."""
        await self._messages.update_one({"_id": _key(user_id, message_id)}, {"$set": {"is_answered": True}})

    # -- the queue -----------------------------------------------------------------------------------------------

    @translating
    async def claim(
        self, owner: str, now: datetime, lease: timedelta, limit: int, room: Room = ROOM
    ) -> Sequence[Message]:
        """Take up to ``limit`` due messages: find them, mark each atomically, read what was marked.

        One that cannot be read is logged and left out, so that it holds up no other; its lease brings it back.
        """
        due = {"delivery.due_at": {"$lte": now}}
        keys = await find_due(self._messages, now, limit, room, date="delivery.due_at", host="delivery.server")
        if not keys:
            return []
        mark = {
            "delivery.owner": owner,
            "delivery.due_at": now + lease,
            "delivery.state": {"$cond": [_IS_QUEUED, DeliveryState.SENDING.value, "$delivery.state"]},
            "delivery.in_doubt": _IS_IN_DOUBT,
            "delivery.attempts": {"$add": ["$delivery.attempts", {"$cond": [_IS_SENT, 0, 1]}]},
            "delivery.copy_attempts": {"$add": ["$delivery.copy_attempts", {"$cond": [_IS_SENT, 1, 0]}]},
        }
        await self._messages.update_many({"_id": {"$in": keys}, **due}, [{"$set": mark}])
        mine = await self._messages.find({"_id": {"$in": keys}, "delivery.owner": owner}).to_list(limit)
        return [message for document in mine if (message := _readable(document))]

    @translating
    async def renew(self, held: Collection[tuple[str, Message]], until: datetime) -> None:
        """Extend the leases of these messages, each if its owner still holds it."""
        await self._messages.update_many(_held(held), {"$set": {"delivery.due_at": until}})

    async def record(self, owner: str, message: Message, *, keep: bool = False) -> bool:
        """Store ``message.delivery``, if the owner still holds the message; ``keep``: and goes on holding it.

        What is recorded in the same moment goes in one write. The same record twice is recorded once, and True.
        """
        if message.delivery is None:
            raise ValueError("a message without an order has no delivery to record")
        answer = await self._record(
            _Record(owner, _key(message.user_id, message.message_id), message.delivery, keep)
        )
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _record_all(self, records: Sequence[_Record]) -> Sequence[bool | Exception]:
        """Return for each whether it is stored. What fails for a fault of its own fails by itself."""
        try:
            return await self._write(records)
        except PyMongoError as error:
            if len(records) == 1:
                return [error]
            return [answer for record in records for answer in await self._record_all([record])]

    @translating
    async def _write(self, records: Sequence[_Record]) -> Sequence[bool]:
        updates = [_outcome(record) for record in records]
        if len(updates) == 1:  # its errors say more than those of a bulk
            matched = (await self._messages.update_one(*updates[0])).matched_count
        else:
            bulk = [UpdateOne(*update) for update in updates]
            matched = (await self._messages.bulk_write(bulk, ordered=False)).matched_count
        if matched == len(records):
            return [True] * len(records)
        query = {"_id": {"$in": [record.key for record in records]}}
        marks = {"delivery.owner": 1, "delivery.recorded_by": 1}
        stored = {each["_id"]: each["delivery"] async for each in self._messages.find(query, marks)}
        return [
            stored.get(record.key, {}).get("owner" if record.keep else "recorded_by") == record.owner
            for record in records
        ]

    @translating
    async def release(self, held: Collection[tuple[str, Message]], now: datetime) -> None:
        """Hand these messages back, due at once, each if its owner still holds it; what was sending is in doubt."""
        queued = {"$cond": [_IS_SENT, DeliveryState.SENT.value, DeliveryState.QUEUED.value]}
        handed_back = {
            "$set": {"delivery.state": queued, "delivery.due_at": now, "delivery.in_doubt": _IS_IN_DOUBT}
        }
        await self._messages.update_many(_held(held), [handed_back, {"$unset": "delivery.owner"}])


def _outcome(record: _Record) -> tuple[Document, Document]:
    """Return the filter and the update that store an outcome if its owner still holds the message."""
    values = _delivery_to_document(record.delivery)
    due_at = values.pop("due_at", None)
    update: Document = {"$set": {f"delivery.{key}": value for key, value in values.items()}}
    if not record.keep:
        update["$set"]["delivery.recorded_by"] = record.owner
        update["$unset"] = {"delivery.owner": ""}
        if due_at is None:
            update["$unset"]["delivery.due_at"] = ""
        else:
            update["$set"]["delivery.due_at"] = due_at
    return {"_id": record.key, "delivery.owner": record.owner}, update


def _unchanged(message: Message) -> Document:
    return {"_id": _key(message.user_id, message.message_id), "version": message.version}


def _held(held: Collection[tuple[str, Message]]) -> Document:
    return {
        "_id": {"$in": [_key(message.user_id, message.message_id) for _, message in held]},
        "delivery.owner": {"$in": list({owner for owner, _ in held})},
    }


def _key(user_id: str, message_id: str) -> str:
    """Clients choose message ids, so they are unique within a user only."""
    return f"{user_id}/{message_id}"


def _to_document(message: Message) -> Document:
    return {
        "_id": _key(message.user_id, message.message_id),
        "message_id": message.message_id,
        "user_id": message.user_id,
        "identity_id": message.identity_id,
        "subject": message.subject,
        "body": message.body,
        "body_is_plain": message.body_is_plain,
        "excerpt": message.excerpt,
        "participants": [
            {"address": p.address, "label": p.label, "type": p.type, "contact_ids": list(p.contact_ids)}
            for p in message.participants
        ],
        "discussion_id": message.discussion_id,
        "parent_id": message.parent_id,
        "ancestors": list(message.ancestors),
        "attachments": [asdict(attachment) for attachment in message.attachments],
        "is_answered": message.is_answered,
        "date_insert": message.date_insert,
        "date_sort": message.date_sort,
        "date": message.date,
        "importance_level": message.importance_level,
        "internet_message_id": message.internet_message_id,
        "raw_msg_id": message.raw_msg_id,
        "version": message.version,
        "delivery": _delivery_to_document(message.delivery) if message.delivery else {"state": None},
    }


def _delivery_to_document(delivery: Delivery) -> Document:
    document = asdict(delivery) | {"state": delivery.state.value}
    document["recipients"] = [asdict(r) | {"state": r.state.value} for r in delivery.recipients]
    if delivery.due_at is None:
        del document["due_at"]
    return document


def _readable(document: Mapping[str, Any]) -> Message | None:
    try:
        return _from_document(document)
    except Exception:
        logger.exception("a due message cannot be read and is skipped", extra={"message_key": document["_id"]})
        return None


def _from_document(document: Mapping[str, Any]) -> Message:
    return Message(
        message_id=document["message_id"],
        user_id=document["user_id"],
        identity_id=document["identity_id"],
        subject=document["subject"],
        body=document["body"],
        body_is_plain=document["body_is_plain"],
        excerpt=document["excerpt"],
        participants=tuple(_participant(each) for each in document["participants"]),
        discussion_id=document["discussion_id"],
        parent_id=document["parent_id"],
        ancestors=tuple(document["ancestors"]),
        attachments=tuple(Attachment(**_known(Attachment, each)) for each in document["attachments"]),
        is_answered=document["is_answered"],
        date_insert=document["date_insert"],
        date_sort=document["date_sort"],
        date=document["date"],
        importance_level=document["importance_level"],
        internet_message_id=document["internet_message_id"],
        raw_msg_id=document["raw_msg_id"],
        version=document["version"],
        delivery=_delivery_from_document(document["delivery"]),
    )


def _participant(document: Mapping[str, Any]) -> Participant:
    return Participant(**_known(Participant, document) | {"contact_ids": tuple(document["contact_ids"])})


def _delivery_from_document(document: Mapping[str, Any]) -> Delivery | None:
    if document["state"] is None:
        return None
    values = _known(Delivery, document)
    values["state"] = DeliveryState(values["state"])
    values["recipients"] = tuple(
        Recipient(**_known(Recipient, each) | {"state": RecipientState(each["state"])})
        for each in values["recipients"]
    )
    return Delivery(**{"due_at": None, **values})


def _known(kind: type[Delivery | Recipient | Participant | Attachment], document: Mapping[str, Any]) -> Document:
    """Return what the class has fields for: ``owner`` is no field, and a newer version may have written more."""
    return {each.name: document[each.name] for each in fields(kind) if each.name in document}
