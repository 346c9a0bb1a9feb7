"""Domains over REST. The names end as the fake backend knows them: what becomes of their checks is certain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.errors import TooOften
from gateway.ports import system_clock
from gateway.roles import ALLOWED, Action, Role
from gateway.throttle import Throttle
from storage.attempts import MongoAttempts
from storage.mongo import Mongo
from tests.client import Client, Reply

DOMAINS = "/api/v2/domains"
CHECK = {"actions": ["check"]}
NAME = "town.ok.test"
ALL = ["mailbox", "webmail", "alias"]


async def create(user: Client, name: str = NAME, **properties: Any) -> Any:
    """Host a domain; return it as it was answered."""
    reply = await user.post(DOMAINS, {"name": name, **properties})
    assert reply.status == 201, reply.json
    return reply.json


async def until(user: Client, name: str, holds: Callable[[Any], Any]) -> Any:
    """Return the domain as soon as this holds for it."""
    async with asyncio.timeout(30):
        while True:
            domain = (await user.get(f"{DOMAINS}/{name}")).json
            if holds(domain):
                return domain
            await asyncio.sleep(0.02)


async def hosted(user: Client, name: str = NAME, **properties: Any) -> Any:
    """Host a domain; return it after its first check."""
    await create(user, name, **properties)
    return await until(user, name, lambda domain: domain["last_check"])


async def give(mongo: Mongo, user: Client, role: Role, name: str = NAME) -> None:
    """Give a user a role on a domain, in place of the one that is there."""
    domains = mongo.collection("domains")
    await domains.update_one({"_id": name}, {"$pull": {"managers": {"user_id": user.user_id}}})
    await domains.update_one(
        {"_id": name},
        {"$push": {"managers": {"user_id": user.user_id, "role": role.value}}, "$inc": {"version": 1}},
    )


async def patch(user: Client, body: Any, name: str = NAME, *, tag: str | None = None) -> Reply:
    """Change a domain, if it is of the version with that tag."""
    headers = {"If-Match": tag} if tag else {}
    return await user.call("PATCH", f"{DOMAINS}/{name}", body, headers=headers)


def failing(domain: Any) -> dict[str, list[str]]:
    """Return the codes of what is wrong, by check."""
    return {
        name: [error["code"] for error in check["errors"]]
        for name, check in domain["checks"].items()
        if not check["ok"]
    }


# -- creating ------------------------------------------------------------------------------------------------------


async def test_create(user: Client) -> None:
    """The creator is the owner, and learns at once what to publish; the check comes by itself."""
    reply = await user.post(DOMAINS, {"name": "Town.OK.test."})
    assert (reply.status, reply.headers["Location"]) == (201, f"{DOMAINS}/{NAME}")
    created = reply.json
    assert {key: created[key] for key in created if key != "expected_config"} == {
        "name": NAME,
        "context": NAME,
        "features": ALL,
        "status": "pending",
        "last_check": None,
        "checks": {},
        "role": "owner",
    }
    records = {(each["target"], each["type"]): each["value"] for each in created["expected_config"]}
    assert records.keys() == {
        ("", "mx"),
        ("imap", "cname"),
        ("smtp", "cname"),
        ("webmail", "cname"),
        ("", "txt"),
        ("dkim._domainkey", "txt"),
    }
    domain = await until(user, NAME, lambda domain: domain["last_check"])
    assert (domain["status"], domain["expected_config"]) == ("enabled", created["expected_config"])
    assert domain["checks"].keys() == {
        *("domain_exist", "mx", "cname_imap", "cname_smtp", "cname_webmail", "spf", "dkim"),
        *("postfix", "ox", "cert"),
    }
    assert domain["checks"]["mx"] == {"ok": True, "internal": False, "errors": []}
    assert domain["checks"]["postfix"] == {"ok": True, "internal": True, "errors": []}
    assert (await user.get(DOMAINS)).json == {"total": 1, "domains": [domain]}


@pytest.mark.parametrize(
    ("name", "status", "faults"),
    [
        ("town.dns.test", "action_required", {"mx": ["no_mx"]}),
        ("town.broken.test", "failed", {"cert": ["no_cert"]}),
    ],
)
async def test_first_check(user: Client, name: str, status: str, faults: Any) -> None:
    """What is wrong in the DNS is the owner's to mend, the rest is ours; each fault says what it is."""
    domain = await hosted(user, name)
    assert (domain["status"], failing(domain)) == (status, faults)
    (check,) = faults
    assert domain["checks"][check]["internal"] is (status == "failed")
    assert domain["checks"][check]["errors"][0]["detail"]


