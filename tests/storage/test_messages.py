"""The store of messages: orders, claims, leases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from gateway import delivery as transitions
from gateway.delivery import Delivery, DeliveryState
from gateway.errors import NotFound
from gateway.message import Message, Participant
from gateway.ports import MessageFilter, Page, Room
from storage.messages import INDEXES, MESSAGES, MongoMessages
from storage.mongo import Mongo

NOW = datetime(2026, 7, 20, 15, 56, 6, 62000, tzinfo=UTC)
LEASE = timedelta(seconds=60)
USER = str(uuid4())


@pytest.fixture
async def store(mongo: Mongo) -> MongoMessages:
    """The store under test."""
    await mongo.ensure_indexes(INDEXES)
    return MongoMessages(mongo)


def message(**changes: object) -> Message:
    """Return a draft."""
    values: dict[str, object] = {
        "message_id": str(uuid4()),
        "user_id": USER,
        "identity_id": str(uuid4()),
        "subject": "Grüße",
        "body": "x",
        "body_is_plain": True,
        "excerpt": "x",
        "participants": (Participant("a@example.org", "A", "To", (str(uuid4()),)),),
        "discussion_id": str(uuid4()),
        "date_insert": NOW,
        "date_sort": NOW,
    }
    return Message(**(values | changes))  # type: ignore[arg-type]  # the values are of the fields' types


def ordered(draft: Message, at: datetime = NOW) -> Message:
    """Return the draft with an order."""
    return replace(draft, delivery=transitions.order(["a@example.org", "b@example.org"], at, None))


async def queued(store: MongoMessages, at: datetime = NOW) -> Message:
    """Store a message and order it."""
    draft = message()
    await store.add(draft, "")
    assert await store.save(ordered(draft, at))
    return draft


def state(found: Message) -> tuple[DeliveryState | None, int, datetime | None]:
    """Return what most tests ask of a delivery."""
    delivery = found.delivery
    return (delivery.state, delivery.attempts, delivery.due_at) if delivery else (None, 0, None)


async def test_round_trip(store: MongoMessages) -> None:
    """What is stored comes back equal, with and without an order."""
    draft = message()
    assert await store.add(draft, "f") is None
    assert await store.get(USER, draft.message_id) == draft
    await store.save(ordered(draft))
    assert await store.get(USER, draft.message_id) == replace(ordered(draft), version=1)


async def test_taken_id(store: MongoMessages) -> None:
    """A second message of the same id changes nothing and gives the first one's fingerprint."""
    draft = message()
    await store.add(draft, "first")
    assert await store.add(replace(draft, subject="other"), "second") == "first"
    assert (await store.get(USER, draft.message_id)).subject == draft.subject


async def test_ids_are_of_one_user(store: MongoMessages) -> None:
    """Messages of two users may have one id, and each user sees his own."""
    draft = message()
    other = replace(draft, user_id=str(uuid4()), subject="other")
    await store.add(draft, "")
    assert await store.add(other, "") is None
    assert (await store.get(other.user_id, draft.message_id)).subject == "other"
    with pytest.raises(NotFound):
        await store.get(str(uuid4()), draft.message_id)


async def test_order_needs_the_version_seen(store: MongoMessages) -> None:
    """Of several orders one gets through, and none for a draft that was changed meanwhile."""
    draft = message()
    await store.add(draft, "")
    assert not await store.save(replace(ordered(draft), version=7))
    outcomes = await asyncio.gather(*(store.save(ordered(draft)) for _ in range(5)))
    assert sorted(outcomes) == [False, False, False, False, True]


async def test_changes_by_several_processes(store: MongoMessages, mongo: Mongo) -> None:
    """Who changes a draft is told so, also where somebody else has changed it again a moment later."""
    draft = message()
    await store.add(draft, "")

    async def change(process: MongoMessages) -> None:
        saved = False
        while not saved:
            seen = await process.get(USER, draft.message_id)
            saved = await process.save(replace(seen, body=f"{seen.body}+"))

    processes = [MongoMessages(mongo) for _ in range(4)]
    for _ in range(3):
        await asyncio.gather(*(change(process) for process in processes * 4))
    assert (await store.get(USER, draft.message_id)).body == draft.body + 48 * "+"


async def test_claim(store: MongoMessages) -> None:
    """A due message is claimed once, is sending, and counts the attempt."""
    draft = await queued(store)
    assert not await store.claim("w", NOW - timedelta(seconds=1), LEASE, 10)
    (claimed,) = await store.claim("w", NOW, LEASE, 10)
    assert claimed.message_id == draft.message_id
    assert state(claimed) == (DeliveryState.SENDING, 1, NOW + LEASE)
    assert not await store.claim("w", NOW, LEASE, 10)


async def test_claims_share_the_work(store: MongoMessages) -> None:
    """Workers that claim at the same time never get the same message, and leave none."""
    wanted = {(await queued(store, NOW - timedelta(seconds=n))).message_id for n in range(40)}
    got: list[str] = []

    async def work(name: str) -> None:
        while claimed := await store.claim(f"{name}{len(got)}", NOW, LEASE, 5):
            got.extend(each.message_id for each in claimed)

    async with asyncio.timeout(30):
        while len(got) < len(wanted):
            await asyncio.gather(*(work(name) for name in "abcd"))
    assert sorted(got) == sorted(wanted)


