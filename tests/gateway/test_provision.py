"""Mailboxes: that each is created exactly once, whoever dies when; and what is changed, here as at the backend."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain import DomainStatus, Feature
from gateway.errors import (
    Conflict,
    Deferred,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    RemoteError,
    SignInRefused,
    Stale,
    Unavailable,
    Unreachable,
)
from gateway.identity import IdentityStatus
from gateway.mailbox import Mailbox, MailboxStatus
from gateway.notice import Notice
from gateway.patch import Change
from gateway.work import LEASE
from storage.mongo import Mongo
from tests.hosting import NAME, NOW, Died, Hosting, a_hosting, new

EMAIL = f"me@{NAME}"
SECONDARY = "me@elsewhere.example"
LATER = Deferred("Not now.")
NEVER = Refused("Never.")
NOT_OURS = "not known to come from here"
IN_VAIN = [SignInRefused("Wrong password."), Unreachable("Away.", nothing_done=True)]
IN_DOUBT = [LATER, TimeoutError(), Died()]
WAITING = [DomainStatus.PENDING, DomainStatus.FAILED, DomainStatus.ACTION_REQUIRED]
DISABLED, ENABLED, FAILED, PENDING = (
    MailboxStatus.DISABLED,
    MailboxStatus.ENABLED,
    MailboxStatus.FAILED,
    MailboxStatus.PENDING,
)


@pytest.fixture
async def hosting(mongo: Mongo, tmp_path: Path) -> Hosting:
    """What is under test."""
    return await a_hosting(mongo, tmp_path)


async def assert_once(hosting: Hosting, user: str) -> None:
    """Hold that the mailbox is there, with all that goes with it, exactly once."""
    mailbox = await hosting.get()
    assert (mailbox.status, mailbox.hosted, mailbox.held, mailbox.due_at) == (ENABLED, True, False, None)
    assert await hosting.at_backend() == {EMAIL: True}
    assert await hosting.notices() == ["mailbox created: me"]
    (identity,) = await hosting.identities_of(user)
    assert (identity.identifier, identity.status) == (EMAIL, IdentityStatus.ACTIVE)
    hosting.later(timedelta(days=1))
    assert not await hosting.work()


# -- creation on an enabled domain -------------------------------------------------------------------------------


async def test_created(hosting: Hosting) -> None:
    """On an enabled domain it is at the backend at once, with the identity and the mail that go with it."""
    await hosting.host()
    user = await hosting.user()
    wanted = new("Me", secondary_email=SECONDARY, user_id=user)
    mailbox, password = await hosting.provision.create(NAME, wanted)
    assert password
    assert (mailbox.email, mailbox.display_name, mailbox.status) == (EMAIL, "Ada Grüße", ENABLED)
    assert hosting.provision.noticed.is_set()
    await assert_once(hosting, user)


async def test_nobody_to_tell(hosting: Hosting) -> None:
    """Without a secondary address no mail goes out, without a user nobody has an identity."""
    await hosting.host()
    await hosting.create()
    assert await hosting.notices() == []
    assert not hosting.provision.noticed.is_set()


async def test_two_at_once(hosting: Hosting) -> None:
    """Of several of one name at once one is created."""
    await hosting.host()
    outcomes = await asyncio.gather(*(hosting.create() for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(outcome, Mailbox) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4


async def test_backend_refuses(hosting: Hosting) -> None:
    """What the backend refuses for good is not stored, and the reason is told."""
    await hosting.host()
    hosting.backend.before.append(NEVER)
    with pytest.raises(Refused, match="Never"):
        await hosting.create()
    with pytest.raises(NotFound):
        await hosting.get()
    assert (await hosting.create()).status is ENABLED


async def test_somebody_elses(hosting: Hosting) -> None:
    """A mailbox that the backend has by itself is given to nobody."""
    await hosting.host()
    before = await hosting.stranger()
    with pytest.raises(Conflict, match=NOT_OURS):
        await hosting.create()
    with pytest.raises(NotFound):
        await hosting.get()
    assert await hosting.at_backend() == before


@pytest.mark.parametrize("fault", [LATER, TimeoutError(), SignInRefused("Wrong password.")])
@pytest.mark.parametrize("at_once", [True, False])
async def test_backend_away(hosting: Hosting, fault: Exception, *, at_once: bool) -> None:
    """Where the backend does not answer, or not to us, the mailbox is pending, and tried again after a while."""
    await hosting.host()
    user = await hosting.user()
    hosting.backend.before += [fault, LATER]
    wanted = new(secondary_email=SECONDARY, user_id=user)
    mailbox, password = await hosting.provision.create(NAME, wanted, at_once=at_once)
    assert (mailbox.status, mailbox.due_at, password) == (PENDING, NOW + timedelta(minutes=1), None)
    assert mailbox.error
    assert not await hosting.work()
    hosting.later(timedelta(minutes=1))
    await hosting.work()
    assert (await hosting.get()).due_at == NOW + timedelta(minutes=6)
    hosting.later(timedelta(minutes=5))
    await hosting.work()
    await assert_once(hosting, user)


@pytest.mark.parametrize("status", WAITING)
async def test_at_once(hosting: Hosting, status: DomainStatus) -> None:
    """What is ordered at once is created whatever the checks of its domain say."""
    await hosting.host(status)
    mailbox, password = await hosting.provision.create(NAME, new(), at_once=True)
    assert (mailbox.status, bool(password)) == (ENABLED, True)
    hosting.backend.before.append(LATER)
    mailbox, password = await hosting.provision.create(NAME, new("you"), at_once=True)
    assert (mailbox.status, password) == (PENDING, None)
    hosting.later(timedelta(hours=1))
    await hosting.work()
    assert (await hosting.get("you")).status is ENABLED


async def test_not_ours(hosting: Hosting) -> None:
    """Nothing is created in a domain that the backend may have from elsewhere, until it is known to be ours."""
    await hosting.host(DomainStatus.FAILED)
    await hosting.mongo.collection("domains").update_one({}, {"$set": {"ours": False}})
    mailbox, password = await hosting.provision.create(NAME, new(), at_once=True)
    assert (mailbox.status, password) == (PENDING, None)
    hosting.later(timedelta(hours=1))
    await hosting.work()
    assert await hosting.at_backend() == {}
    await hosting.domains.make_ours(NAME)
    hosting.later(timedelta(hours=1))
    await hosting.work()
    assert (await hosting.get()).status is ENABLED


@pytest.mark.parametrize("at_once", [True, False])
async def test_refused_at_once(hosting: Hosting, *, at_once: bool) -> None:
    """On a disabled domain, on one without mailboxes, and on none at all nothing is created."""
    domain = await hosting.host()
    await hosting.domains.save(domain, replace(domain, features=(Feature.ALIAS,)))
    with pytest.raises(Invalid, match="feature mailbox"):
        await hosting.provision.create(NAME, new(), at_once=at_once)
    await hosting.host(DomainStatus.DISABLED, "other.example")
    with pytest.raises(Forbidden):
        await hosting.provision.create("other.example", new(), at_once=at_once)
    with pytest.raises(NotFound):
        await hosting.provision.create("no.example", new(), at_once=at_once)


@pytest.mark.parametrize(
    ("field", "value"),
    [("local_part", "a b"), ("secondary_email", f"ME@{NAME}"), ("secondary_email", EMAIL), ("user_id", "nobody")],
)
async def test_bad_ones(hosting: Hosting, field: str, value: str) -> None:
    """A bad local part, a secondary address that is the mailbox itself, and a user who is not there are refused."""
    await hosting.host()
    wanted = new(**{"local_part": "me", field: value})
    with pytest.raises(Invalid) as caught:
        await hosting.provision.create(NAME, wanted)
    assert caught.value.errors.keys() == {field}


# -- creation when the domain becomes enabled --------------------------------------------------------------------


@pytest.mark.parametrize("status", WAITING)
async def test_waiting(hosting: Hosting, status: DomainStatus) -> None:
    """On a domain that is not enabled it waits, and is created once when the domain is, by however many workers."""
    await hosting.host(status)
    user = await hosting.user()
    mailbox = await hosting.create(secondary_email=SECONDARY, user_id=user)
    assert (mailbox.status, mailbox.waits) == (PENDING, True)
    hosting.later(timedelta(days=1))
    assert not await hosting.work()
    assert await hosting.at_backend() == {}
    await hosting.set_status(DomainStatus.ENABLED)
    await asyncio.gather(*(hosting.work() for _ in range(5)))
    await assert_once(hosting, user)


async def test_one_that_fails(hosting: Hosting) -> None:
    """One that the backend refuses, or does not answer for, holds up no other."""
    await hosting.host(DomainStatus.PENDING)
    for name in ("a", "b", "c", "d"):
        await hosting.create(name)
    await hosting.set_status(DomainStatus.ENABLED)
    hosting.backend.before += [NEVER, LATER]
    await hosting.work()
    found = [await hosting.get(name) for name in ("a", "b", "c", "d")]
    assert sorted(each.status for each in found) == [ENABLED, ENABLED, FAILED, PENDING]
    assert sorted(each.error for each in found if each.error) == ["Never.", "Not now."]


async def test_somebody_elses_for_a_worker(hosting: Hosting) -> None:
    """A mailbox that the backend has by itself makes the one that waited fail, with the reason."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.stranger()
    await hosting.create()
    await hosting.set_status(DomainStatus.ENABLED)
    await hosting.work()
    mailbox = await hosting.get()
    assert mailbox.status is FAILED
    assert NOT_OURS in (mailbox.error or "")