async def test_unicode(user: Client) -> None:
    """A name is shown in Unicode; both spellings name the same domain, in bodies and in paths."""
    reply = await user.post(DOMAINS, {"name": "xn--bcher-kva.ok.test"})
    assert (reply.status, reply.json["name"]) == (201, "bücher.ok.test")
    assert reply.headers["Location"] == f"{DOMAINS}/xn--bcher-kva.ok.test"
    for spelling in ("bücher.ok.test", "BÜCHER.ok.test", "xn--bcher-kva.ok.test"):
        assert (await user.get(f"{DOMAINS}/{spelling}")).json["name"] == "bücher.ok.test"
        assert (await user.post(DOMAINS, {"name": spelling})).status == 409


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "no domain"}, "name"),
        ({"name": "co.uk"}, "name"),
        ({"name": "192.0.2.1"}, "name"),
        ({"name": "a." * 200 + "example"}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"context": ""}, "context"),
        ({"context": " "}, "context"),
        ({"context": "a\0b"}, "context"),
        ({"features": []}, "features"),
        ({"features": None}, "features"),
        ({"features": ["mailbox", "calendar"]}, "features.1"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_invalid(user: Client, changes: Any, field: str) -> None:
    """What breaks a rule is refused by name, and nothing is made."""
    reply = await user.post(DOMAINS, {"name": NAME, **changes})
    assert (reply.status, list(reply.json["errors"])) == (422, [field])
    assert (await user.get(DOMAINS)).json == {"total": 0, "domains": []}


async def test_server_set(user: Client) -> None:
    """What the server sets is ignored; features come in one order, each once."""
    ignored: dict[str, Any] = {
        "status": "enabled",
        "role": "viewer",
        "checks": 7,
        "last_check": "x",
        "expected_config": [],
    }
    domain = await create(user, features=["alias", "mailbox", "alias"], **ignored)
    assert (domain["features"], domain["status"], domain["role"]) == (["mailbox", "alias"], "pending", "owner")


async def test_taken(user: Client, api: Client) -> None:
    """A name is given once, also where many want it at the same moment."""
    users = [user, await api.register("another")]
    replies = await asyncio.gather(*(users[n % 2].post(DOMAINS, {"name": NAME}) for n in range(6)))
    assert sorted(reply.status for reply in replies) == [201] + [409] * 5
    assert sum([(await each.get(DOMAINS)).json["total"] for each in users]) == 1


async def test_operators(user: Client) -> None:
    """The domain of the local identities is the operator's, as a name and as a context."""
    assert (await user.post(DOMAINS, {"name": "HOME.example"})).status == 409
    assert (await user.post(DOMAINS, {"name": NAME, "context": "home.example"})).status == 409


async def test_dkim_key(user: Client, mongo: Mongo) -> None:
    """Each domain has a key of its own, whose private half is encrypted."""
    domains = [await create(user, name) for name in (NAME, "other.ok.test")]
    keys = {
        each["value"] for domain in domains for each in domain["expected_config"] if "_domainkey" in each["target"]
    }
    assert len(keys) == 2
    assert "PRIVATE" not in repr(await mongo.collection("domains").find().to_list(None))


async def test_too_many(user: Client, mongo: Mongo) -> None:
    """A user cannot take names and make keys without end."""
    throttle = Throttle(MongoAttempts(mongo), system_clock)
    with suppress(TooOften):
        while True:
            await throttle.spend("domain", user.user_id)
    reply = await user.post(DOMAINS, {"name": NAME})
    assert (reply.status, 1 <= int(reply.headers["Retry-After"]) <= 60) == (429, True)
    assert (await user.get(DOMAINS)).json["total"] == 0


@pytest.mark.parametrize("patched", [False, True])
async def test_checks_without_end(user: Client, mongo: Mongo, *, patched: bool) -> None:
    """The name servers that a domain names are not asked as often as anybody likes, in whichever way."""
    await hosted(user)
    throttle = Throttle(MongoAttempts(mongo), system_clock)
    with suppress(TooOften):
        while True:
            await throttle.spend("domain check", NAME)
    reply = await (
        patch(user, {"features": ["mailbox"]}) if patched else user.post(f"{DOMAINS}/{NAME}/actions", CHECK)
    )
    assert (reply.status, 1 <= int(reply.headers["Retry-After"]) <= 5) == (429, True)
    assert (await user.get(f"{DOMAINS}/{NAME}")).json["features"] == ALL


# -- contexts ------------------------------------------------------------------------------------------------------


async def test_shared_context(user: Client, api: Client, mongo: Mongo) -> None:
    """Who manages a domain of a context may add others to it; to anybody else it is another's."""
    await create(user)
    assert (await create(user, "second.ok.test", context="TOWN.ok.test"))["context"] == NAME
    other = await api.register("another")
    third = {"name": "third.ok.test", "context": NAME}
    await give(mongo, other, Role.VIEWER)
    reply = await other.post(DOMAINS, third)
    assert (reply.status, "mapped to another's context" in reply.json["detail"]) == (409, True)
    assert await mongo.collection("domains").count_documents({}) == 2
    await give(mongo, other, Role.ADMINISTRATOR)
    assert (await other.post(DOMAINS, third)).status == 201


async def test_a_name_that_is_a_context(user: Client, api: Client) -> None:
    """A name that others' domains share as their context is theirs."""
    await create(user, "town.ok.test", context="County")
    await create(user, "village.ok.test", context="hill.ok.test")
    other = await api.register("another")
    assert (await other.post(DOMAINS, {"name": "hill.ok.test"})).status == 409
    assert (await other.post(DOMAINS, {"name": "valley.ok.test", "context": "COUNTY"})).status == 409
    assert (await other.get(DOMAINS)).json["total"] == 0
    await create(user, "hill.ok.test")


async def test_a_new_context_named_by_two_at_once(user: Client, api: Client) -> None:
    """Of two who name the same new context at the same moment one has it, and to the other it is another's."""
    other = await api.register("another")
    replies = await asyncio.gather(
        user.post(DOMAINS, {"name": "town.ok.test", "context": "County"}),
        other.post(DOMAINS, {"name": "village.ok.test", "context": "County"}),
    )
    refused, created = sorted(replies, key=lambda reply: -reply.status)
    assert (created.status, refused.status) == (201, 409)
    assert "mapped to another's context" in refused.json["detail"]


async def test_a_new_context_named_twice_by_its_owner(user: Client) -> None:
    """Whose context it is may add several domains to it, also at the same moment."""
    names = ["town.ok.test", "village.ok.test", "hill.ok.test"]
    await asyncio.gather(*(create(user, name, context="County") for name in names))
    assert (await user.get(DOMAINS)).json["total"] == 3


# -- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["nothing.ok.test", "co.uk", "no%20domain", "%00", "192.0.2.1", "%ED%A0%80", "a" * 300, "-"]
)
async def test_unknown(user: Client, name: str) -> None:
    """What is no domain, or no name of one, is not found, whatever is asked of it."""
    await create(user)
    path = f"{DOMAINS}/{name}"
    assert (await user.get(path)).status == 404
    assert (await user.call("PATCH", path, {"colour": "red"})).status == 404
    assert (await user.post(f"{path}/actions", {})).status == 404


