"""Mailboxes over REST. The names of domains end as the fake backend knows them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest

from api.demo.provider import Provider
from gateway.roles import ALLOWED, OF_ONES_OWN, Action, Role
from storage.mongo import Mongo
from tests.client import PASSWORD, Client, Reply

DOMAINS = "/api/v2/domains"
NAME = "bücher.ok.test"
MAILBOXES = f"{DOMAINS}/{NAME}/mailboxes"
ME = f"{MAILBOXES}/me"
SECONDARY = "me@elsewhere.example"
NEW = {"local_part": "me", "first_name": "Ada", "last_name": "Grüße"}


@pytest.fixture
async def owner(api: Client) -> Client:
    """The owner of an enabled domain."""
    owner = await api.register("owner")
    await host(owner)
    return owner


async def host(owner: Client, name: str = NAME, **properties: Any) -> None:
    """Host a domain, and have it checked."""
    reply = await owner.post(DOMAINS, {"name": name, **properties})
    assert reply.status == 201, reply.json
    assert (await owner.post(f"{DOMAINS}/{name}/actions", {"actions": ["check"]})).status == 200


async def with_role(owner: Client, role: Role | None) -> Client:
    """Return another user, who has that role on the domain."""
    other = await owner.register(f"other-{uuid4().hex[:8]}")
    if role:
        body = {"user_id": other.user_id, "role": role.value}
        assert (await owner.post(f"{DOMAINS}/{NAME}/accesses", body)).status == 201
    return other


async def create(user: Client, **changes: Any) -> Any:
    """Create a mailbox; return it as it was answered."""
    reply = await user.post(MAILBOXES, NEW | changes)
    assert reply.status == 201, reply.json
    return reply.json


async def act(user: Client, action: str, path: str = ME) -> Reply:
    """Do something with a mailbox."""
    return await user.post(f"{path}/actions", {"actions": [action]})


async def until(user: Client, path: str, holds: Callable[[Any], Any]) -> Any:
    """Return what is there as soon as this holds for it."""
    async with asyncio.timeout(30):
        while True:
            found = (await user.get(path)).json
            if holds(found):
                return found
            await asyncio.sleep(0.02)


async def identities(user: Client) -> dict[str, str]:
    """Return the status of the user's local identities at the domain."""
    found = (await user.get("/api/v2/identities/locals")).json["local_identities"]
    return {each["identifier"]: each["status"] for each in found if each["identifier"].endswith(NAME)}


# -- creation ----------------------------------------------------------------------------------------------------


async def test_create(owner: Client) -> None:
    """On an enabled domain a mailbox is enabled at once, is shown whole, and its user has the identity."""
    reply = await owner.post(
        f"{DOMAINS}/XN--BCHER-KVA.ok.test/mailboxes",
        NEW | {"local_part": "Ada.L", "secondary_email": SECONDARY, "user_id": owner.user_id, "status": "x"},
    )
    shown = {
        "local_part": "ada.l",
        "email": f"ada.l@{NAME}",
        "first_name": "Ada",
        "last_name": "Grüße",
        "secondary_email": SECONDARY,
        "user_id": owner.user_id,
        "status": "enabled",
    }
    assert (reply.status, reply.json) == (201, shown)
    assert reply.headers["Location"] == f"{DOMAINS}/xn--bcher-kva.ok.test/mailboxes/ada.l"
    got = await owner.get(reply.headers["Location"])
    assert got.json == shown
    assert (await owner.get(f"{MAILBOXES}/ADA.L", headers={"If-None-Match": got.headers["ETag"]})).status == 304
    assert await identities(owner) == {f"ada.l@{NAME}": "active"}
    assert (await owner.post(MAILBOXES, NEW | {"local_part": "ADA.l"})).status == 409


async def test_minimal(owner: Client) -> None:
    """What is not given is null."""
    mailbox = await create(owner, secondary_email=None, user_id=None)
    assert (mailbox["secondary_email"], mailbox["user_id"]) == (None, None)


