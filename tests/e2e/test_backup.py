"""Backup and restore, by the very commands of docs/backup.md."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from api.demo.provider import Provider
from tests.client import remote
from tests.e2e.conftest import COMMAND, Site
from tests.e2e.test_keys import reaching, signs_in
from tests.e2e.test_serve import call, signed_in
from tests.protocols.name_server import NameServer

PAGE = Path(__file__).parents[2] / "docs" / "backup.md"


def blocks() -> list[str]:
    """Return the shell commands of the page, less what takes a service and a user of its own."""
    page = re.sub(r"^(systemctl|chown) .*\n|^runuser .* -- ", "", PAGE.read_text(), flags=re.MULTILINE)
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)


async def shell(script: str, **environment: str) -> None:
    """Run commands as a shell does; none may fail."""
    path = f"{Path(COMMAND).parent}:{os.environ['PATH']}"
    child = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, stdout=asyncio.subprocess.PIPE, env={"PATH": path, **environment}
    )
    out, _ = await child.communicate()
    assert child.returncode == 0, out.decode()


async def test_restore_elsewhere(new_site: Callable[..., Site], provider: Provider, tmp_path: Path) -> None:
    """What was copied works elsewhere: users sign in, and stored credentials open their accounts."""
    async with NameServer() as names:
        await restore_elsewhere(new_site, reaching(provider) + outside(provider, names), provider, tmp_path)


async def restore_elsewhere(new_site: Callable[..., Site], more: str, provider: Provider, tmp_path: Path) -> None:
    """Fill, copy, lose, restore, use."""
    lost, found = new_site(more), new_site(more)
    async with lost.running():
        token = await signed_in(lost)
        status, added = await call(f"{lost.url}/api/v2/identities/remotes", remote(provider), token)
        assert status == 201
    copies = {"BACKUP": str(tmp_path), "KEYS": str(tmp_path)}
    _, backup, restore, *_ = blocks()
    await shell(backup, DATA=str(lost.data), **copies)
    shutil.rmtree(lost.data)
    await shell(restore, DATA=str(found.data), CONFIG=str(found.directory / "config.toml"), **copies)
    async with found.running():
        assert await signs_in(found, token, added["location"])
        assert await signs_in(found, await signed_in(found), added["location"])


def outside(provider: Provider, names: NameServer) -> str:
    """Return what follows in the table network, and the relay, for doctor to find."""
    return f"""
    nameservers = ["{names.address}"]
    [relay]
    host = "127.0.0.1"
    port = {provider.relay_port}
    tls = "none"
    """


def test_variables() -> None:
    """The page says where everything is before it uses it."""
    first, *others = blocks()
    known = set(re.findall(r"^(\w+)=", first, re.MULTILINE)) | {"URI"}
    assert set(re.findall(r"\$(\w+)", "\n".join(others))) <= known