async def test_pages(user: Client, api: Client) -> None:
    """The list has one's own domains, by name."""
    for name in ("b.ok.test", "c.ok.test", "a.ok.test"):
        await create(user, name)
    await create(await api.register("another"), "d.ok.test")
    page = (await user.get(f"{DOMAINS}?limit=1&offset=1")).json
    assert (page["total"], [each["name"] for each in page["domains"]]) == (3, ["b.ok.test"])
    assert (await user.get(f"{DOMAINS}?limit=0")).status == 422


async def test_etag(user: Client) -> None:
    """Who has a domain already is told so; who changes an old version of it is refused."""
    await hosted(user)
    tag = (await user.get(f"{DOMAINS}/{NAME}")).headers["ETag"]
    assert (await user.get(f"{DOMAINS}/{NAME}", headers={"If-None-Match": tag})).status == 304
    assert (await patch(user, {"status": "disabled"}, tag=tag)).status == 204
    assert (await patch(user, {"features": ["alias"]}, tag=tag)).status == 412
    assert (await user.get(f"{DOMAINS}/{NAME}")).json["features"] == ALL


# -- roles ---------------------------------------------------------------------------------------------------------


def calls(user: Client) -> dict[Action, Callable[[], Awaitable[Reply]]]:
    """Return how each action on the domain is asked for."""
    path = f"{DOMAINS}/{NAME}"
    return {
        Action.SEE_DOMAIN: lambda: user.get(path),
        Action.CHECK: lambda: user.post(f"{path}/actions", CHECK),
        Action.CHANGE_DOMAIN: lambda: patch(user, {"status": "disabled"}),
    }