async def test_odd_local_parts(owner: Client) -> None:
    """Every character that a local part can have can stand in the path, percent-encoded."""
    for local_part in ("a/b", "{a}", "a%2fb", "a?b#c", "o'neil", "a+b", "a._.b"):
        reply = await owner.post(MAILBOXES, NEW | {"local_part": local_part})
        assert reply.json["email"] == f"{local_part}@{NAME}"
        path = reply.headers["Location"]
        assert (await owner.get(path)).json == reply.json
        assert (await act(owner, "disable", path)).json["status"] == "disabled"
        assert (await owner.call("DELETE", path)).status == 204


BAD: Sequence[tuple[dict[str, Any], str]] = [
    ({"local_part": "a b"}, "local_part"),
    ({"local_part": '"a b"'}, "local_part"),
    ({"local_part": "a..b"}, "local_part"),
    ({"local_part": "x" * 65}, "local_part"),
    ({"local_part": None}, "local_part"),
    ({"first_name": ""}, "first_name"),
    ({"first_name": " \t"}, "first_name"),
    ({"last_name": "a\r\nBcc: b"}, "last_name"),
    ({"last_name": "x" * 101}, "last_name"),
    ({"secondary_email": "nobody"}, "secondary_email"),
    ({"secondary_email": f"ME@{NAME}"}, "secondary_email"),
    ({"secondary_email": "me@xn--bcher-kva.ok.test"}, "secondary_email"),
    ({"user_id": "me"}, "user_id"),
    ({"user_id": "6f2b0a52-9f4e-4c9c-9e4e-0b3c1a5d7e11"}, "user_id"),
    ({"password": "secret"}, "password"),
]


async def test_bad_ones(owner: Client) -> None:
    """A bad property is 422, told by its name, and nothing is stored."""
    for change, field in BAD:
        reply = await owner.post(MAILBOXES, NEW | change)
        assert (reply.status, list(reply.json["errors"])) == (422, [field])
    assert (await owner.get(MAILBOXES)).json == {"total": 0, "mailboxes": []}


async def test_list(owner: Client) -> None:
    """The mailboxes are listed by local part, in pages."""
    for name in ("c", "a", "b"):
        await create(owner, local_part=name)
    page = (await owner.get(f"{MAILBOXES}?limit=2&offset=1")).json
    assert (page["total"], [each["local_part"] for each in page["mailboxes"]]) == (3, ["b", "c"])
    assert (await owner.get(f"{MAILBOXES}?limit=0")).status == 422


@pytest.mark.configured(domains={"fake_delay_s": 0.2})
async def test_waiting(user: Client) -> None:
    """Mailboxes of a domain whose first check goes on are all created when it is enabled."""
    assert (await user.post(DOMAINS, {"name": NAME})).status == 201
    await asyncio.gather(*(create(user, local_part=f"m{n}", user_id=user.user_id) for n in range(5)))
    found = await until(
        user, MAILBOXES, lambda found: all(each["status"] == "enabled" for each in found["mailboxes"])
    )
    assert found["total"] == 5
    assert await identities(user) == {f"m{n}@{NAME}": "active" for n in range(5)}


@pytest.mark.parametrize("name", ["town.dns.test", "town.broken.test"])
async def test_pending(owner: Client, name: str, mongo: Mongo) -> None:
    """On a domain whose checks fail a mailbox is pending, unknown to the backend, and no identity of its user."""
    await host(owner, name)
    path = f"{DOMAINS}/{name}/mailboxes"
    reply = await owner.post(path, NEW | {"user_id": owner.user_id, "secondary_email": SECONDARY})
    assert (reply.status, reply.json["status"]) == (201, "pending")
    assert await mongo.collection("fake_mailboxes").count_documents({}) == 0
    assert len((await owner.get("/api/v2/identities/locals")).json["local_identities"]) == 1
    for action, status in (("reset_password", 409), ("send_login_link", 409), ("enable", 200), ("disable", 200)):
        assert (await act(owner, action, f"{path}/me")).status == status
    assert (await owner.get(f"{path}/me")).json["status"] == "disabled"
    assert (await act(owner, "enable", f"{path}/me")).json["status"] == "pending"
    assert (await owner.call("DELETE", f"{path}/me")).status == 204


