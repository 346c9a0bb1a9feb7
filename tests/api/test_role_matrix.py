"""Who may do what on a domain: every action and every change of a role, asked for by everybody.

Driven by the table in ``gateway/roles.py``, so an action that has no request here fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from gateway.roles import ALLOWED, CHANGES, OF_ONES_OWN, Action, Role
from tests.client import Client, Reply
from tests.conftest import FRIEND

DOMAIN = "/api/v2/domains/matrix.ok.test"
EVERYBODY: Sequence[Role | None] = (None, *Role)
People = Mapping[Role | None, Client]


@dataclass(frozen=True)
class Request:
    """What somebody asks for; ``given`` is what the owner asks for before.

    In path and body {who} is the role of who asks, {user_id} who that is, and {id} is what was given last.
    """

    verb: str
    path: str
    body: Any = None
    status: int = 200
    given: Sequence[Request] = ()


def _act(action: str) -> dict[str, Any]:
    return {"actions": [action]}


_INVITE = Request("POST", "/invitations", {"email": "{who}@elsewhere.example", "role": "viewer"}, 201)
_BOX = "/mailboxes/box-{who}"
_CREATE = Request(
    "POST",
    "/mailboxes",
    {"local_part": "box-{who}", "first_name": "A", "last_name": "B", "secondary_email": FRIEND.address},
    201,
)
_CREATE_ONES_OWN = Request("POST", "/mailboxes", {**_CREATE.body, "user_id": "{user_id}"}, 201)
_DISABLE = Request("POST", f"{_BOX}/actions", _act("disable"))
_ALIAS = Request("POST", "/aliases", {"local_part": "alias-{who}", "destination": FRIEND.address}, 201)

REQUESTS: Mapping[Action, Sequence[Request]] = {
    Action.SEE_DOMAIN: [Request("GET", "")],
    Action.SEE_ACCESSES: [Request("GET", "/accesses")],
    Action.SEE_MAILBOXES: [Request("GET", "/mailboxes"), Request("GET", _BOX, given=[_CREATE])],
    Action.SEE_ALIASES: [Request("GET", "/aliases")],
    Action.CHECK: [Request("POST", "/actions", _act("check"))],
    Action.CHANGE_DOMAIN: [
        Request("PATCH", "", {"features": ["mailbox", "alias"]}, 204),
        Request("PATCH", "", {"status": "disabled"}, 204),
    ],
    Action.SEE_INVITATIONS: [Request("GET", "/invitations")],
    Action.REVOKE_INVITATION: [Request("DELETE", "/invitations/{id}", None, 204, given=[_INVITE])],
    Action.CREATE_MAILBOX: [_CREATE],
    Action.CHANGE_MAILBOX: [
        Request("PATCH", _BOX, {"first_name": "Eve"}, 204, given=[_CREATE]),
        Request("PATCH", _BOX, {"secondary_email": None}, 204),
    ],
    Action.DELETE_MAILBOX: [Request("DELETE", _BOX, None, 204, given=[_CREATE])],
    Action.DISABLE_MAILBOX: [Request("POST", f"{_BOX}/actions", _act("disable"), given=[_CREATE])],
    Action.ENABLE_MAILBOX: [Request("POST", f"{_BOX}/actions", _act("enable"), given=[_CREATE, _DISABLE])],
    Action.RESET_PASSWORD: [Request("POST", f"{_BOX}/actions", _act("reset_password"), given=[_CREATE])],
    Action.SEND_LOGIN_LINK: [Request("POST", f"{_BOX}/actions", _act("send_login_link"), given=[_CREATE])],
    Action.CREATE_ALIAS: [_ALIAS],
    Action.DELETE_ALIAS: [
        Request("DELETE", f"/aliases/alias-{{who}}/{FRIEND.address}", None, 204, given=[_ALIAS]),
    ],
}
TO_A_MAILBOX = [action for action, requests in REQUESTS.items() if requests[0].given[:1] == [_CREATE]]


@pytest.fixture
async def people(api: Client) -> People:
    """Somebody of every role on an enabled domain, and somebody without."""
    people: People = {role: await api.register(f"some-{role or 'body'}") for role in EVERYBODY}
    owner = people[Role.OWNER]
    assert (await owner.post("/api/v2/domains", {"name": "matrix.ok.test"})).status == 201
    assert (await owner.post(f"{DOMAIN}/actions", _act("check"))).json["status"] == "enabled"
    for role in (Role.VIEWER, Role.ADMINISTRATOR):
        assert (await set_role(owner, people[role], None, role)).status == 201
    return people


async def ask(client: Client, request: Request, **names: str) -> Reply:
    """Send a request."""
    text = orjson.dumps([request.path, request.body]).decode()
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    path, body = orjson.loads(text)
    return await client.call(request.verb, f"{DOMAIN}{path}", body)


async def outcome(people: People, role: Role | None, request: Request, given: Sequence[Request]) -> int:
    """Return the status that somebody gets for a request."""
    names = {"who": str(role), "user_id": people[role].user_id}
    for each in given:
        reply = await ask(people[Role.OWNER], each, **names)
        assert reply.status == each.status, reply.json
        names["id"] = reply.json.get("id", "")
    return (await ask(people[role], request, **names)).status


def expected(role: Role | None, lowest: Role, status: int) -> int:
    """Return the status that somebody of the role shall get for what takes the lowest role."""
    if role is None:
        return 404
    return status if role.rank >= lowest.rank else 403


async def set_role(by: Client, target: Client, before: Role | None, after: Role | None) -> Reply:
    """Ask for a change of somebody's role."""
    one = f"{DOMAIN}/accesses/{target.user_id}"
    if before is None:
        return await by.post(f"{DOMAIN}/accesses", {"user_id": target.user_id, "role": after})
    if after is None:
        return await by.call("DELETE", one)
    return await by.call("PATCH", one, {"role": after})


