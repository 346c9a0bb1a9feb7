"""The gateway as a process: it starts, stops, dies and comes back, on its embedded database."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.demo.provider import Provider
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.client import PASSWORD, draft
from tests.conftest import FRIEND
from tests.e2e.conftest import Site, mail_gateway

NewSite = Callable[..., Site]


async def call(url: str, body: Any = None, token: str = "") -> Any:
    """Speak to a gateway; return status and JSON."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    verb = "GET" if body is None else "POST"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(verb, url, json=body) as response,
    ):
        return response.status, await response.json(content_type=None)


async def signed_in(site: Site) -> str:
    """Return an access token, of a user who is registered where there is none."""
    body = {"username": "someone", "password": PASSWORD}
    await call(f"{site.url}/api/v1/users", body)
    status, answer = await call(f"{site.url}/api/v1/authentications", body)
    assert status == 200
    token: str = answer["tokens"]["access_token"]
    return token


async def ordered(site: Site, token: str, recipient: str = FRIEND.address) -> tuple[int, str]:
    """Order a message of the local identity; return status and message_id."""
    _, identities = await call(f"{site.url}/api/v2/identities/locals", token=token)
    body = draft(identities["local_identities"][0]["identity_id"], recipient)
    _, created = await call(f"{site.url}/api/v1/messages", body, token)
    status, _ = await call(f"{site.url}{created['location']}/actions", {"actions": ["send"]}, token)
    return status, created["message_id"]


def relay(port: int, wait_s: int = 0) -> str:
    """Return configuration lines for a relay on loopback, by default without a wait for the outcome."""
    return f"""
    [relay]
    host = "127.0.0.1"
    port = {port}
    tls = "none"
    [delivery]
    wait_s = {wait_s}
    """


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Run a server that says nothing; yields its port and an event that its first client sets."""
    met, writers = asyncio.Event(), []

    def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        met.set()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], met
    for writer in writers:
        writer.close()
    server.close()


def mongod_of(site: Site) -> int | None:
    """Return the pid of the mongod that works on the site's data, found by its working directory."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if process.joinpath("cwd").readlink() == site.data / "mongodb":
                    return int(process.name)
            except OSError:
                continue
    return None


async def gone(site: Site) -> None:
    """Return when no mongod works on the site's data any more."""
    async with asyncio.timeout(30):
        while mongod_of(site):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_clean_stop(new_site: NewSite, number: int) -> None:
    """Ctrl-C and SIGTERM end gateway and database in time with exit code 0; the next start has the data."""
    site = new_site("")
    async with site.running() as process:
        token = await signed_in(site)
        assert mongod_of(site)
        assert await process.stop(number) == 0
        assert mongod_of(site) is None
        assert [event["event"] for event in process.events()][-1] == "stopping"
        (ready,) = [event for event in process.events() if event["event"] == "ready"]
        assert (ready["url"], ready["data_dir"]) == (site.url, str(site.data))
    async with site.running():
        assert (await call(f"{site.url}/api/v1/me", token=token))[1]["username"] == "someone"


async def test_killed_gateway(new_site: NewSite) -> None:
    """A killed gateway leaves no mongod behind, and the next one has what clients were told of."""
    site = new_site(relay(1))
    async with site.running() as process:
        token = await signed_in(site)
        status, message_id = await ordered(site, token)
        assert status == 202
        await process.stop(signal.SIGKILL)
    await gone(site)
    async with site.running():
        status, message = await call(f"{site.url}/api/v1/messages/{message_id}", token=token)
        assert (status, message["delivery"]["state"] in {"queued", "sending"}) == (200, True)


async def test_killed_database(new_site: NewSite) -> None:
    """A killed mongod is started again; the gateway goes on by itself with what was stored."""
    site = new_site("")
    async with site.running() as process:
        token = await signed_in(site)
        first = mongod_of(site)
        assert first
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(60):
            while (status := (await call(f"{site.url}/api/v1/me", token=token))[0]) != 200:
                assert status == 503
        await site.wait_until_ready(process)
        assert mongod_of(site) not in {None, first}