async def test_disabled_domain(owner: Client) -> None:
    """On a disabled domain nothing is created or enabled; what is there can be read, disabled and deleted."""
    await create(owner)
    assert (await owner.call("PATCH", f"{DOMAINS}/{NAME}", {"status": "disabled"})).status == 204
    assert (await owner.post(MAILBOXES, NEW | {"local_part": "you"})).status == 403
    assert (await owner.get(ME)).json["status"] == "enabled"
    assert (await act(owner, "disable")).json["status"] == "disabled"
    assert (await act(owner, "enable")).status == 403
    assert (await owner.call("DELETE", ME)).status == 204


async def test_no_mailboxes_there(owner: Client) -> None:
    """A domain without the feature mailbox has none: 422."""
    await host(owner, "other.ok.test", features=["alias"])
    assert (await owner.post(f"{DOMAINS}/other.ok.test/mailboxes", NEW)).status == 422


@pytest.mark.configured(domains={"fake_faults": ["add_mailbox"]})
async def test_refused_by_the_backend(owner: Client) -> None:
    """What the backend refuses is 424, and nothing is stored."""
    reply = await owner.post(MAILBOXES, NEW)
    assert (reply.status, "told to refuse" in reply.json["detail"]) == (424, True)
    assert (await owner.get(ME)).status == 404


@pytest.mark.configured(domains={"fake_faults": ["change_mailbox", "delete_mailbox", "reset_password"]})
async def test_other_refusals(owner: Client) -> None:
    """What the backend refuses later is 424, and nothing is changed."""
    before = await create(owner, secondary_email=SECONDARY)
    assert (await owner.call("PATCH", ME, {"first_name": "Eve"})).status == 424
    assert (await owner.call("DELETE", ME)).status == 424
    for action in ("disable", "reset_password"):
        assert (await act(owner, action)).status == 424
    assert (await owner.get(ME)).json == before


# -- changes -----------------------------------------------------------------------------------------------------


async def test_change(owner: Client) -> None:
    """A merge patch changes names, secondary address and user; null removes these two."""
    await create(owner)
    patch = {"first_name": "Eve", "secondary_email": SECONDARY, "user_id": owner.user_id, "local_part": "ME"}
    reply = await owner.call("PATCH", ME, patch | {"status": "disabled", "email": "x"})
    assert (reply.status, reply.content) == (204, b"")
    mailbox = (await owner.get(ME)).json
    assert {key: mailbox[key] for key in patch} == patch | {"local_part": "me"}
    assert mailbox["status"] == "enabled"
    assert await identities(owner) == {f"me@{NAME}": "active"}
    assert (await owner.call("PATCH", ME, {"secondary_email": None, "user_id": None})).status == 204
    assert ((await owner.get(ME)).json["secondary_email"], await identities(owner)) == (None, {})


async def test_refused_changes(owner: Client) -> None:
    """Rules broken are 422, another local part 403, another state than the stored one 409 or 412."""
    before = await create(owner)
    for patch, status in (
        ({"first_name": None}, 422),
        ({"last_name": ""}, 422),
        ({"user_id": str(uuid4())}, 422),
        ({"secondary_email": f"me@{NAME}"}, 422),
        ({"colour": "red"}, 422),
        ({"local_part": "you"}, 403),
        ({"first_name": "Eve", "current_state": {"first_name": "Eva"}}, 409),
        ({"secondary_email": SECONDARY, "current_state": {"secondary_email": "x@elsewhere.example"}}, 409),
    ):
        assert (await owner.call("PATCH", ME, patch)).status == status
    for verb, body in (("PATCH", {"first_name": "Eve"}), ("DELETE", None)):
        assert (await owner.call(verb, ME, body, headers={"If-Match": '"other"'})).status == 412
    assert (await owner.get(ME)).json == before


async def test_current_state(owner: Client) -> None:
    """Of changes at once with the same current_state exactly one wins."""
    await create(owner)
    replies = await asyncio.gather(
        *(
            owner.call("PATCH", ME, {"first_name": f"E{n}", "current_state": {"first_name": "Ada"}})
            for n in range(5)
        )
    )
    assert sorted(reply.status for reply in replies) == [204, 409, 409, 409, 409]