async def test_disabled_meanwhile(hosting: Hosting) -> None:
    """When its domain is disabled before a worker comes to it, a mailbox waits again for the domain."""
    await hosting.host(DomainStatus.PENDING)
    user = await hosting.user()
    await hosting.create(secondary_email=SECONDARY, user_id=user)
    await hosting.set_status(DomainStatus.ENABLED)
    await hosting.set_status(DomainStatus.DISABLED)
    assert len(await hosting.work()) == 1
    mailbox = await hosting.get()
    assert (mailbox.waits, mailbox.held, mailbox.attempts) == (True, False, 0)
    assert await hosting.at_backend() == {}
    await hosting.set_status(DomainStatus.ENABLED)
    await hosting.work()
    await assert_once(hosting, user)


# -- deaths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("moment", ["before", "after", "record"])
async def test_death(hosting: Hosting, monkeypatch: pytest.MonkeyPatch, moment: str, *, wait: bool) -> None:
    """Who dies before the backend is asked, before it answers, or before that is stored: it is created once."""
    await hosting.host(DomainStatus.PENDING if wait else DomainStatus.ENABLED)
    user = await hosting.user()
    order = hosting.create(secondary_email=SECONDARY, user_id=user)
    if wait:
        await order
        await hosting.set_status(DomainStatus.ENABLED)
    with monkeypatch.context() as patch:
        if moment == "record":
            patch.setattr(hosting.mailboxes, "save", died)
        else:
            getattr(hosting.backend, moment).append(Died())
        if wait:
            await hosting.work()
        else:
            with pytest.raises(Died):
                await order
    assert await hosting.at_backend() == ({} if moment == "before" else {EMAIL: True})
    assert (await hosting.get()).held
    assert not await hosting.work()
    hosting.later(LEASE)
    await hosting.work()
    await assert_once(hosting, user)