async def test_order_survives_death(new_site: NewSite) -> None:
    """An order given before the gateway was killed is sent by the next one, once its relay is there."""
    async with Provider([FRIEND]) as provider:
        await provider.stop()
        site = new_site(relay(provider.relay_port))
        async with site.running() as process:
            status, _ = await ordered(site, await signed_in(site))
            assert status == 202
            await process.stop(signal.SIGKILL)
        await gone(site)
        await provider.start()
        await make_due(site)
        async with site.running(), asyncio.timeout(30):
            while not provider.inbox(FRIEND.address):
                await asyncio.sleep(0.02)
        assert len(provider.received) == 1


async def make_due(site: Site) -> None:
    """Let what waits on the site be due now, so that no test waits for a retry's time."""
    async with EmbeddedMongod(site.data) as server:
        mongo = Mongo(server.uri, "mail_gateway")
        due = {"$currentDate": {"delivery.due_at": True}}
        await mongo.collection("messages").update_many({"delivery.due_at": {"$exists": True}}, due)
        mongo.close()


async def test_stop_with_work_in_flight(new_site: NewSite) -> None:
    """A stop amid a conversation with a slow server answers who waits; the next gateway sends what was ordered."""
    async with silent_server() as (port, met):
        site = new_site(relay(port, wait_s=60))
        async with site.running() as process:
            order = asyncio.create_task(ordered(site, await signed_in(site)))
            async with asyncio.timeout(30):
                await met.wait()
            assert await process.stop() == 0
            assert (await order)[0] == 202
    async with Provider([FRIEND], relay_port=port) as provider, site.running(), asyncio.timeout(30):
        while not provider.inbox(FRIEND.address):
            await asyncio.sleep(0.02)


async def test_second_signal(new_site: NewSite) -> None:
    """A second Ctrl-C ends a stop that takes its time at once, and the database all the same."""
    async with silent_server() as (port, met):
        site = new_site(relay(port))
        async with site.running() as process:
            await ordered(site, await signed_in(site))
            async with asyncio.timeout(30):
                await met.wait()
            process.child.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                while process.events()[-1]["event"] != "stopping":
                    await asyncio.sleep(0.02)
            assert await process.stop() == -signal.SIGINT
        await gone(site)


async def test_stop_while_the_database_hangs(new_site: NewSite) -> None:
    """A mongod that does nothing any more holds up no stop: it is killed."""
    site = new_site("")
    async with site.running() as process:
        await signed_in(site)
        hung = mongod_of(site)
        assert hung
        os.kill(hung, signal.SIGSTOP)
        assert await process.stop() == 0
        assert mongod_of(site) is None


async def test_signal_during_the_start(new_site: NewSite, tmp_path: Path) -> None:
    """Ctrl-C before the gateway is ready ends the start, with exit code 130 and nothing left running."""
    site = new_site("")
    config, log = str(site.directory / "config.toml"), tmp_path / "log"
    async with mail_gateway("serve", "-c", config, log=log) as process:
        async with asyncio.timeout(30):
            while not mongod_of(site):
                await asyncio.sleep(0.002)
        assert await process.stop() == 130
        assert mongod_of(site) is None
    assert log.read_text() == ""


async def test_side_by_side(new_site: NewSite) -> None:
    """Two gateways with two data directories run side by side; a third on the first's is told who has it."""
    one, two = new_site(""), new_site("")
    third = Site(one.directory, new_site("").port)
    async with one.running() as first, two.running():
        await signed_in(one)
        body = {"username": "someone", "password": PASSWORD}
        assert (await call(f"{two.url}/api/v1/authentications", body))[0] == 401
        config, log = str(third.directory / "config.toml"), third.directory / "third"
        environment = {"GATEWAY_SERVER__PORT": str(third.port)}
        async with mail_gateway("serve", "-c", config, log=log, **environment) as refused:
            assert await refused.child.wait() == 3
        assert str(first.child.pid) in log.read_text()
        assert log.read_text().count("\n") == 1