async def test_if_match(owner: Client) -> None:
    """Who names the version that is stored changes and deletes it."""
    await create(owner)
    for verb, body in (("PATCH", {"first_name": "Eve"}), ("DELETE", None)):
        tag = (await owner.get(ME)).headers["ETag"]
        assert (await owner.call(verb, ME, body, headers={"If-Match": tag})).status == 204


# -- actions -----------------------------------------------------------------------------------------------------


async def test_orders_of_a_disabled_mailbox(owner: Client, mongo: Mongo, provider: Provider) -> None:
    """What was ordered before the mailbox was disabled does not go out afterwards, and the user is told why."""
    other = await with_role(owner, None)
    await create(owner, user_id=other.user_id)
    locals_ = (await other.get("/api/v2/identities/locals")).json["local_identities"]
    (identity_id,) = [each["identity_id"] for each in locals_ if each["identifier"] == f"me@{NAME}"]
    message_id = await other.draft(identity_id)
    assert (await other.send(message_id, send_at="2099-01-01T00:00:00Z")).status == 202
    await act(owner, "disable")
    await mongo.collection("messages").update_many({}, {"$currentDate": {"delivery.due_at": True}})
    message = await until(other, f"/api/v1/messages/{message_id}", lambda each: each["is_draft"])
    assert message["delivery"]["state"] == "failed"
    assert "inactive" in message["delivery"]["last_error"]
    assert not provider.received


async def test_disable_enable_delete(owner: Client, mongo: Mongo) -> None:
    """The backend and the user's identity follow the mailbox."""
    other = await with_role(owner, None)
    await create(owner, user_id=other.user_id)
    for action, status, identity in (
        ("disable", "disabled", "inactive"),
        ("disable", "disabled", "inactive"),
        ("enable", "enabled", "active"),
        ("enable", "enabled", "active"),
    ):
        reply = await act(owner, action)
        assert (reply.status, reply.json["status"]) == (200, status)
        kept = await mongo.collection("fake_mailboxes").find_one({"_id": f"me@{NAME}"}) or {}
        assert kept["active"] is (status == "enabled")
        assert await identities(other) == {f"me@{NAME}": identity}
    reply = await owner.call("DELETE", ME)
    assert (reply.status, reply.content) == (204, b"")
    assert await identities(other) == {}
    assert await mongo.collection("fake_mailboxes").count_documents({}) == 0
    for verb in ("GET", "DELETE"):
        assert (await owner.call(verb, ME)).status == 404


async def test_links(owner: Client) -> None:
    """A sign-in link goes to the secondary address; where there is none it is 422, where it is disabled 409."""
    await create(owner)
    links = ("reset_password", "send_login_link")
    assert [(await act(owner, action)).status for action in links] == [422, 422]
    await owner.call("PATCH", ME, {"secondary_email": SECONDARY})
    replies = [await act(owner, action) for action in links]
    assert [(reply.status, reply.json["status"]) for reply in replies] == [(200, "enabled")] * 2
    await act(owner, "disable")
    assert [(await act(owner, action)).status for action in links] == [409, 409]


async def test_too_many_links(owner: Client) -> None:
    """A mailbox cannot be made to flood its secondary address: 429."""
    await create(owner, secondary_email=SECONDARY)
    replies = await asyncio.gather(*(act(owner, "send_login_link") for _ in range(12)))
    assert sorted(reply.status for reply in replies) == [200] * 10 + [429] * 2
    assert (await act(owner, "reset_password")).headers["Retry-After"]


async def test_bad_actions(owner: Client) -> None:
    """Anything but one known action is 422."""
    await create(owner)
    for actions in ([], ["dance"], ["enable", "disable"], "enable", None):
        assert (await owner.post(f"{ME}/actions", {"actions": actions})).status == 422
    assert (await owner.post(f"{ME}/actions", {})).status == 422


# -- who may -----------------------------------------------------------------------------------------------------

REQUESTS: dict[Action, tuple[str, str, Any]] = {
    Action.SEE_MAILBOXES: ("GET", ME, None),
    Action.CREATE_MAILBOX: ("POST", MAILBOXES, NEW | {"local_part": "you"}),
    Action.CHANGE_MAILBOX: ("PATCH", ME, {"first_name": "Eve"}),
    Action.DISABLE_MAILBOX: ("POST", f"{ME}/actions", {"actions": ["disable"]}),
    Action.ENABLE_MAILBOX: ("POST", f"{ME}/actions", {"actions": ["enable"]}),
    Action.RESET_PASSWORD: ("POST", f"{ME}/actions", {"actions": ["reset_password"]}),
    Action.SEND_LOGIN_LINK: ("POST", f"{ME}/actions", {"actions": ["send_login_link"]}),
    Action.DELETE_MAILBOX: ("DELETE", ME, None),
}