async def died(*_: object) -> None:
    """Die in place of storing something."""
    raise Died


async def test_dying_again(hosting: Hosting) -> None:
    """However many attempts are cut off after the backend did what it was asked for, it is created once."""
    await hosting.host()
    user = await hosting.user()
    hosting.backend.after.append(Died())
    with pytest.raises(Died):
        await hosting.create(secondary_email=SECONDARY, user_id=user)
    hosting.backend.after.append(Died())
    hosting.later()
    await hosting.work()
    hosting.later()
    hosting.backend.before.append(LATER)
    await hosting.work()
    hosting.later(timedelta(hours=1))
    await hosting.work()
    await assert_once(hosting, user)


async def test_what_came_to_nothing(hosting: Hosting) -> None:
    """Attempts that certainly did nothing leave no doubt, and come ever more rarely all the same."""
    await hosting.host()
    hosting.backend.before += [IN_VAIN[0], IN_VAIN[1], LATER, IN_VAIN[0]]
    mailbox = await hosting.create()
    for minutes, doubts in ((1, 0), (5, 0), (15, 1), (30, 1)):
        assert (mailbox.status, mailbox.attempts) == (PENDING, doubts)
        assert mailbox.due_at == hosting.clock() + timedelta(minutes=minutes)
        hosting.later(timedelta(minutes=minutes))
        await hosting.work()
        mailbox = await hosting.get()
    assert (mailbox.status, mailbox.failures) == (ENABLED, 0)


