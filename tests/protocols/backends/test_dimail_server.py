"""Asking a dimail server: signing in, repeating, and all that can go wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import jwt
import orjson
import pytest
from aiohttp.test_utils import unused_port
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import DimailSection
from gateway.errors import (
    ConfigurationError,
    Conflict,
    Deferred,
    Refused,
    RemoteError,
    SignInRefused,
    Unreachable,
    Untrusted,
)
from gateway.mailbox import Alias
from gateway.ports import system_clock
from protocols.backends.dimail import DimailBackend
from protocols.backends.dimail_server import end_of, reason_in
from tests.protocols.backends.conftest import Made, Pauses
from tests.protocols.backends.dimail_double import NAME, PASSWORD, DimailDouble, Page, cut, cut_short, say
from tests.protocols.backends.mail_backend import HOUR, a_domain, a_mailbox
from tests.protocols.scripted import GARBAGE, Scripted, drip, flood, hang, hear_something, send

pytestmark = pytest.mark.usefixtures("nothing_left")

DOMAIN = a_domain("bücher.example.org")
MAILBOX = a_mailbox(DOMAIN, "me/you")
ALIAS = Alias(DOMAIN.name, "info", "moi@bücher.example")


@dataclass(frozen=True)
class Call:
    """A call of the port: verb and end of the path of its request, whether it is repeated, how it is made."""

    verb: str
    end: str
    repeated: bool
    make: Callable[[DimailBackend], Awaitable[object]]


CALLS = [
    Call("POST", "/domains/", False, lambda backend: backend.add_domain(DOMAIN)),
    Call("GET", "/spec/", True, lambda backend: backend.records(DOMAIN)),
    Call("GET", "/check", True, lambda backend: backend.check(DOMAIN)),
    Call("GET", "/fix/", True, lambda backend: backend.repair(DOMAIN)),
    Call("POST", "/me/you", False, lambda backend: backend.add_mailbox(MAILBOX)),
    Call("GET", "/me/you", True, lambda backend: backend.withdraw_mailbox(a_mailbox(DOMAIN, "x/me/you"))),
    Call("PATCH", "/me/you", True, lambda backend: backend.change_mailbox(MAILBOX)),
    Call("DELETE", "/me/you", True, lambda backend: backend.delete_mailbox(MAILBOX)),
    Call("POST", "/reset_password/", False, lambda backend: backend.reset_password(MAILBOX)),
    Call("POST", "/code", False, lambda backend: backend.sign_in_code(MAILBOX, HOUR, 1)),
    Call("POST", "/aliases/", False, lambda backend: backend.add_alias(ALIAS)),
    Call("DELETE", "/info/moi@xn--bcher-kva.example", True, lambda backend: backend.delete_alias(ALIAS)),
    Call("POST", "/users/", False, lambda backend: backend.make_admin()),
]
every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.verb} {call.end}")


# -- signing in --------------------------------------------------------------------------------------------------


async def test_one_token(server: DimailDouble, backend: DimailBackend) -> None:
    """One token serves many calls, also those that come at once."""
    await backend.add_domain(DOMAIN)
    await asyncio.gather(*(backend.add_mailbox(a_mailbox(DOMAIN, f"m{number}")) for number in range(10)))
    assert server.requests.count("GET /token/") == 1


async def test_token_ends(made: Made) -> None:
    """A token is not used any more shortly before it ends."""
    now = datetime.now(UTC)
    async with DimailDouble() as server:
        backend = await made(server.url, lambda: now)
        await backend.add_domain(DOMAIN)
        for minutes, tokens in ((0, 1), (58, 1), (61, 2), (62, 2)):
            now = datetime.now(UTC) + timedelta(minutes=minutes)
            server.life = timedelta(minutes=minutes + 60)
            await backend.delete_mailbox(MAILBOX)
            assert server.requests.count("GET /token/") == tokens


@every_call
async def test_token_refused(server: DimailDouble, backend: DimailBackend, call: Call) -> None:
    """When the server takes a token no more, another is got and the call made again."""
    await backend.add_domain(DOMAIN)
    await backend.add_mailbox(MAILBOX)
    server.tokens.clear()
    with suppress(Conflict):  # of the mailbox that is there
        await call.make(backend)


async def test_token_refused_to_many(server: DimailDouble, backend: DimailBackend) -> None:
    """Many who find at once that a token is taken no more get one other."""
    await backend.add_domain(DOMAIN)
    await backend.add_mailbox(MAILBOX)
    server.tokens.clear()
    await asyncio.gather(*(backend.delete_mailbox(a_mailbox(DOMAIN, f"m{number}")) for number in range(10)))
    assert server.requests.count("GET /token/") == 2


async def test_token_refused_twice(server: DimailDouble, backend: DimailBackend) -> None:
    """A fresh token that is refused means that the account may not do that."""
    page = say(403, {"detail": "Permission denied"})
    server.answer_next("DELETE", "", page, page)
    with pytest.raises(SignInRefused, match="Permission denied"):
        await backend.delete_mailbox(MAILBOX)
    assert server.requests.count("GET /token/") == 2


@every_call
async def test_wrong_password(made: Made, call: Call) -> None:
    """A password that the server does not take is told, at once, without the password."""
    async with DimailDouble() as server:
        backend = await made(server.url, password="not the one")
        with pytest.raises(SignInRefused) as caught:
            await call.make(backend)
        assert caught.value.nothing_done
        assert "not the one" not in str(caught.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "token", ["opaque", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOiJzb29uIn0.x", "eyJhbGciOiJIUzI1NiJ9.W10.x"]
)
async def test_opaque_token(server: DimailDouble, backend: DimailBackend, token: str) -> None:
    """A token that does not tell its end is used until it is refused."""
    await backend.add_domain(DOMAIN)
    server.tokens.add(token)
    server.answer_next("GET", "/token/", say(200, {"access_token": token}))
    for _ in range(3):
        await backend.delete_mailbox(MAILBOX)
    assert server.requests.count("GET /token/") == 1
    server.tokens.clear()
    await backend.delete_mailbox(MAILBOX)
    assert server.requests.count("GET /token/") == 2


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "é", 7, None, "x" * 10_000])
async def test_no_token(server: DimailDouble, backend: DimailBackend, token: Any) -> None:
    """What can be no token is not sent, and the next call asks for another."""
    await backend.add_domain(DOMAIN)
    server.answer_next("GET", "/token/", say(200, {"access_token": token}))
    with pytest.raises(Unreachable) as caught:
        await backend.add_mailbox(MAILBOX)
    assert caught.value.nothing_done
    assert await backend.add_mailbox(MAILBOX)


# -- faults ------------------------------------------------------------------------------------------------------


PASSING: Mapping[str, tuple[Page, type[RemoteError]]] = {
    "500": (say(500), Deferred),
    "503": (say(503, "<html>later</html>"), Deferred),
    "429": (say(429, {"detail": "Too many"}), Deferred),
    "cut": (cut, Unreachable),
    "cut short": (cut_short, Unreachable),
    "garbage": (say(200, GARBAGE), Unreachable),
    "nothing": (say(200), Unreachable),
    "deep": (say(200, b"[" * 100_000), Unreachable),
    "huge": (say(200, b" " * 300_000), Unreachable),
    "HTML": (say(201, "<html>Welcome</html>", Content_Type="text/html"), Unreachable),
    "302": (say(302, Location="http://127.0.0.1/"), Unreachable),
    "307": (say(307, Location="http://127.0.0.1/"), Unreachable),
}


@every_call
@pytest.mark.parametrize("fault", PASSING)
async def test_passing_faults(
    server: DimailDouble, backend: DimailBackend, pauses: Pauses, call: Call, fault: str
) -> None:
    """A fault that may pass is temporary; what is idempotent, and nothing else, tried again, after pauses."""
    page, expected = PASSING[fault]
    server.answer_next(call.verb, call.end, *[page] * 8)  # aiohttp by itself asks twice where a connection breaks
    with pytest.raises(expected) as caught:
        await call.make(backend)
    assert caught.value.temporary
    assert caught.value.nothing_done == (fault == "429")
    assert pauses.noted == ([0.2, 0.5, 1.0] if call.repeated else [])
    assert call.repeated or len(server.script) == 7


@pytest.mark.parametrize("call", [call for call in CALLS if call.repeated], ids=lambda call: call.end)
@pytest.mark.parametrize("fault", ["503", "cut", "cut short"])
async def test_passed(server: DimailDouble, backend: DimailBackend, call: Call, fault: str) -> None:
    """What succeeds at a later try has succeeded."""
    await backend.add_domain(DOMAIN)
    await backend.add_mailbox(MAILBOX)
    server.answer_next(call.verb, call.end, *[PASSING[fault][0]] * 3)
    await call.make(backend)


@every_call
async def test_refused(server: DimailDouble, backend: DimailBackend, pauses: Pauses, call: Call) -> None:
    """A refusal is told with the server's reason, and is for good."""
    server.answer_next(call.verb, call.end, say(422, {"detail": "Not  like\nthis"}))
    with pytest.raises(Refused, match="422 Not like this") as caught:
        await call.make(backend)
    assert not caught.value.temporary
    assert not pauses.noted


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"detail": [{"msg": "Required", "input": {"password": "hidden"}}, {"msg": "Wrong"}]}, "Required; Wrong"),
        ({"detail": [{"input": "hidden"}]}, ""),
        ({"detail": {"hidden": 1}}, ""),
        (["hidden"], ""),
        ("<html>hidden</html>", ""),
        (GARBAGE, ""),
        ({"detail": f"for {PASSWORD}: no"}, "for ***: no"),
        ({"detail": aiohttp.encode_basic_auth(NAME, PASSWORD)}, "Basic ***"),
    ],
)  # fmt: skip
async def test_reasons(server: DimailDouble, backend: DimailBackend, body: Any, shown: str) -> None:
    """Of what the server says its reason alone is shown, and no secret that it may echo."""
    server.answer_next("GET", "/spec/", say(400, body))
    with pytest.raises(Refused) as caught:
        await backend.records(DOMAIN)
    assert str(caught.value) == f"127.0.0.1: 400 {shown}".rstrip()