@pytest.mark.parametrize("ones_own", [True, False])
@pytest.mark.parametrize("role", [None, *Role])
async def test_who_may(owner: Client, role: Role | None, *, ones_own: bool) -> None:
    """Each role may what the table says, and a user some things with his own mailbox; without one it is 404."""
    other = await with_role(owner, role)
    await create(owner, secondary_email=SECONDARY, user_id=other.user_id if ones_own else None)
    for action, (verb, path, body) in REQUESTS.items():
        reply = await other.call(verb, path, body)
        if role is None:
            assert reply.status == 404
        elif role.rank >= ALLOWED[action].rank or (ones_own and action in OF_ONES_OWN):
            assert reply.status in (200, 201, 204), action
        else:
            assert reply.status == 403, action


async def test_ones_own(owner: Client) -> None:
    """Whose a mailbox is takes a role to change, also for the user whose it is; to send its own user_id is fine."""
    viewer = await with_role(owner, Role.VIEWER)
    await create(owner, user_id=viewer.user_id)
    for user_id in (None, owner.user_id):
        assert (await viewer.call("PATCH", ME, {"user_id": user_id})).status == 403
    patch = {"first_name": "Eve", "last_name": "X", "secondary_email": SECONDARY, "user_id": viewer.user_id}
    assert (await viewer.call("PATCH", ME, patch)).status == 204
    await create(owner, local_part="you")
    assert (await viewer.call("PATCH", f"{MAILBOXES}/you", {"user_id": viewer.user_id})).status == 403
    assert (await owner.call("PATCH", ME, {"user_id": None})).status == 204
    assert (await viewer.call("PATCH", ME, {"first_name": "Eva"})).status == 403


async def test_order_of_faults(owner: Client) -> None:
    """Without a role everything is 404; with too low a one, what breaks a rule is told first."""
    viewer, nobody = await with_role(owner, Role.VIEWER), await with_role(owner, None)
    await create(owner)
    for body in ({"colour": "red"}, NEW, NEW | {"user_id": str(uuid4())}):
        assert (await nobody.post(MAILBOXES, body)).status in (404, 422)
    assert (await nobody.post(MAILBOXES, {"colour": "red"})).status == 404
    assert (await nobody.call("PATCH", ME, {"colour": "red"})).status == 404
    for change, status in (({"user_id": str(uuid4())}, 422), ({}, 403)):
        assert (await viewer.post(MAILBOXES, NEW | change)).status == status
        assert (await viewer.call("PATCH", ME, {"first_name": "Eve"} | change)).status == status


async def test_unknown(owner: Client) -> None:
    """A mailbox that is not there, and what is no local part, is 404 in every way."""
    await create(owner, local_part="k")
    for local_part in ("x", "a%20b", "a..b", "%00", "%FF", "x" * 100, "%E2%84%AA"):
        path = f"{MAILBOXES}/{local_part}"
        for verb, body in (("GET", None), ("PATCH", {"first_name": "Eve"}), ("DELETE", None)):
            assert (await owner.call(verb, path, body)).status == 404
        assert (await act(owner, "dance", path)).status == 404
    for name in ("no.ok.test", "nonsense", "co.uk", "%00"):
        assert (await owner.get(f"{DOMAINS}/{name}/mailboxes")).status == 404


async def test_user_leaves(owner: Client) -> None:
    """When its user's account is deleted a mailbox stays, and is nobody's."""
    other = await with_role(owner, None)
    await create(owner, user_id=other.user_id)
    reply = await other.call("DELETE", f"/api/v2/users/{other.user_id}", {"password": PASSWORD})
    assert reply.status == 204
    assert (await owner.get(ME)).json["user_id"] is None
    assert (await act(owner, "disable")).json["status"] == "disabled"