@pytest.mark.parametrize("blind", [True, False])
@pytest.mark.parametrize("fault", [*IN_VAIN, *IN_DOUBT], ids=repr)
@pytest.mark.parametrize("then", ["retry", "delete", "disable"])
async def test_somebody_elses_after_a_fault(hosting: Hosting, fault: Exception, then: str, *, blind: bool) -> None:
    """Whatever becomes of an attempt, what somebody else has is neither given away nor removed."""
    await hosting.host()
    user = await hosting.user()
    before = await hosting.stranger()
    hosting.backend.blind = blind
    hosting.backend.before.append(fault)
    with suppress(Died):
        await hosting.create(user_id=user, secondary_email=SECONDARY)
    hosting.later()
    if then == "retry" or isinstance(fault, Died):
        await hosting.work()
        assert (await hosting.get()).status is FAILED
    if then != "retry":
        for _ in range(2):  # where nobody knows, the first one is told of it
            with suppress(Conflict, NotFound):
                await getattr(hosting.provision, then)(NAME, "me")
    assert await hosting.at_backend() == before
    assert await hosting.identities_of(user) == []
    assert await hosting.notices() == []
    if then == "delete":
        with pytest.raises(NotFound):
            await hosting.get()
    else:
        assert (await hosting.get()).status is (FAILED if then == "retry" else DISABLED)


@pytest.mark.parametrize("fault", IN_VAIN, ids=repr)
async def test_withdrawn_from_a_backend_that_is_away(hosting: Hosting, fault: Exception) -> None:
    """What certainly is not there is deleted without asking."""
    await hosting.host()
    hosting.backend.before += [fault, fault]
    await hosting.create()
    await hosting.provision.delete(NAME, "me")
    assert len(hosting.backend.before) == 1


# -- backends that do not know who made a mailbox ----------------------------------------------------------------


async def in_doubt(hosting: Hosting, user: str | None = None) -> None:
    """Create a mailbox at a blind backend, whose answer is lost."""
    await hosting.host()
    hosting.backend.blind = True
    hosting.backend.after.append(LATER)
    assert (await hosting.create(secondary_email=SECONDARY, user_id=user)).status is PENDING
    hosting.later(timedelta(minutes=1))


async def test_adopted(hosting: Hosting) -> None:
    """Our own that cannot be told from somebody else's fails with the reason, until the operator hands it over."""
    user = await hosting.user()
    await in_doubt(hosting, user)
    await hosting.work()
    with pytest.raises(Conflict, match=NOT_OURS):
        await hosting.provision.enable(NAME, "me")
    assert (await hosting.get()).status is FAILED
    for _ in range(2):
        await hosting.provision.adopt(NAME, "me")
    await assert_once(hosting, user)


async def test_adopting_what_is_not_there(hosting: Hosting) -> None:
    """What the backend does not have is not handed over."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.create()
    with pytest.raises(Refused):
        await hosting.provision.adopt(NAME, "me")
    assert (await hosting.get()).waits


async def test_adopting_what_is_not_known_here(hosting: Hosting) -> None:
    """What is not known here is handed over to whom the operator describes; until then no worker creates it."""
    await hosting.host()
    user = await hosting.user()
    await hosting.stranger()
    with pytest.raises(Conflict, match=NOT_OURS):
        await hosting.create()
    with pytest.raises(NotFound, match="name"):
        await hosting.provision.adopt(NAME, "me")
    hosting.backend.before.append(Died())
    described = new(secondary_email=SECONDARY, user_id=user)
    with pytest.raises(Died):
        await hosting.provision.adopt(NAME, "me", described)
    hosting.later(timedelta(days=1))
    assert await hosting.work() == []
    with pytest.raises(Conflict):
        await hosting.provision.adopt(NAME, "me", described)
    await hosting.provision.adopt(NAME, "me")
    await assert_once(hosting, user)


@pytest.mark.parametrize("fault", [None, *IN_VAIN], ids=repr)
async def test_adopting_what_is_nowhere(hosting: Hosting, fault: Exception | None) -> None:
    """Where the backend has no such mailbox, or does not do it, nothing of it is here afterwards."""
    await hosting.host()
    if fault:
        await hosting.stranger()
        hosting.backend.before.append(fault)
    with pytest.raises(RemoteError):
        await hosting.provision.adopt(NAME, "me", new())
    with pytest.raises(NotFound):
        await hosting.get()


async def test_adopting_what_is_disabled(hosting: Hosting) -> None:
    """What is disabled here stays so, whether it has been at the backend or not."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.create("waiting")
    await hosting.set_status(DomainStatus.ENABLED)
    await hosting.create("me")
    await hosting.stranger("waiting")
    for name in ("waiting", "me"):
        await hosting.provision.disable(NAME, name)
        with pytest.raises(Conflict, match="enabled first"):
            await hosting.provision.adopt(NAME, name)
        assert (await hosting.get(name)).status is DISABLED