async def test_echoed_token(server: DimailDouble, backend: DimailBackend) -> None:
    """A token that the server echoes is not shown, and a long reason is cut."""
    await backend.add_domain(DOMAIN)
    await backend.delete_mailbox(MAILBOX)
    (token,) = server.tokens
    server.answer_next("DELETE", "", say(400, {"detail": f"{token} " + "x" * 10_000}))
    with pytest.raises(Refused) as caught:
        await backend.delete_mailbox(MAILBOX)
    assert token not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("step", [hang, send(GARBAGE), flood(b"x" * 1000), drip(b"HTTP/1.1 200 OK\r\nX: y")])
async def test_foul_servers(made: Made, step: Any) -> None:
    """What speaks no HTTP, or no end of it, is left after the configured time."""
    async with Scripted([hear_something, step]) as server:
        backend = await made(f"http://127.0.0.1:{server.port}", timeout_s=0.3)
        with pytest.raises(Unreachable):
            await backend.add_domain(DOMAIN)


async def test_time_for_all_tries(made: Made) -> None:
    """The configured time is for a call with all its repetitions."""
    async with Scripted([hear_something, hang]) as server:
        backend = await made(f"http://127.0.0.1:{server.port}", timeout_s=0.3)
        with pytest.raises(Unreachable, match="in time"):
            await backend.records(DOMAIN)
        assert server.connections == 1


