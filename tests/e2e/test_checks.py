"""Background checks by several processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from api.demo.provider import Provider
from gateway.identity import IdentityStatus, IdentityType, UserIdentity
from gateway.ports import system_clock
from storage.embedded import EmbeddedMongod
from storage.identities import MongoIdentities
from storage.mongo import Mongo
from storage.secrets import Vault
from tests.client import PASSWORD
from tests.e2e.conftest import COMMAND, Site

_MANY = 2000


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[EmbeddedMongod]:
    """A mongod that is not a gateway's child."""
    async with EmbeddedMongod(tmp_path / "shared") as server:
        yield server


async def test_each_once(
    database: EmbeddedMongod, new_site: Callable[..., Site], provider: Provider, tmp_path: Path
) -> None:
    """Two processes share the checks that are due, and none is done twice."""
    mongo = Mongo(database.uri, "mail_gateway")
    key_file = tmp_path / "key"
    vault = Vault(mongo, key_file)
    await vault.open()
    identities = MongoIdentities(mongo, vault, system_clock)
    await asyncio.gather(*(identities.insert(_identity(n, provider), {}, system_clock()) for n in range(_MANY)))
    more = f"""
    [network]
    allow = ["127.0.0.0/8"]
    ports = [{provider.relay_port}]
    allow_plaintext = true
    [checks]
    per_host = 50
    poll_s = 0.1
    """
    sites = [new_site(more, storage=f'uri = "{database.uri}"\nkey_file = "{key_file}"') for _ in range(2)]
    async with sites[0].running() as one, sites[1].running() as two, asyncio.timeout(120):
        while await mongo.collection("checks").count_documents({}) < _MANY:
            await asyncio.sleep(0.1)
        while (await identities.backlog(system_clock() + timedelta(minutes=2), 1))[0]:  # what was claimed as well
            await asyncio.sleep(0.1)
        done = [sum(event["event"] == "check" for event in process.events()) for process in (one, two)]
    checked = await mongo.collection("checks").distinct("of.identity_id")
    assert len(checked) == await mongo.collection("checks").count_documents({}) == sum(done) == _MANY
    assert min(done) > 0
    assert await mongo.collection("identities").count_documents({"infos.errorsCount": {"$exists": True}}) == 0
    await vault.close()
    mongo.close()


async def run(*arguments: str) -> tuple[int, str, str]:
    """Run ``mail-gateway``; return its exit code and what it wrote."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=pipe, stderr=pipe, env={"PATH": os.environ["PATH"], "COLUMNS": "200"}
    )
    out, err = await child.communicate()
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


async def test_command(new_site: Callable[..., Site], provider: Provider) -> None:
    """The command checks identities beside a gateway at work and without one, and tells which fail and why."""
    site = new_site(
        f"""
        [relay]
        host = "127.0.0.1"
        port = {provider.relay_port}
        tls = "none"
        """
    )
    config = ("--config", str(site.directory / "config.toml"))
    async with site.running(), aiohttp.ClientSession(site.url) as session:
        for name in ("one", "two"):
            body = {"username": f"some{name}", "password": PASSWORD}
            async with session.post("/api/v1/users", json=body) as response:
                assert response.status == 201
        assert (await run("check", "--user", "SOMEONE", *config))[:2] == (0, "1 of 1 work.\n")
    await provider.stop()
    code, out, err = await run("check", "--all", *config)
    assert code == 1
    assert "0 of 2 work." in out
    assert "someone@home.example" in out
    assert "refuses connections" in out
    assert "checks: 100 %" in err
    assert (await run("check", "--user", "nobody", *config))[0] == 1
    assert (await run("check", "--identity", "nothing", *config))[0] == 1
    assert (await run("check", *config))[0] == 2
    assert (await run("check", "--all", "--user", "someone", *config))[0] == 2


def _identity(number: int, provider: Provider) -> UserIdentity:
    return UserIdentity(
        identity_id=str(uuid4()),
        user_id=str(uuid4()),
        type=IdentityType.REMOTE,
        protocol="smtp",
        identifier=f"n{number}@example.org",
        display_name="",
        status=IdentityStatus.ACTIVE,
        infos={"outserver": f"{provider.host}:{provider.relay_port}", "outtls": "none"},
        last_check=None,
        check_at=system_clock(),
    )