@pytest.mark.parametrize("role", [None, *Role])
@pytest.mark.parametrize("action", [Action.SEE_DOMAIN, Action.CHECK, Action.CHANGE_DOMAIN])
async def test_roles(user: Client, api: Client, mongo: Mongo, role: Role | None, action: Action) -> None:
    """Each role may what the table says; who has none is not told that there is a domain."""
    await create(user)
    other = await api.register("another")
    if role:
        await give(mongo, other, role)
    status = (await calls(other)[action]()).status
    if role is None:
        assert status == 404
    else:
        assert (status if status == 403 else "done") == ("done" if role.rank >= ALLOWED[action].rank else 403)
    changed = (await user.get(f"{DOMAINS}/{NAME}")).json["status"] == "disabled"
    assert changed is (action is Action.CHANGE_DOMAIN and role is Role.OWNER)


async def test_order_of_faults(user: Client, api: Client, mongo: Mongo) -> None:
    """Of several faults the same one is told always: what is malformed, the role, then what is stored."""
    await hosted(user)
    other = await api.register("another")
    await give(mongo, other, Role.VIEWER)
    stale = '"stale"'
    wrong: dict[str, Any] = {"current_state": {"features": []}}
    assert (await patch(other, {"features": ["calendar"]})).status == 422
    assert (await patch(other, {"status": "failed", **wrong}, tag=stale)).status == 422
    assert (await patch(other, {"features": ["alias"], **wrong}, tag=stale)).status == 403
    assert (await patch(user, {"features": ["alias"], "name": "b.ok.test", **wrong}, tag=stale)).status == 403
    assert (await patch(user, {"features": ["alias"], **wrong}, tag=stale)).status == 409
    assert (await patch(user, {"features": ["alias"]}, tag=stale)).status == 412
    assert (await other.get(f"{DOMAINS}/{NAME}")).json["role"] == "viewer"


# -- changing ------------------------------------------------------------------------------------------------------


async def test_disable(user: Client) -> None:
    """A disabled domain stays so whatever a check says, until its owner enables it again."""
    await hosted(user)
    assert (await patch(user, {"status": "disabled"})).status == 204
    reply = await user.post(f"{DOMAINS}/{NAME}/actions", CHECK)
    assert (reply.status, reply.json["status"], failing(reply.json)) == (200, "disabled", {})
    assert (await patch(user, {"status": "pending"})).status == 204
    await until(user, NAME, lambda domain: domain["status"] == "enabled")


async def test_pending_is_a_wish_to_be_checked(user: Client) -> None:
    """What is not disabled keeps its status until the check that it is given by pending."""
    before = await hosted(user, "town.dns.test")
    assert (await patch(user, {"status": "pending"}, before["name"])).status == 204
    after = await until(user, before["name"], lambda domain: domain["last_check"] != before["last_check"])
    assert after["status"] == "action_required"


async def test_own_status(user: Client) -> None:
    """A client may send the status that it has read; no other is given by clients."""
    domain = await hosted(user)
    assert (await patch(user, {**domain, "role": "viewer"})).status == 204
    for status in ("failed", "action_required", "gone", None):
        reply = await patch(user, {"status": status})
        assert (reply.status, list(reply.json["errors"])) == (422, ["status"])
    assert (await patch(user, {"status": "disabled"})).status == 204
    assert (await patch(user, {"status": "enabled"})).status == 422
    assert (await user.get(f"{DOMAINS}/{NAME}")).json["status"] == "disabled"


async def test_features(user: Client) -> None:
    """Other features are other records to publish, and other checks."""
    await hosted(user)
    assert (await patch(user, {"features": ["alias"]})).status == 204
    domain = (await user.get(f"{DOMAINS}/{NAME}")).json
    assert (domain["features"], domain["status"]) == (["alias"], "enabled")
    assert "webmail" not in [each["target"] for each in domain["expected_config"]]
    await until(user, NAME, lambda domain: not {"cname_webmail", "ox"} & domain["checks"].keys())


async def test_fixed(user: Client) -> None:
    """Name and context stay; sending them as they are, in whatever spelling, is fine."""
    await create(user)
    assert (await patch(user, {"name": "TOWN.ok.test", "context": "Town.ok.test"})).status == 204
    for change in ({"name": "b.ok.test"}, {"context": "b.ok.test"}):
        assert (await patch(user, change)).status == 403
    for field in ("name", "context"):
        reply = await patch(user, {field: "\t"})
        assert (reply.status, list(reply.json["errors"])) == (422, [field])


