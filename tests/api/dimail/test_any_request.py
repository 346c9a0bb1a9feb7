"""Requests made up from the table of operations and the schemas of the dimail-compatible face."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import Schema

from api.dimail.accounts import NewAllowSchema, NewUserSchema, UserChangeSchema
from api.dimail.aliases import NewAliasSchema
from api.dimail.domains import DimailDomainSchema
from api.dimail.mailboxes import DimailMailboxChangeSchema, DimailMailboxSchema, NewCodeSchema
from tests.dimail import FEATURES, PASSWORD, PERMS, DimailClient

BODIES: Mapping[str, type[Schema]] = {
    "POST /users": NewUserSchema,
    "PATCH /users/{user}": UserChangeSchema,
    "POST /allows": NewAllowSchema,
    "POST /domains": DimailDomainSchema,
    "POST /domains/{name}/mailboxes/{user_name}": DimailMailboxSchema,
    "PATCH /domains/{name}/mailboxes/{user_name}": DimailMailboxChangeSchema,
    "POST /domains/{name}/mailboxes/{user_name}/code": NewCodeSchema,
    "POST /domains/{name}/aliases": NewAliasSchema,
}
UNMOVABLE = {"user_name", "domain"}
"""What a change of a mailbox must not name."""
BY_NAME = ("/token", "/users", "/allows", "/check", "/fix", "/spec")
"""In the operations that take name and password, not a token; the list of domains, and to host one, do as well."""

# Few of each, so that what one request has made another one finds.
USERS, DOMAINS = st.sampled_from(["ada", "bob"]), st.sampled_from(["a.ok.test", "bücher.ok.test"])
ADDRESSES, LOCAL_PARTS = st.sampled_from(["me@example.org", "all"]), st.sampled_from(["one", "Two", "{}%"])
FITTING: Mapping[str, st.SearchStrategy[Any]] = {
    "user": USERS,
    "name": DOMAINS,
    "domain": DOMAINS,
    "context_name": DOMAINS,
    "user_name": LOCAL_PARTS,
    "destination": ADDRESSES,
    "password": st.just(PASSWORD),
    "is_admin": st.booleans() | st.sampled_from(["true", "false"]),
    "perms": st.lists(st.sampled_from(PERMS)),
    "features": st.lists(st.sampled_from(FEATURES), min_size=1, unique=True),
    "delivery": st.just("virtual"),
    "active": st.sampled_from(["yes", "no"]),
    "expires_in": st.integers(1, 99),
    "maxuse": st.integers(1, 9),
}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=5)


def operations(client: DimailClient) -> list[str]:
    """Return the verbs and paths of the table."""
    routes = client.rest.http.app.router.routes()
    found = [f"{route.method} {route.resource.canonical}" for route in routes if route.resource]
    return [each.replace(" /dimail", " ") for each in found if " /dimail/" in each and not each.endswith("/")]


def fitting(operation: str, name: str) -> st.SearchStrategy[Any]:
    """Return values that a property, or part of the path, of that name may have."""
    return USERS if (operation, name) == ("POST /users", "name") else FITTING.get(name, WORDS)


@st.composite
def bodies(draw: st.DrawFn, operation: str) -> Any:
    """Return bodies for an operation: most fit its schema but for one property, some are anything."""
    names = list(BODIES[operation]().fields) if operation in BODIES else []
    needed = set(names) - (UNMOVABLE if operation.startswith("PATCH") else set())
    body = {name: draw(fitting(operation, name)) for name in names if name in needed}
    for name in draw(st.lists(st.sampled_from(names), max_size=1)) if names else []:
        body[name] = draw(ANYTHING)
        if draw(st.booleans()):
            del body[name]
    return body if draw(st.integers(0, 9)) else draw(ANYTHING)


async def ask(client: DimailClient, operation: str, data: st.DataObject) -> int:
    """Send a request to an operation; return the status. The client holds every answer against the contract."""
    verb, path = operation.split(" ")
    for name in ("user_name", "user", "name", "domain", "destination"):
        if f"{{{name}}}" in path:
            is_known = data.draw(st.integers(0, 4))
            word = data.draw(fitting(operation, name) if is_known else WORDS.filter(bool), name)
            path = path.replace(f"{{{name}}}", quote(word, safe=""))
    body = data.draw(bodies(operation), "body")
    query = data.draw(st.dictionaries(st.sampled_from(["user", "domain", "user_name"]), WORDS, max_size=2), "query")
    by_name = any(word in path for word in BY_NAME) or path == "/domains"
    reply = await (client.call if by_name else client.by_token)(verb, path, body, params=query)
    return reply.status


Answers = Counter[tuple[str, int]]


@pytest.fixture
async def manager(admin: DimailClient) -> DimailClient:
    """An administrator who has made some of what is asked for."""
    await admin.register("ada")
    await admin.host("a.ok.test")
    await admin.call("POST", "/allows/", {"user": "ada", "domain": "a.ok.test"})
    await admin.mailbox("a.ok.test", "one")
    return admin


@pytest.fixture
def answers(manager: DimailClient, figures: Callable[[str, object], None]) -> Iterator[Answers]:
    """How often each operation was answered with which status; each has been done at the end."""
    answers: Answers = Counter()
    yield answers
    figures("dimail operations tried, each of them done at least once", len(operations(manager)))
    figures("dimail requests answered", answers.total())
    assert {operation for operation, status in answers if status < 300} == set(operations(manager))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_any_request(manager: DimailClient, data: st.DataObject) -> None:
    """No request that can be made up meets a server error."""
    operation = data.draw(st.sampled_from(operations(manager)))
    assert await ask(manager, operation, data) < 500


@pytest.mark.torture
@settings(max_examples=4000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_many_requests(manager: DimailClient, answers: Answers, data: st.DataObject) -> None:
    """The same, many times."""
    operation = data.draw(st.sampled_from(operations(manager)))
    status = await ask(manager, operation, data)
    answers[operation, status] += 1
    assert status < 500