async def role_of(client: Client) -> str | None:
    """Return the client's role."""
    reply = await client.get(DOMAIN)
    return reply.json["role"] if reply.status == 200 else None


def test_tables() -> None:
    """Every action has a lowest role and requests; every change of a role has a lowest role."""
    assert REQUESTS.keys() == ALLOWED.keys() == set(Action)
    assert CHANGES.keys() == {(before, after) for before in EVERYBODY for after in EVERYBODY if before != after}
    assert set(TO_A_MAILBOX) > OF_ONES_OWN


@pytest.mark.parametrize("action", list(Action))
async def test_action(people: People, action: Action) -> None:
    """Who has no role is told of nothing; who has too low a one is refused; who has it does it."""
    for role in EVERYBODY:
        for request in REQUESTS[action]:
            status = await outcome(people, role, request, request.given)
            assert status == expected(role, ALLOWED[action], request.status), (role, request)


@pytest.mark.parametrize("action", TO_A_MAILBOX)
async def test_ones_own_mailbox(people: People, action: Action) -> None:
    """Whose own mailbox it is does some of that with any role; a role it takes all the same."""
    lowest = Role.VIEWER if action in OF_ONES_OWN else ALLOWED[action]
    for role in EVERYBODY:
        for request in REQUESTS[action]:
            given = [_CREATE_ONES_OWN if each is _CREATE else each for each in request.given]
            status = await outcome(people, role, request, given)
            assert status == expected(role, lowest, request.status), (role, request)


@pytest.mark.parametrize(("before", "after"), list(CHANGES))
async def test_change_of_a_role(api: Client, people: People, before: Role | None, after: Role | None) -> None:
    """Who may change somebody's role does so; for others it stays as it is."""
    target, owner = await api.register("target"), people[Role.OWNER]
    lowest, status = CHANGES[before, after], 201 if before is None else 204
    for role in EVERYBODY:
        if before:
            assert (await set_role(owner, target, None, before)).status == 201
        reply = await set_role(people[role], target, before, after)
        assert reply.status == expected(role, lowest, status), role
        present = after if reply.status == status else before
        assert await role_of(target) == present
        if present:
            assert (await set_role(owner, target, present, None)).status == 204


@pytest.mark.parametrize("invited", list(Role))
async def test_invitation(people: People, invited: Role) -> None:
    """Who may give a role may invite to it."""
    for role in EVERYBODY:
        request = Request("POST", "/invitations", {"email": "{who}@elsewhere.example", "role": invited}, 201)
        assert await outcome(people, role, request, ()) == expected(role, CHANGES[None, invited], 201), role


async def test_ones_own_role(api: Client, people: People) -> None:
    """Everybody may give up his own role, while an owner is left."""
    assert (await set_role(people[Role.OWNER], await api.register("second"), None, Role.OWNER)).status == 201
    for role in EVERYBODY:
        client = people[role]
        assert (await set_role(client, client, role or Role.VIEWER, None)).status == (204 if role else 404)
        assert await role_of(client) is None
