"""The mail backend that asks a dimail server, held against one on loopback, fair and foul."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import DomainCheck, Fault
from gateway.errors import (
    Conflict,
    Refused,
    SignInRefused,
    Unreachable,
)
from gateway.mailbox import Alias, MailboxStatus
from protocols.backends.dimail import DimailBackend, checks_in, records_in
from tests.protocols.backends.conftest import Made
from tests.protocols.backends.dimail_double import NAME, PASSWORD, DimailDouble, cut, say
from tests.protocols.backends.mail_backend import HOUR, MailBackendContract, a_domain, a_mailbox

pytestmark = pytest.mark.usefixtures("nothing_left")

DOMAIN = a_domain("bücher.example.org")
MAILBOX = a_mailbox(DOMAIN, "me/you")
ALIAS = Alias(DOMAIN.name, "info", "moi@bücher.example")
ON_WIRE = "/domains/xn--bcher-kva.example.org"


class TestDimail(MailBackendContract):
    """It keeps to the contract."""


# -- what goes over the wire -------------------------------------------------------------------------------------


async def test_domain_on_the_wire(server: DimailDouble, backend: DimailBackend) -> None:
    """A domain is told with its features and its context, in A-labels; what is there already is compared."""
    await backend.add_domain(DOMAIN)
    (kept,) = server.domains.values()
    assert kept == {
        "name": "xn--bcher-kva.example.org",
        "context_name": "xn--bcher-kva.example.org",
        "features": ["mailbox", "webmail", "alias"],
        "delivery": "virtual",
    }
    kept["context_name"] = None  # as dimail tells it of a domain without webmail
    await backend.add_domain(DOMAIN)
    assert server.requests == ["POST /domains/", "POST /domains/", "GET /token/", f"GET {ON_WIRE}"]


async def test_mailbox_on_the_wire(server: DimailDouble, backend: DimailBackend) -> None:
    """A mailbox is told with its names; in paths they are quoted; whether it is in use is a word."""
    await backend.add_domain(DOMAIN)
    await backend.add_mailbox(MAILBOX)
    names = {"givenName": "Zoë", "surName": "O'Neil", "displayName": "Zoë O'Neil"}
    path = f"{ON_WIRE}/mailboxes/me%2Fyou"
    assert (server.requests[-1], server.bodies[-1]) == (f"POST {path}", names)
    await backend.change_mailbox(MAILBOX)
    assert (server.requests[-1], server.bodies[-1]) == (f"PATCH {path}", names | {"active": "yes"})
    await backend.change_mailbox(replace(MAILBOX, status=MailboxStatus.DISABLED))
    assert server.bodies[-1]["active"] == "no"
    await backend.sign_in_code(MAILBOX, HOUR, 3)
    assert (server.requests[-1], server.bodies[-1]) == (f"POST {path}/code", {"expires_in": 3600, "maxuse": 3})


async def test_alias_on_the_wire(server: DimailDouble, backend: DimailBackend) -> None:
    """The destination of an alias is in A-labels, too."""
    await backend.add_domain(DOMAIN)
    await backend.add_alias(ALIAS)
    assert server.bodies[-1] == {"user_name": "info", "destination": "moi@xn--bcher-kva.example"}
    await backend.delete_alias(ALIAS)
    assert server.requests[-1] == f"DELETE {ON_WIRE}/aliases/info/moi%40xn--bcher-kva.example"
    assert not server.aliases


async def test_something_in_the_way(server: DimailDouble, backend: DimailBackend) -> None:
    """A conflict over a domain that is not there afterwards is a refusal, with the server's reason."""
    server.answer_next("POST", "/domains/", say(409, {"detail": "The domain is mapped to context zoo"}))
    with pytest.raises(Refused, match="mapped to context zoo"):
        await backend.add_domain(DOMAIN)


async def test_somebody_elses(server: DimailDouble, backend: DimailBackend) -> None:
    """A domain of another client of the server is not taken over."""
    await backend.add_domain(DOMAIN)
    page = say(401, {"detail": "Not authorized."})
    server.answer_next("GET", ON_WIRE, page, page)
    with pytest.raises(SignInRefused, match="Not authorized"):
        await backend.add_domain(DOMAIN)