async def test_adopting_on_what_is_not_ours(hosting: Hosting) -> None:
    """On a domain that may be somebody else's nothing is handed over."""
    await hosting.host()
    await hosting.stranger()
    await hosting.mongo.collection("domains").update_one({}, {"$set": {"ours": False}})
    with pytest.raises(RemoteError):
        await hosting.provision.adopt(NAME, "me", new())
    with pytest.raises(NotFound):
        await hosting.get()


async def test_removed_by_the_operator(hosting: Hosting) -> None:
    """Where the operator removes at the backend what is in the way, a mailbox is created when it is enabled."""
    await in_doubt(hosting)
    await hosting.work()
    await hosting.mongo.collection("fake_mailboxes").delete_many({})
    assert (await hosting.provision.enable(NAME, "me")).status is ENABLED


async def test_withdrawn_in_doubt(hosting: Hosting) -> None:
    """What may be somebody else's is not removed: that is told once, then the mailbox goes from here alone."""
    await in_doubt(hosting)
    with pytest.raises(Conflict, match=NOT_OURS):
        await hosting.provision.delete(NAME, "me")
    assert (await hosting.get()).status is FAILED
    await hosting.provision.delete(NAME, "me")
    assert await hosting.at_backend() == {EMAIL: True}


async def test_lost_answer(hosting: Hosting) -> None:
    """An attempt whose answer was lost, and that got through, is known by the next one."""
    await hosting.host()
    user = await hosting.user()
    hosting.backend.after.append(LATER)
    assert (await hosting.create(secondary_email=SECONDARY, user_id=user)).status is PENDING
    hosting.later(timedelta(minutes=1))
    await hosting.work()
    await assert_once(hosting, user)


async def test_lost_lease(hosting: Hosting) -> None:
    """Who is overtaken while the backend takes its time changes nothing any more, and tells what came of it."""
    await hosting.host(DomainStatus.PENDING)
    user = await hosting.user()
    await hosting.create(secondary_email=SECONDARY, user_id=user)
    await hosting.set_status(DomainStatus.ENABLED)
    (slow,) = await hosting.mailboxes.claim("slow", hosting.clock(), LEASE, 1)
    hosting.later()
    await hosting.work()
    await hosting.provision.run("slow", slow)
    await assert_once(hosting, user)