async def test_nobody_there(made: Made) -> None:
    """A server that is not there is told as such."""
    backend = await made(f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(Unreachable, match="refuses connections") as caught:
        await backend.records(DOMAIN)
    assert caught.value.nothing_done


async def test_tls(made: Made, server_tls: ssl.SSLContext) -> None:
    """Certificates of the configured authorities are trusted."""
    async with DimailDouble(server_tls) as server:
        backend = await made(server.url)
        await backend.add_domain(DOMAIN)
        assert server.domains


@pytest.mark.parametrize(("below", "path"), [("", ""), ("/", ""), ("/a b", "/a%20b"), ("/é/", "/%C3%A9")])
async def test_paths(server: DimailDouble, made: Made, below: str, path: str) -> None:
    """The server may be at any path."""
    backend = await made(server.url + below)
    server.answer_next("POST", "/domains/", say(201, {}))
    await backend.add_domain(DOMAIN)
    assert server.requests == [f"POST {path}/domains/"]


@pytest.mark.parametrize("url", ["http://a b", "http://ex..ample", "http://-", "http://x%zz", "http://127.0.0.1:0"])
async def test_no_such_host(made: Made, url: str) -> None:
    """A URL that leads nowhere is told as such."""
    backend = await made(url)
    with pytest.raises(Unreachable):
        await backend.add_domain(DOMAIN)


async def test_untrusted(pauses: Pauses, server_tls: ssl.SSLContext) -> None:
    """A server whose certificate does not verify learns nothing."""
    async with DimailDouble(server_tls) as server:
        settings = DimailSection(url=server.url, username=NAME, password=PASSWORD)
        async with DimailBackend(settings, ssl.create_default_context(), system_clock, pauses) as backend:
            with pytest.raises(Untrusted) as caught:
                await backend.add_domain(DOMAIN)
            assert caught.value.nothing_done
        assert not server.requests


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"url": ""}, "dimail.url"),
        ({"url": "https://me:secret@dimail.example"}, "dimail.url"),
        ({"username": ""}, "dimail.username"),
        ({"username": "a:b"}, "dimail.username"),
    ],
)
def test_configuration(client_tls: ssl.SSLContext, changes: dict[str, str], key: str) -> None:
    """What cannot work is told before it is tried, and names the key."""
    settings: dict[str, Any] = {"url": "https://dimail.example", "username": NAME, "password": PASSWORD}
    with pytest.raises(ConfigurationError, match=key) as caught:
        DimailBackend(DimailSection(**settings | changes), client_tls)
    assert "secret" not in str(caught.value)


# -- anything ----------------------------------------------------------------------------------------------------

DETAIL = st.text() | st.lists(st.text() | st.fixed_dictionaries({"msg": st.text() | st.none()})) | st.integers(0, 9)


def a_token(claims: dict[str, Any]) -> str:
    """Return a token with these claims."""
    return jwt.encode(claims, "k" * 32)


@given(st.binary() | st.fixed_dictionaries({"detail": DETAIL}).map(orjson.dumps))
def test_any_reason(content: bytes) -> None:
    """Whatever comes with a refusal has a reason, if only an empty one."""
    assert isinstance(reason_in(content), str)


@given(
    st.text() | st.dictionaries(st.just("exp"), st.integers() | st.floats() | st.text() | st.none()).map(a_token)
)
def test_any_token(token: str) -> None:
    """Whatever a token tells, it has an end."""
    assert end_of(token).tzinfo is UTC