async def test_has_domain(server: DimailDouble, backend: DimailBackend) -> None:
    """A domain is there also where the server names no context of it; one of another client is nobody's to have."""
    await backend.add_domain(DOMAIN)
    server.domains[DOMAIN.ascii_name]["context_name"] = None
    assert await backend.has_domain(DOMAIN.name)
    assert server.requests[-1] == f"GET {ON_WIRE}"
    page = say(401, {"detail": "Not authorized."})
    server.answer_next("GET", ON_WIRE, page, page)
    with pytest.raises(SignInRefused, match="Not authorized"):
        await backend.has_domain(DOMAIN.name)


async def test_checks(server: DimailDouble, backend: DimailBackend) -> None:
    """Of the server's checks the internal ones are taken, with what is wrong."""
    fault = {"code": "no_cert", "detail": "No\tcertificate"}
    server.answer_next("GET", "/check", say(200, {
        "name": "bücher.example.org", "state": "broken",
        "mx": {"ok": False, "internal": False, "errors": [fault]},
        "postfix": {"ok": True, "internal": True, "errors": []},
        "ox": {"ok": False, "internal": True, "errors": []},
        "cert": {"ok": False, "internal": True, "errors": [fault, fault]},
    }))  # fmt: skip
    checks = await backend.check(DOMAIN)
    assert set(checks) == {"postfix", "ox", "cert"}
    assert checks["postfix"] == DomainCheck(internal=True)
    assert len(checks["ox"].faults) == 1
    assert checks["cert"].faults == (Fault("no_cert", "No certificate"),) * 2


async def test_repaired_by_the_server(server: DimailDouble, backend: DimailBackend) -> None:
    """A domain that the server knows is mended there."""
    await backend.add_domain(DOMAIN)
    await backend.repair(DOMAIN)
    assert server.requests[1:] == [f"GET {ON_WIRE}/fix/"]


async def test_make_admin(made: Made) -> None:
    """The first administrator is made at a server that has nobody; again, or when somebody else has, is no harm."""
    async with DimailDouble() as server:
        server.users.clear()
        backend = await made(server.url)
        await backend.make_admin()
        await backend.make_admin()
        assert server.users == {NAME: PASSWORD}
        assert server.bodies[0] == {"name": NAME, "password": PASSWORD, "is_admin": True, "perms": []}
        await backend.add_domain(DOMAIN)


async def test_lost_answer(server: DimailDouble, backend: DimailBackend) -> None:
    """Whether a mailbox whose creation was answered into the void is this one, or another's, nobody can tell."""
    await backend.add_domain(DOMAIN)
    server.answer_next("POST", "/me/you", cut)
    with pytest.raises(Unreachable) as caught:
        await backend.add_mailbox(MAILBOX)
    assert not caught.value.nothing_done
    await backend.withdraw_mailbox(MAILBOX)
    server.mailboxes[DOMAIN.ascii_name, MAILBOX.local_part] = {}
    for ask in (backend.add_mailbox, backend.withdraw_mailbox):
        with pytest.raises(Conflict, match=r"me/you@bücher\.example\.org already"):
            await ask(MAILBOX)
    assert not any(request.startswith("DELETE") for request in server.requests)


# -- anything ----------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def some(**keys: Any) -> st.SearchStrategy[Any]:
    """Return mappings with some of these keys, and anything else."""
    return JSON | st.fixed_dictionaries({}, optional=keys)


CHECK = some(ok=JSON, internal=JSON, errors=JSON | st.lists(some(code=JSON, detail=JSON), max_size=2))


@given(some(postfix=CHECK, ox=CHECK, cert=CHECK, mx=CHECK))
def test_any_checks(content: Any) -> None:
    """Whatever the server says of its checks is understood, with a fault where one fails, or told as nonsense."""
    try:
        checks = checks_in(content)
    except Unreachable:
        return
    assert set(checks) <= {"postfix", "ox", "cert"}
    assert all(check.ok is content[name]["ok"] and check.internal for name, check in checks.items())


@given(JSON | st.lists(some(target=JSON, type=JSON, value=JSON), max_size=3))
def test_any_records(content: Any) -> None:
    """Whatever the server lists are records, or it is told as nonsense."""
    try:
        records = records_in(content)
    except Unreachable:
        return
    assert all(isinstance(text, str) for record in records for text in (record.target, record.type, record.value))