async def test_overtaken_request(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that a worker overtakes answers with what that one stored, and with the password that it got."""
    await hosting.host()
    user = await hosting.user()

    async def overtaken(held: Mailbox, after: Mailbox, notice: Notice | None) -> Mailbox | None:
        monkeypatch.undo()
        hosting.later()
        await hosting.work()
        return await hosting.mailboxes.save(held, after, notice)

    monkeypatch.setattr(hosting.mailboxes, "save", overtaken)
    mailbox, password = await hosting.provision.create(NAME, new(secondary_email=SECONDARY, user_id=user))
    assert (mailbox.status, mailbox.attempts, bool(password)) == (ENABLED, 0, True)
    await assert_once(hosting, user)


async def test_database_away(hosting: Hosting) -> None:
    """A worker without its database leaves the mailbox to its lease."""
    await hosting.host()
    hosting.backend.before += [Unavailable("Away."), Unavailable("Away.")]
    with pytest.raises(Unavailable):
        await hosting.create()
    hosting.later()
    with pytest.raises(Unavailable):
        await hosting.work()
    hosting.later()
    await hosting.work()
    assert (await hosting.get()).status is ENABLED


# -- changes -----------------------------------------------------------------------------------------------------


async def change(hosting: Hosting, **patch: str | None) -> Mailbox:
    """Change the mailbox."""
    return await hosting.provision.change(NAME, "me", Change(patch))


async def test_change(hosting: Hosting) -> None:
    """Names go to the backend too, and the display name follows them unless one is given; the rest stays here."""
    await hosting.host()
    await hosting.create()
    user = await hosting.user()
    changed = await change(hosting, first_name="Eve", secondary_email=SECONDARY, user_id=user, local_part="me")
    assert (changed.first_name, changed.display_name) == ("Eve", "Eve Grüße")
    (identity,) = await hosting.identities_of(user)
    assert identity.display_name == "Eve Grüße"
    assert (await hosting.mongo.collection("fake_mailboxes").find_one() or {})["display_name"] == "Eve Grüße"
    assert (await change(hosting, last_name="X", display_name="Y")).display_name == "Y"
    hosting.backend.before.append(LATER)
    changed = await change(hosting, secondary_email=None, user_id=None)
    assert (changed.secondary_email, changed.user_id, changed.display_name) == (None, None, "Y")
    assert await hosting.identities_of(user) == []


async def test_refused_changes(hosting: Hosting) -> None:
    """What a change may not do, and what the backend refuses, changes nothing."""
    await hosting.host()
    before = await hosting.create()
    with pytest.raises(Forbidden):
        await change(hosting, local_part="you")
    with pytest.raises(Invalid):
        await change(hosting, secondary_email=EMAIL)
    with pytest.raises(Invalid):
        await change(hosting, user_id="nobody")
    with pytest.raises(NotFound):
        await hosting.provision.change(NAME, "you", Change({"first_name": "Eve"}))
    with pytest.raises(Conflict):
        await hosting.provision.change(NAME, "me", Change({"first_name": "Eve"}, {"first_name": "Eva"}))
    with pytest.raises(Stale):
        await hosting.provision.change(NAME, "me", Change({"first_name": "Eve"}, None, lambda _: False))
    hosting.backend.before.append(NEVER)
    with pytest.raises(Refused):
        await change(hosting, first_name="Eve")
    assert await hosting.get() == before


async def test_changes_at_once(hosting: Hosting) -> None:
    """Of changes at once each is made, and the backend has what is stored."""
    await hosting.host()
    await hosting.create()
    await asyncio.gather(
        *(change(hosting, first_name=f"N{number}") for number in range(5)),
        hosting.provision.disable(NAME, "me"),
        *(change(hosting, last_name=f"M{number}") for number in range(5)),
    )
    mailbox = await hosting.get()
    kept = await hosting.mongo.collection("fake_mailboxes").find_one() or {}
    assert (mailbox.status, mailbox.display_name) == (DISABLED, f"{mailbox.first_name} {mailbox.last_name}")
    assert (kept["active"], kept["display_name"]) == (False, mailbox.display_name)


async def test_changed_while_it_waits(hosting: Hosting) -> None:
    """A mailbox that waits is changed here, and created so."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.create()
    await change(hosting, first_name="Eve")
    await hosting.set_status(DomainStatus.ENABLED)
    await hosting.work()
    assert (await hosting.mongo.collection("fake_mailboxes").find_one() or {})["first_name"] == "Eve"


async def test_held(hosting: Hosting) -> None:
    """While somebody creates it, nobody changes it."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.create()
    await hosting.set_status(DomainStatus.ENABLED)
    await hosting.mailboxes.claim("o", hosting.clock(), LEASE, 1)
    provision = hosting.provision
    for attempt in (
        change(hosting, first_name="Eve"),
        provision.disable(NAME, "me"),
        provision.enable(NAME, "me"),
        provision.delete(NAME, "me"),
    ):
        with pytest.raises(Conflict, match="being created just now"):
            await attempt


# -- in and out of use -------------------------------------------------------------------------------------------


async def test_disable_and_enable(hosting: Hosting) -> None:
    """A mailbox goes out of use and back, here as at the backend and as identity; twice is as once."""
    await hosting.host()
    user = await hosting.user()
    await hosting.create(user_id=user)
    for method, status, active in (
        (hosting.provision.disable, DISABLED, False),
        (hosting.provision.enable, ENABLED, True),
    ):
        for _ in range(2):
            assert (await method(NAME, "me")).status is status
        assert await hosting.at_backend() == {EMAIL: active}
        (identity,) = await hosting.identities_of(user)
        assert (identity.status is IdentityStatus.ACTIVE) is active


async def test_cut_off_change(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who dies between backend and store leaves what asking again mends."""
    await hosting.host()
    await hosting.create()
    await hosting.provision.disable(NAME, "me")
    with monkeypatch.context() as patch:
        patch.setattr(hosting.mailboxes, "save", died)
        with pytest.raises(Died):
            await hosting.provision.enable(NAME, "me")
    assert await hosting.at_backend() == {EMAIL: True}
    assert (await hosting.provision.disable(NAME, "me")).status is DISABLED
    assert await hosting.at_backend() == {EMAIL: False}


async def test_disabled_while_it_waits(hosting: Hosting) -> None:
    """A mailbox that waits and is disabled is not created, until it is enabled."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.create()
    assert (await hosting.provision.disable(NAME, "me")).status is DISABLED
    await hosting.set_status(DomainStatus.ENABLED)
    assert not await hosting.work()
    assert await hosting.at_backend() == {}
    assert (await hosting.provision.enable(NAME, "me")).status is ENABLED
    assert await hosting.at_backend() == {EMAIL: True}


async def test_enabled_before_its_domain(hosting: Hosting) -> None:
    """A mailbox that is enabled waits for its domain."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.create()
    await hosting.provision.disable(NAME, "me")
    for _ in range(2):
        assert (await hosting.provision.enable(NAME, "me")).waits
    await hosting.set_status(DomainStatus.DISABLED)
    with pytest.raises(Forbidden):
        await hosting.provision.enable(NAME, "me")
    await hosting.set_status(DomainStatus.ENABLED)
    await hosting.work()
    assert (await hosting.get()).status is ENABLED


async def test_trying_again(hosting: Hosting) -> None:
    """A mailbox that failed is tried again when it is enabled, and fails or not; the reason is told."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.create()
    await hosting.set_status(DomainStatus.ENABLED)
    hosting.backend.before += [NEVER, NEVER]
    await hosting.work()
    with pytest.raises(RemoteError, match="Never"):
        await hosting.provision.enable(NAME, "me")
    assert (await hosting.get()).status is FAILED
    hosting.backend.before.append(LATER)
    assert (await hosting.provision.enable(NAME, "me")).status is PENDING
    hosting.later(timedelta(minutes=1))
    await hosting.work()
    mailbox = await hosting.get()
    assert (mailbox.status, mailbox.error) == (ENABLED, None)


@pytest.mark.parametrize("then", ["enable", "delete"])
async def test_refused_after_it_got_through(hosting: Hosting, then: str) -> None:
    """Where the backend refuses what it has by an earlier attempt, that is not forgotten."""
    await hosting.host()
    hosting.backend.after.append(LATER)
    await hosting.create()
    hosting.later(timedelta(minutes=1))
    hosting.backend.before.append(NEVER)
    await hosting.work()
    assert (await hosting.get()).status is FAILED
    await getattr(hosting.provision, then)(NAME, "me")
    assert await hosting.at_backend() == ({EMAIL: True} if then == "enable" else {})


@pytest.mark.parametrize("got_through", [True, False])
async def test_withdrawn(hosting: Hosting, *, got_through: bool) -> None:
    """Of one that is disabled or deleted after an attempt without answer, the backend has nothing."""
    await hosting.host()
    for name in ("me", "you"):
        (hosting.backend.after if got_through else hosting.backend.before).append(LATER)
        assert (await hosting.create(name)).status is PENDING
    hosting.backend.before.append(LATER)
    with pytest.raises(Deferred):
        await hosting.provision.disable(NAME, "me")
    pending = await hosting.get()
    assert (pending.status, pending.held, pending.attempts) == (PENDING, False, 1)
    assert pending.due_at == NOW + timedelta(minutes=1)
    assert (await hosting.provision.disable(NAME, "me")).status is DISABLED
    await hosting.provision.delete(NAME, "you")
    assert await hosting.at_backend() == {}
    hosting.later(timedelta(days=1))
    assert not await hosting.work()
    assert (await hosting.provision.enable(NAME, "me")).status is ENABLED


async def test_withdrawn_while_it_is_claimed(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is removed at the backend that a worker is creating by now."""
    await hosting.host()
    hosting.backend.after.append(LATER)
    stale = await hosting.create()
    hosting.later(timedelta(minutes=1))
    await hosting.work()

    async def read_before(*_: object) -> Mailbox:
        return stale

    with monkeypatch.context() as patch:
        patch.setattr(hosting.mailboxes, "get", read_before)
        with pytest.raises(Conflict, match="being created just now"):
            await hosting.provision.delete(NAME, "me")
    assert await hosting.at_backend() == {EMAIL: True}


# -- deletion ----------------------------------------------------------------------------------------------------


async def test_delete(hosting: Hosting) -> None:
    """A mailbox goes from the backend and from here, with its identity; its name can be given again."""
    await hosting.host()
    user = await hosting.user()
    await hosting.create(user_id=user)
    with pytest.raises(Stale):
        await hosting.provision.delete(NAME, "me", Change({}, None, lambda _: False))
    hosting.backend.before.append(LATER)
    with pytest.raises(Deferred):
        await hosting.provision.delete(NAME, "me")
    assert (await hosting.get()).status is ENABLED
    await hosting.provision.delete(NAME, "me")
    assert await hosting.at_backend() == {}
    assert await hosting.identities_of(user) == []
    with pytest.raises(NotFound):
        await hosting.provision.delete(NAME, "me")
    assert (await hosting.create(user_id=user)).status is ENABLED


async def test_delete_what_is_not_there(hosting: Hosting) -> None:
    """A mailbox that waits, or that is somebody else's at the backend, goes from here alone."""
    await hosting.host(DomainStatus.PENDING)
    await hosting.stranger()
    await hosting.create()
    await hosting.create("you")
    await hosting.set_status(DomainStatus.ENABLED)
    (claimed, *_) = await hosting.mailboxes.claim("o", hosting.clock(), LEASE, 1)
    await hosting.provision.run("o", claimed)
    await hosting.provision.disable(NAME, "you")
    for name in ("me", "you"):
        await hosting.provision.delete(NAME, name)
    assert await hosting.at_backend() == {EMAIL: True}


# -- signing in --------------------------------------------------------------------------------------------------


async def test_sign_in_link(hosting: Hosting) -> None:
    """A sign-in link goes to the secondary address, also with a new password."""
    await hosting.host()
    await hosting.create(secondary_email=SECONDARY)
    hosting.provision.noticed.clear()
    await hosting.provision.send_link(NAME, "me")
    assert hosting.provision.noticed.is_set()
    hosting.backend.before.append(NEVER)
    with pytest.raises(Refused):
        await hosting.provision.send_link(NAME, "me", reset=True)
    await hosting.provision.send_link(NAME, "me", reset=True)
    assert await hosting.notices() == ["mailbox created: me", "sign-in link: me", "sign-in link: me"]


async def test_no_sign_in_link(hosting: Hosting) -> None:
    """Without a secondary address, and for a mailbox that is not in use, there is no link."""
    await hosting.host()
    await hosting.create()
    for reset in (True, False):
        with pytest.raises(Invalid):
            await hosting.provision.send_link(NAME, "me", reset=reset)
    await change(hosting, secondary_email=SECONDARY)
    await hosting.provision.disable(NAME, "me")
    for reset in (True, False):
        with pytest.raises(Conflict):
            await hosting.provision.send_link(NAME, "me", reset=reset)
    assert await hosting.notices() == []


async def test_password_and_code(hosting: Hosting) -> None:
    """Who asks without a role gets the password and the code themselves, of a mailbox that is there."""
    await hosting.host(DomainStatus.PENDING)
    waiting, _ = await hosting.provision.create(NAME, new())
    _, password = await hosting.provision.create(NAME, new("you"), at_once=True)
    assert await hosting.provision.reset_password(NAME, "you") not in ("", password)
    code = await hosting.provision.sign_in_code(NAME, "you", timedelta(hours=1), 2)
    assert hosting.backend.codes == {f"you@{NAME}": code}
    with pytest.raises(Conflict):
        await hosting.provision.reset_password(NAME, waiting.local_part)
    with pytest.raises(Conflict):
        await hosting.provision.sign_in_code(NAME, waiting.local_part, timedelta(hours=1), 1)
