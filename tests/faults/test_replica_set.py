"""A replica set of three under load: what happens to its members is a matter of seconds, and nothing is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from gateway import delivery
from gateway.errors import Unavailable
from gateway.message import Message, Participant
from storage.messages import MongoMessages
from storage.mongo import Mongo
from tests.faults.load import Figures, Stage, assert_survived, spread
from tests.faults.mongods import ReplicaSet, command

_TIMES = 5
_BACK_S = 15
"""The promise for the death of a primary: from then to the first write that is acknowledged."""


@pytest.mark.torture
async def test_members_die(stage: Stage, figures: Figures, tmp_path: Path) -> None:
    """The primary is killed, or steps down, one secondary is killed, or both are: every promise is kept."""
    killed, stepped_down, secondary_killed, majority_back = [], [], [], []
    async with ReplicaSet(tmp_path / "mongods", 3) as members:
        site, chance = stage.site(f'uri = "{members.uri}"'), stage.chance
        mongo = Mongo(members.uri, "mail_gateway")
        async with stage.load(site) as load, site.running():
            await load.begin()
            async with load.going_on():
                for _ in range(_TIMES):
                    await load.work(chance.uniform(0.5, 3))
                    primary = await members.primary()
                    primary.kill()
                    killed.append(await load.tally.acknowledged())
                    primary.start()
                    await members.complete()
                    await load.work(chance.uniform(0.5, 3))
                    await command(await members.primary(), "replSetStepDown", 30)
                    stepped_down.append(await load.tally.acknowledged())
                    await load.work(chance.uniform(0.5, 3))
                    secondary, other = await members.secondaries()
                    secondary.kill()
                    secondary_killed.append(await load.tally.acknowledged())
                    other.kill()
                    await load.tally.refused()
                    await asyncio.sleep(chance.uniform(0, 15))  # it stays primary for some 10 s
                    secondary.start()
                    majority_back.append(await load.tally.acknowledged())
                    other.start()
                    await members.complete()
            await assert_survived([site], load, mongo, figures, f"replica set of three, {4 * _TIMES} faults")
        mongo.close()
    figures("primary killed: seconds until a write was acknowledged", spread(killed))
    figures("primary stepped down: seconds until a write was acknowledged", spread(stepped_down))
    figures("secondary killed: seconds until a write was acknowledged", spread(secondary_killed))
    figures("majority back: seconds until a write was acknowledged", spread(majority_back))
    assert max(killed) < _BACK_S


@pytest.mark.torture
async def test_what_has_reached_no_majority(tmp_path: Path) -> None:
    """A draft and an order that are on the primary alone are seen there, and acknowledged to nobody."""
    async with ReplicaSet(tmp_path / "mongods", 3) as members:
        secondaries = await members.secondaries()
        mongo = Mongo(members.uri, "mail_gateway", operation_ms=2000)
        store, (first, second) = MongoMessages(mongo), (message(), message())
        await store.add(first, "its body")
        for secondary in secondaries:
            secondary.kill()
        with pytest.raises(Unavailable):
            await store.save(ordered(first))
        with pytest.raises(Unavailable):
            await store.add(second, "its body")
        assert not (await store.get(first.user_id, first.message_id)).is_draft
        assert (await store.get(second.user_id, second.message_id)).is_draft
        for asked in (
            store.durable(first.user_id, first.message_id),
            store.fingerprint(second.user_id, second.message_id),
            store.add(second, "its body"),
        ):
            with pytest.raises(Unavailable):
                await asked
        for secondary in secondaries:
            secondary.start()
        await members.complete()
        await members.primary()
        assert await store.add(second, "its body") in (None, "its body")
        assert (await store.durable(second.user_id, second.message_id)).is_draft
        mongo.close()


def message() -> Message:
    """Return a draft of somebody's."""
    now = datetime.now(UTC)
    return Message(
        message_id=str(uuid4()),
        user_id=str(uuid4()),
        identity_id=str(uuid4()),
        subject="",
        body="",
        body_is_plain=True,
        excerpt="",
        participants=(Participant("friend@elsewhere.example", "", "To"),),
        discussion_id="",
        date_insert=now,
        date_sort=now,
    )


def ordered(draft: Message) -> Message:
    """Return a draft as an order to send it."""
    return replace(draft, delivery=delivery.order(draft.envelope_recipients, draft.date_insert, None))
