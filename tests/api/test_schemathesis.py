"""Requests made up from the OpenAPI document, sent to a gateway over HTTP: it answers as the document says."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from api.demo.provider import Provider
from api.main import running
from gateway import config as configuration
from tests.api.conftest import CLOSED_PORT
from tests.client import Client
from tests.protocols.name_server import NameServer

COMMAND = str(Path(sys.executable).with_name("schemathesis"))
CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("mail_addresses.py")


@pytest.mark.configured(
    # Nothing leaves the machine: of the servers that users name, the guard refuses the port before it asks for the
    # address, and the only name server knows no name.
    network={"allow": [], "ports": [CLOSED_PORT]},
)
async def test_every_operation(user: Client, provider: Provider, settings: dict[str, Any], tmp_path: Path) -> None:
    """No request that can be made up meets a server error, or an answer that the document does not have."""
    settings["server"] = {"port": 0}
    config, environment = await prepared(user, provider, tmp_path)
    async with NameServer() as names:
        settings["network"]["nameservers"] = [names.address]
        async with running(configuration.build(settings)) as (_, url):
            child = await asyncio.create_subprocess_exec(
                COMMAND, "--config-file", str(config), "--no-color", "run", f"{url}/api/openapi.json",
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                env={"PATH": os.environ["PATH"], **environment},
            )  # fmt: skip
            report, _ = await child.communicate()
    assert child.returncode == 0, report.decode()


async def prepared(user: Client, provider: Provider, directory: Path) -> tuple[Path, dict[str, str]]:
    """Make things that can be asked for; return schemathesis' configuration and what it takes from outside."""
    other, last = await user.register("another"), await user.sign_in("another")
    local = (await user.local_identity())["identity_id"]
    message_id = await user.draft(local)
    raw_msg_id = (await user.send(message_id)).json["raw_msg_id"]
    doomed = [await other.add_remote(provider, identifier=f"{name}@example.org") for name in "abcd"]
    for name, ids in {"identities": [local, *doomed], "users": [user.user_id, other.user_id]}.items():
        directory.joinpath(f"{name}.txt").write_text("".join(f'"{each}"\n' for each in ids))
    return Path(shutil.copy(CONFIG, directory)), {
        "ACCESS_TOKEN": user.access_token,
        "OTHER_ACCESS_TOKEN": other.access_token,
        "LAST_ACCESS_TOKEN": last.access_token,
        "HOOKS": str(HOOKS),
        "IDENTITY_ID": await user.add_remote(provider),
        "MESSAGE_ID": message_id,
        "RAW_MSG_ID": raw_msg_id,
    }
