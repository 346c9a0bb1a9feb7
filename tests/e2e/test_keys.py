"""The commands ``mail-gateway keys``, beside a gateway at work and alone."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from api.demo.provider import Provider
from tests.client import remote
from tests.e2e.conftest import COMMAND, Process, Site, mail_gateway
from tests.e2e.test_serve import call, gone, signed_in

NewSite = Callable[..., Site]


def reaching(provider: Provider) -> str:
    """Return configuration lines that let users reach the provider."""
    return f"""
    [network]
    allow = ["127.0.0.0/8"]
    ports = [{provider.imap_port}, {provider.submission_port}]
    allow_plaintext = true
    """


def command(site: Site, name: str) -> list[str]:
    """Return the arguments of a command about the site's keys."""
    return ["keys", name, "--config", str(site.directory / "config.toml")]


async def until(process: Process, said: str) -> None:
    """Return when the command has said that."""
    async with asyncio.timeout(30):
        while said not in process.log.read_text():
            assert process.child.returncode is None
            await asyncio.sleep(0.02)


async def signs_in(site: Site, token: str, location: str) -> bool:
    """True when the gateway signs in to the account with the credentials that it has stored."""
    status, identity = await call(f"{site.url}{location}/actions", {"actions": ["check"]}, token)
    assert status == 200
    return "lastFetchError" not in identity["infos"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_rotate_while_serving(new_site: NewSite, provider: Provider, tmp_path: Path, number: int) -> None:
    """A rotation beside a gateway at work may be ended at any time, and the next one finishes it; all goes on."""
    site = new_site(reaching(provider))
    key_file = site.data / "credentials.key"
    async with site.running():
        token = await signed_in(site)
        status, added = await call(f"{site.url}/api/v2/identities/remotes", remote(provider), token)
        assert status == 201
        old = key_file.read_bytes()
        async with mail_gateway(*command(site, "rotate"), log=tmp_path / "first") as first:
            await until(first, "waiting for running gateways: 00 %")
            assert key_file.read_bytes().startswith(old)
            assert await signs_in(site, token, added["location"])
            assert await first.stop(number) == (130 if number == signal.SIGINT else -number)
        assert await signs_in(site, token, added["location"])
    await gone(site)
    async with mail_gateway(*command(site, "rotate"), log=tmp_path / "second") as second:
        assert await second.child.wait() == 0
    assert "waiting" not in (tmp_path / "second").read_text()
    assert len(key_file.read_bytes()) == len(old)
    assert key_file.read_bytes() != old
    async with site.running():
        assert await signs_in(site, token, added["location"])


async def test_progress_on_a_terminal(new_site: NewSite, provider: Provider) -> None:
    """On a terminal a rotation shows bars."""
    site = new_site(reaching(provider))
    async with site.running():
        await call(f"{site.url}/api/v2/identities/remotes", remote(provider), await signed_in(site))
    ours, its = pty.openpty()
    child = await asyncio.create_subprocess_exec(
        COMMAND, *command(site, "rotate"), stdout=asyncio.subprocess.DEVNULL, stderr=its
    )
    os.close(its)
    shown = (await asyncio.to_thread(read_to_the_end, ours)).decode()
    os.close(ours)
    assert await child.wait() == 0
    assert "credentials, a last look" in shown
    assert "100%" in shown


def read_to_the_end(terminal: int) -> bytes:
    """Return what is written to a terminal until nobody has it open; Linux then says EIO."""
    shown = b""
    with suppress(OSError):
        while data := os.read(terminal, 65536):
            shown += data
    return shown


async def test_prepare(new_site: NewSite, tmp_path: Path) -> None:
    """Prepared is one key, once, and it is the one that the rotation then uses."""
    site = new_site("")
    key_file = site.data / "credentials.key"
    async with site.running():
        pass
    async with mail_gateway(*command(site, "prepare"), log=tmp_path / "log") as process:
        assert await process.child.wait() == 0
    prepared = key_file.read_bytes()
    assert len(prepared) == 192
    async with mail_gateway(*command(site, "prepare"), log=tmp_path / "log") as process:
        assert await process.child.wait() == 3
    assert "has a next key already" in (tmp_path / "log").read_text()
    async with mail_gateway(*command(site, "rotate"), log=tmp_path / "log") as process:
        assert await process.child.wait() == 0
    assert key_file.read_bytes() == prepared[96:]


async def test_wrong_key(new_site: NewSite, tmp_path: Path) -> None:
    """A key file that does not fit stops gateway and rotation alike, in one sentence that says what to do."""
    site = new_site("")
    async with site.running():
        pass
    key = os.urandom(96)
    (site.data / "credentials.key").write_bytes(key)
    config = str(site.directory / "config.toml")
    for arguments in (["serve", "--config", config], command(site, "rotate")):
        log = tmp_path / arguments[0]
        async with mail_gateway(*arguments, log=log) as process:
            assert await process.child.wait() == 3
        assert log.read_text().startswith("mail-gateway: The key file")
        assert "does not fit this database" in log.read_text()
        assert log.read_text().count("\n") == 1
    assert (site.data / "credentials.key").read_bytes() == key