async def test_claim_takes_the_longest_due(store: MongoMessages) -> None:
    """With little room the messages that waited longest are claimed."""
    newer, older = await queued(store, NOW), await queued(store, NOW - timedelta(hours=1))
    (claimed,) = await store.claim("w", NOW, LEASE, 1)
    assert claimed.message_id == older.message_id != newer.message_id


async def test_claim_skips_the_unreadable(
    store: MongoMessages, mongo: Mongo, caplog: pytest.LogCaptureFixture
) -> None:
    """A document that cannot be read is logged with its key, and the others of its batch are claimed."""
    broken, sound = await queued(store), await queued(store)
    key = f"{USER}/{broken.message_id}"
    await mongo.collection(MESSAGES).update_one({"_id": key}, {"$unset": {"subject": ""}})
    claimed = await store.claim("w", NOW, LEASE, 10)
    assert [each.message_id for each in claimed] == [sound.message_id]
    assert [getattr(record, "message_key", None) for record in caplog.records] == [key]


async def test_newer_documents(store: MongoMessages, mongo: Mongo) -> None:
    """What a newer version wrote besides what we know is ignored."""
    draft = await queued(store)
    before = await store.get(USER, draft.message_id)
    places = ("new", "delivery.new", "delivery.recipients.0.new", "participants.0.new")
    await mongo.collection(MESSAGES).update_one({}, {"$set": dict.fromkeys(places, 1)})
    assert await store.get(USER, draft.message_id) == before
    assert len(await store.claim("w", NOW, LEASE, 10)) == 1


async def test_older_documents(store: MongoMessages, mongo: Mongo) -> None:
    """What an older version left in doubt as a whole is so for each who is left."""
    draft = await queued(store)
    change = {"$unset": {"delivery.recipients.$[].deferred": ""}, "$set": {"delivery.in_doubt": True}}
    await mongo.collection(MESSAGES).update_one({}, change)
    delivery = (await store.get(USER, draft.message_id)).delivery
    assert delivery
    assert delivery.in_doubt
    assert not any(each.deferred for each in delivery.recipients)


async def test_expired_lease(store: MongoMessages) -> None:
    """When a worker died, another gets its message, and what the first would still record is refused."""
    await queued(store)
    (first,) = await store.claim("dead", NOW, LEASE, 1)
    (second,) = await store.claim("next", NOW + LEASE, LEASE, 1)
    assert state(second) == (DeliveryState.SENDING, 2, NOW + 2 * LEASE)
    assert not await store.record("dead", replace(first, delivery=sent(first)))
    assert await store.record("next", replace(second, delivery=sent(second)))
    found = await store.get(USER, first.message_id)
    assert state(found) == (DeliveryState.SENT, 2, None)
    assert not await store.claim("w", NOW + timedelta(days=1), LEASE, 1)


def sent(claimed: Message) -> Delivery:
    """Return the delivery as sent."""
    assert claimed.delivery is not None
    return replace(claimed.delivery, state=DeliveryState.SENT, due_at=None)


async def test_records_of_one_moment(store: MongoMessages) -> None:
    """What is recorded at once goes together, and still each only if its owner holds it."""
    for _ in range(6):
        await queued(store)
    claimed = await store.claim("w", NOW, LEASE, 6)
    owners = ["w", "w", "stranger", "w", "stranger", "w"]
    answers = await asyncio.gather(
        *(
            store.record(owner, replace(each, delivery=sent(each)))
            for owner, each in zip(owners, claimed, strict=True)
        )
    )
    assert answers == [owner == "w" for owner in owners]
    states = [state(await store.get(USER, each.message_id))[0] for each in claimed]
    assert states == [DeliveryState.SENT if owner == "w" else DeliveryState.SENDING for owner in owners]


async def test_the_same_record_twice(store: MongoMessages) -> None:
    """A record that is repeated because its answer was lost counts as stored, that of another owner does not."""
    await queued(store)
    (claimed,) = await store.claim("w", NOW, LEASE, 1)
    kept = replace(claimed, delivery=replace(sent(claimed), copy_due=True))
    for _ in range(2):
        assert await store.record("w", kept, keep=True)
    for _ in range(2):
        assert await store.record("w", replace(claimed, delivery=sent(claimed)))
    assert not await store.record("x", kept)


async def test_claim_passes_over_full_servers(store: MongoMessages) -> None:
    """Of each server as many messages are claimed as there is room for, those of others in their place."""
    for server in ("slow", "slow", "slow", "slow", "quick", "quick", "full"):
        draft = message()
        await store.add(draft, "")
        order = ordered(draft)
        assert order.delivery
        await store.save(replace(order, delivery=replace(order.delivery, server=server)))
    room = Room(per_host=3, busy={"slow": 1, "full": 3})
    claimed = await store.claim("w", NOW, LEASE, 4, room)
    assert sorted(each.delivery.server for each in claimed if each.delivery) == ["quick", "quick", "slow", "slow"]