async def test_current_state(user: Client) -> None:
    """A change is made if the client knows what it changes; the order of features does not matter."""
    await hosted(user)
    seen = {"status": "enabled", "features": ["alias", "webmail", "mailbox"]}
    assert (await patch(user, {"features": ["alias"], "current_state": {"features": ["alias"]}})).status == 409
    assert (await patch(user, {"features": ["alias"], "current_state": {}})).status == 409
    assert (await patch(user, {"features": ["alias"], "current_state": {**seen, "status": "failed"}})).status == 409
    assert (await patch(user, {"status": "disabled", "current_state": {"features": ["calendar"]}})).status == 409
    assert (await user.get(f"{DOMAINS}/{NAME}")).json["features"] == ALL
    assert (await patch(user, {"features": ["alias"], "current_state": seen})).status == 204


async def test_one_of_many_changes(user: Client) -> None:
    """Of many who change the same thing at once one does, the others are told."""
    await hosted(user)
    body = {"status": "disabled", "current_state": {"status": "enabled"}}
    replies = await asyncio.gather(*(patch(user, body) for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [204] + [409] * 5


# -- checks --------------------------------------------------------------------------------------------------------


async def test_check(user: Client) -> None:
    """A check on demand is answered with what it found; one that fails is an answer, too."""
    before = await hosted(user, "town.broken.test")
    reply = await user.post(f"{DOMAINS}/town.broken.test/actions", CHECK)
    assert (reply.status, reply.json["status"], failing(reply.json)) == (200, "failed", {"cert": ["no_cert"]})
    assert reply.json["last_check"] > before["last_check"]
    bodies: list[Any] = [{"actions": []}, {"actions": ["check", "check"]}, {"actions": ["mend"]}, {}]
    for body in bodies:
        assert (await user.post(f"{DOMAINS}/town.broken.test/actions", body)).status == 422


@pytest.mark.configured(checks={"poll_s": 0.02})
async def test_hourly(user: Client, mongo: Mongo) -> None:
    """A domain is checked again about an hour later."""
    before = await hosted(user)
    domains = mongo.collection("domains")
    stored = await domains.find_one({})
    assert stored
    assert timedelta(minutes=54) <= stored["check_at"] - stored["last_check"] <= timedelta(minutes=66)
    await domains.update_one({}, {"$set": {"check_at": datetime.now(UTC)}})
    await until(user, NAME, lambda domain: domain["last_check"] != before["last_check"])


async def test_hosted_for_another(user: Client, mongo: Mongo) -> None:
    """A name that the mail backend has, and not from here, is taken: nobody gets hold of what is another's."""
    await mongo.collection("fake_domains").insert_one({"_id": NAME, "context": NAME, "features": ALL})
    reply = await user.post(DOMAINS, {"name": NAME.upper()})
    assert (reply.status, NAME in reply.json["detail"]) == (409, True)
    assert (await user.get(DOMAINS)).json["total"] == 0


@pytest.mark.configured(domains={"fake_faults": ["has_domain"]})
async def test_nobody_knows_whose(user: Client, mongo: Mongo) -> None:
    """Where the backend does not say whether it has the name, nothing is done there until it does."""
    created = await create(user)
    assert (created["status"], created["expected_config"]) == ("pending", [])
    domain = await until(user, NAME, lambda domain: domain["last_check"])
    assert (domain["status"], failing(domain)) == ("failed", {"postfix": ["backend_refused"]})
    alias = {"local_part": "admin", "destination": "me@elsewhere.example"}
    assert (await user.post(f"{DOMAINS}/{NAME}/aliases", alias)).status == 424
    assert await mongo.collection("fake_domains").count_documents({}) == 0
    assert await mongo.collection("fake_aliases").count_documents({}) == 0


@pytest.mark.configured(domains={"fake_faults": ["add_domain"]})
async def test_backend_away(user: Client) -> None:
    """A domain that the backend does not take is kept, and shows that; what to publish comes with a later check."""
    created = await create(user)
    assert (created["status"], created["expected_config"]) == ("pending", [])
    domain = await until(user, NAME, lambda domain: domain["last_check"])
    assert (domain["status"], failing(domain)) == ("failed", {"postfix": ["backend_refused"]})


@pytest.mark.configured(domains={"fake_faults": ["check"]})
async def test_checks_away(user: Client) -> None:
    """Where the backend does not say how it is, the DNS is looked at all the same."""
    domain = await hosted(user, "town.dns.test")
    assert domain["status"] == "action_required"
    assert failing(domain) == {"mx": ["no_mx"], "postfix": ["backend_refused"]}


@pytest.mark.configured(domains={"fake_faults": ["repair"]})
async def test_repair_away(user: Client) -> None:
    """Where nothing can be repaired the fault itself is shown, too."""
    domain = await hosted(user, "town.broken.test")
    assert failing(domain) == {"cert": ["no_cert"], "postfix": ["backend_refused"]}
