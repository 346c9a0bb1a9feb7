"""Messages with their deliveries: one document each.

``delivery.due_at`` exists only while something is left to do, and ``delivery.owner`` only while a worker holds the
message; a partial index over the former, with the server to pass over, is the queue. ``delivery.recorded_by`` is
the owner that gave the message up last, with an outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from gateway.delivery import Delivery, DeliveryState, Recipient, RecipientState
from gateway.errors import NotFound
from gateway.message import EDITABLE, Attachment, Message, Participant
from gateway.ports import ROOM, MessageFilter, Page, Portions, Room
from storage.due import find_due, indexes_of_due
from storage.grouped import Grouped
from storage.mongo import Document, Mongo, translating
from storage.portions import ListMemory, PortionedPages
from storage.updates import Update, insert_each, update_each

logger = logging.getLogger(__name__)

MESSAGES = "messages"
INDEXES = {
    MESSAGES: [
        IndexModel([("user_id", ASCENDING), ("date_sort", DESCENDING), ("_id", ASCENDING)]),
        IndexModel([("user_id", ASCENDING), ("discussion_id", ASCENDING), ("date_sort", DESCENDING)]),
        *indexes_of_due("delivery.due_at", "delivery.server"),
    ]
}
_IS_SENT = {"$eq": ["$delivery.state", DeliveryState.SENT.value]}
_IS_QUEUED = {"$eq": ["$delivery.state", DeliveryState.QUEUED.value]}
_IS_IN_DOUBT = {"$or": ["$delivery.in_doubt", {"$eq": ["$delivery.state", DeliveryState.SENDING.value]}]}


class MongoMessages:
    """The core's Messages. What is read or written one by one in the same moment goes in one call."""

    def __init__(self, mongo: Mongo, memory: ListMemory | None = None) -> None:
        self.operation_s = mongo.operation_s
        self._check_room = mongo.check_room
        self._messages = mongo.collection(MESSAGES)
        self._pages = PortionedPages(mongo, MESSAGES, _from_document, memory or ListMemory())
        self._insert = Grouped(self._insert_all)
        self._find = Grouped(self._find_all)
        self._update = Grouped(self._update_all)

    async def add(self, message: Message, fingerprint: str) -> str | None:
        """Store a new message. Where the user has one of that id, change nothing and return its fingerprint."""
        self._check_room()
        document = _to_document(message) | {"fingerprint": fingerprint}
        while not await self._insert(document):
            if (existing := await self.fingerprint(message.user_id, message.message_id)) is not None:
                return existing
        return None

    async def fingerprint(self, user_id: str, message_id: str) -> str | None:
        """Return the fingerprint of a message of the user that has reached a majority; None where there is none."""
        document = await self._durable(user_id, message_id)
        return document["fingerprint"] if document else None

    @translating
    async def _insert_all(self, documents: Sequence[Document]) -> Sequence[bool | Exception]:
        return await insert_each(self._messages, documents)

    async def get(self, user_id: str, message_id: str) -> Message:
        """Return a message of the user. Raises NotFound."""
        return _found(await self._find(_key(user_id, message_id)))

    async def durable(self, user_id: str, message_id: str) -> Message:
        """As get(), but what is returned has reached a majority."""
        return _found(await self._durable(user_id, message_id))

    @translating
    async def _durable(self, user_id: str, message_id: str) -> Document | None:
        """Find by a write that changes nothing: MongoDB answers it when all writes before it are on a majority."""
        one = {"_id": _key(user_id, message_id), "user_id": user_id}
        document: Document | None = await self._messages.find_one_and_update(one, {"$set": {"user_id": user_id}})
        return document

    @translating
    async def _find_all(self, keys: Sequence[str]) -> Sequence[Document | None]:
        documents = await self._messages.find({"_id": {"$in": [*keys]}}).to_list(None)
        found = {each["_id"]: each for each in documents}
        return [found.get(key) for key in keys]

    async def list(self, user_id: str, where: MessageFilter, page: Page) -> tuple[int, Portions[Message]]:
        """Return how many messages there are and a page of them, newest ``date_sort`` first."""
        query: Document = {}
        if where.is_draft is not None:
            query["delivery.state"] = {"$in" if where.is_draft else "$nin": list(EDITABLE)}
        if where.discussion_id is not None:
            query["discussion_id"] = where.discussion_id
        if where.identity_id is not None:
            query["identity_id"] = where.identity_id
        order = [("date_sort", DESCENDING), ("_id", ASCENDING)]
        return await self._pages(user_id, query, order, page)

    async def save(self, message: Message) -> bool:
        """Store a draft, or the order that it has become, if it is still a draft and of that version."""
        draft = _unchanged(message) | {"delivery.state": {"$in": list(EDITABLE)}}
        document = _to_document(message) | {"version": message.version + 1}
        del document["_id"]
        return await self._update(Update(draft, {"$set": document}))

    @translating
    async def _update_all(self, updates: Sequence[Update]) -> Sequence[bool | Exception]:
        return await update_each(self._messages, updates)

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
        keys = await find_due(self._messages, now, limit, room, date="delivery.due_at", hosts=["delivery.server"])
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

        The same record twice is recorded once, and True.
        """
        if message.delivery is None:
            raise ValueError("a message without an order has no delivery to record")
        held = _one(message) | {"delivery.owner": owner}
        stored = await self._update(Update(held, _outcome(owner, message.delivery, keep=keep)))
        return stored or await self._is_recorded(owner, message)

    @translating
    async def _is_recorded(self, owner: str, message: Message) -> bool:
        recorded = _one(message) | {"delivery.recorded_by": owner}
        return await self._messages.find_one(recorded, {"_id": 1}) is not None

    @translating
    async def release(self, held: Collection[tuple[str, Message]], now: datetime) -> None:
        """Hand these messages back, due at once, each if its owner still holds it; what was sending is in doubt."""
        queued = {"$cond": [_IS_SENT, DeliveryState.SENT.value, DeliveryState.QUEUED.value]}
        handed_back = {
            "$set": {"delivery.state": queued, "delivery.due_at": now, "delivery.in_doubt": _IS_IN_DOUBT}
        }
        await self._messages.update_many(_held(held), [handed_back, {"$unset": "delivery.owner"}])


def _found(document: Document | None) -> Message:
    if document is None:
        raise NotFound("There is no such message.")
    return _from_document(document)


def _outcome(owner: str, delivery: Delivery, *, keep: bool) -> Document:
    """Return the update that stores an outcome."""
    values = _delivery_to_document(delivery)
    due_at = values.pop("due_at", None)
    update: Document = {"$set": {f"delivery.{key}": value for key, value in values.items()}}
    if not keep:
        update["$set"]["delivery.recorded_by"] = owner
        update["$unset"] = {"delivery.owner": ""}
        if due_at is None:
            update["$unset"]["delivery.due_at"] = ""
        else:
            update["$set"]["delivery.due_at"] = due_at
    return update


def _one(message: Message) -> Document:
    return {"_id": _key(message.user_id, message.message_id), "user_id": message.user_id}


def _unchanged(message: Message) -> Document:
    return _one(message) | {"version": message.version}


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
        "attachments": [_plain(attachment) for attachment in message.attachments],
        "is_answered": message.is_answered,
        "date_insert": message.date_insert,
        "date_sort": message.date_sort,
        "date": message.date,
        "importance_level": message.importance_level,
        "internet_message_id": message.internet_message_id,
        "raw_msg_id": message.raw_msg_id,
        "version": message.version,
        "size": message.size,
        "delivery": _delivery_to_document(message.delivery) if message.delivery else {"state": None},
    }


def _delivery_to_document(delivery: Delivery) -> Document:
    document = _plain(delivery) | {"state": delivery.state.value}
    document["recipients"] = [_plain(r) | {"state": r.state.value} for r in delivery.recipients]
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


Stored = Delivery | Recipient | Participant | Attachment
_NAMES: Mapping[type[Stored], Sequence[str]] = {
    kind: [each.name for each in fields(kind)] for kind in (Delivery, Recipient, Participant, Attachment)
}


def _plain(thing: Stored) -> Document:
    return {name: getattr(thing, name) for name in _NAMES[type(thing)]}


def _known(kind: type[Stored], document: Mapping[str, Any]) -> Document:
    """Return what the class has fields for: ``owner`` is no field, and a newer version may have written more."""
    return {name: document[name] for name in _NAMES[kind] if name in document}