async def test_renew(store: MongoMessages) -> None:
    """A renewed lease keeps others away; an owner that lost the message renews nothing."""
    await queued(store)
    (claimed,) = await store.claim("w", NOW, LEASE, 1)
    await store.renew([("somebody", claimed)], NOW + 9 * LEASE)
    assert state(await store.get(USER, claimed.message_id))[2] == NOW + LEASE
    await store.renew([("w", claimed)], NOW + 2 * LEASE)
    assert not await store.claim("x", NOW + LEASE, LEASE, 1)


async def test_release(store: MongoMessages) -> None:
    """What is handed back is queued and due at once."""
    await queued(store)
    (claimed,) = await store.claim("w", NOW, LEASE, 1)
    await store.release([("w", claimed)], NOW)
    assert state(await store.get(USER, claimed.message_id)) == (DeliveryState.QUEUED, 1, NOW)
    assert len(await store.claim("x", NOW, LEASE, 1)) == 1


async def test_doubt(store: MongoMessages) -> None:
    """An attempt that follows one that was cut off is in doubt, until an outcome is recorded."""

    async def claimed(at: datetime) -> Message:
        (found,) = await store.claim("w", at, LEASE, 1)
        return found

    def doubtful(found: Message) -> bool:
        return found.delivery is not None and found.delivery.in_doubt

    await queued(store)
    assert not doubtful(await claimed(NOW))
    assert doubtful(await claimed(NOW + LEASE))  # its owner died
    again = await claimed(NOW + 2 * LEASE)
    assert doubtful(again)
    assert again.delivery is not None
    deferred = replace(again.delivery, state=DeliveryState.QUEUED, due_at=NOW, in_doubt=False)
    assert await store.record("w", replace(again, delivery=deferred))
    first = await claimed(NOW)
    assert not doubtful(first)
    await store.release([("w", first)], NOW)  # its owner stopped amid the attempt
    assert doubtful(await claimed(NOW))


async def test_a_copy_in_doubt(store: MongoMessages) -> None:
    """A sent message whose copy was being filed when the owner died is not in doubt."""
    await queued(store)
    (claimed,) = await store.claim("w", NOW, LEASE, 1)
    assert await store.record("w", replace(claimed, delivery=replace(sent(claimed), copy_due=True)), keep=True)
    for at in (NOW + LEASE, NOW + 2 * LEASE):
        (again,) = await store.claim("w", at, LEASE, 1)
        assert again.delivery is not None
        assert (again.delivery.state, again.delivery.in_doubt) == (DeliveryState.SENT, False)


async def test_keep(store: MongoMessages) -> None:
    """A record that keeps the message leaves its lease as it is; the next one ends it."""
    await queued(store)
    (claimed,) = await store.claim("w", NOW, LEASE, 1)
    kept = replace(claimed, delivery=replace(sent(claimed), copy_due=True))
    assert await store.record("w", kept, keep=True)
    assert not await store.claim("x", NOW, LEASE, 1)
    (again,) = await store.claim("x", NOW + LEASE, LEASE, 1)
    assert again.delivery
    assert (again.delivery.state, again.delivery.attempts, again.delivery.copy_attempts) == ("sent", 1, 1)


async def test_lists(store: MongoMessages) -> None:
    """Lists are of one user, newest first, filtered and cut into pages with a true total."""
    drafts = [message(date_sort=NOW + timedelta(seconds=n)) for n in range(3)]
    for draft in drafts:
        await store.add(draft, "")
    await store.add(message(user_id=str(uuid4())), "")
    await store.save(ordered(drafts[0]))

    async def ids(where: MessageFilter, page: Page) -> tuple[int, list[int]]:
        total, found = await store.list(USER, where, page)
        return total, [[d.message_id for d in drafts].index(each.message_id) async for each in found]

    assert await ids(MessageFilter(), Page()) == (3, [2, 1, 0])
    assert await ids(MessageFilter(), Page(limit=1, offset=1)) == (3, [1])
    assert await ids(MessageFilter(is_draft=True), Page()) == (2, [2, 1])
    assert await ids(MessageFilter(is_draft=False), Page()) == (1, [0])
    assert await ids(MessageFilter(identity_id=drafts[1].identity_id), Page()) == (1, [1])
    assert await ids(MessageFilter(discussion_id=drafts[2].discussion_id), Page()) == (1, [2])


async def test_indexes_serve_the_queries(store: MongoMessages, mongo: Mongo) -> None:
    """Claiming and listing read an index, never the whole collection."""
    await queued(store)
    for where, sort in (
        ({"delivery.due_at": {"$lte": NOW}}, {"delivery.due_at": 1}),
        ({"user_id": USER}, {"date_sort": -1, "_id": 1}),
    ):
        command = {"find": MESSAGES, "filter": where, "sort": sort}
        plan = await mongo.database.command("explain", command, verbosity="queryPlanner")
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
        assert "'SORT'" not in str(plan["queryPlanner"]["winningPlan"])