async def test_revoked_everywhere(new_site: NewSite) -> None:
    """A second after one process revoked a token, another, to which it is shown all the time, refuses it."""
    first = new_site("")
    shared = f"""
    uri = "{EmbeddedMongod(first.data).uri}"
    key_file = "{first.data}/credentials.key"
    """
    second = new_site("", storage=shared)
    async with first.running(), second.running():
        token = await signed_in(first)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def shown() -> int:
                async with session.get(f"{second.url}/api/v1/me") as response:
                    return response.status

            assert [await shown() for _ in range(50)] == [200] * 50
            async with session.delete(f"{first.url}/api/v1/authentications") as response:
                assert response.status == 204
            revoked = time.monotonic()
            while time.monotonic() < revoked + 1:
                await shown()
            assert await shown() == 401


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        ("[accounts]\nlocal_domain = 'home.example'\n[server]\nprot = 1", 2, "server.prot: there is no such key"),
        ("[accounts", 2, "is not valid TOML"),
        ("[server]", 2, "accounts.local_domain: must be set"),
        ("[accounts]\nlocal_domain = 'home.example'\n[storage]\ndata_dir = '/proc/none'", 3, "/proc/none"),
        (
            "[accounts]\nlocal_domain = 'home.example'\n[storage]\nmongod = '/bin/false'",
            3,
            "mongod ended while starting",
        ),
        ("[accounts]\nlocal_domain = 'home.example'\n[network]\nca_file = '/none'", 3, "network.ca_file"),
        ("[accounts]\nlocal_domain = 'home.example'\n[server]\nhost = 'fe80::1%none'", 3, "Set server.host"),
        (
            "[accounts]\nlocal_domain = 'home.example'\n[server]\nhost = 'a..b'",
            3,
            "not a host name. Set server.host",
        ),
        ("[accounts]\nlocal_domain = 'home.example'\n[server]\nhost = '192.0.2.1'", 3, "Set server.host"),
    ],
)
async def test_cannot_start(tmp_path: Path, lines: str, code: int, said: str) -> None:
    """What prevents a start is told in a few plain lines, with the exit code for its kind."""
    (tmp_path / "config.toml").write_text(f"{lines}\n")
    environment = {"GATEWAY_SERVER__PORT": "0", "GATEWAY_STORAGE__DATA_DIR": str(tmp_path / "data")}
    if "data_dir" in lines:
        del environment["GATEWAY_STORAGE__DATA_DIR"]
    config, log = str(tmp_path / "config.toml"), tmp_path / "log"
    async with mail_gateway("serve", "-c", config, log=log, **environment) as process:
        assert await process.child.wait() == code
    text = log.read_text()
    assert text.startswith("mail-gateway: ")
    assert said in text
    assert "Traceback" not in text


async def test_requests_in_the_log(new_site: NewSite) -> None:
    """The log has each request under its id."""
    site = new_site("")
    async with site.running() as process:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{site.url}/api/v1/me", headers={"X-Request-ID": "find-me"}) as response,
        ):
            assert response.status == 401
        await process.stop()
    (line,) = [event for event in process.events() if event.get("request_id") == "find-me"]
    assert (line["event"], line["status"], line["path"]) == ("request", 401, "/api/v1/me")


async def test_half_a_body(new_site: NewSite) -> None:
    """A client that hangs up amid its body is no fault of ours: it is logged as a 400."""
    site = new_site("")
    async with site.running() as process:
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        head = "POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
        writer.write(f"{head}\r\n{{".encode())
        await in_flight(site, 2)
        writer.transport.abort()
        await in_flight(site, 1)
        await process.stop()
    (request,) = [event for event in process.events() if event.get("path") == "/api/v1/users"]
    assert (request["event"], request["status"]) == ("request", 400)
    assert not [event for event in process.events() if event["level"] == "error"]


async def in_flight(site: Site, count: int) -> None:
    """Return when that many requests are being answered, the one that asks included."""
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{site.url}/metrics") as response:
                if f"gateway_http_requests_in_flight {count}.0" in await response.text():
                    return
