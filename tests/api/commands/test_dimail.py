"""``mail-gateway dimail``, on the database of a gateway at work."""

from __future__ import annotations

import aiohttp

from tests.api.commands.conftest import Command
from tests.client import Client

DOMAIN = "town.ok.test"


async def token_status(client: Client, name: str, password: str) -> int:
    """Return how the dimail-compatible face answers to name and password."""
    headers = {"Authorization": aiohttp.encode_basic_auth(name, password)}
    async with client.http.get("/dimail/token/", headers=headers) as response:
        return response.status


async def test_first_admin(api: Client, command: Command) -> None:
    """The first administrator is made once, and a second time only gets its password."""
    result = await command("dimail", "setup", "--name", "boss", stdin="a long password\n")
    assert (result.exit_code, result.stdout) == (0, "boss is an administrator.\n")
    assert await token_status(api, "boss", "a long password") == 200
    again = await command("dimail", "setup", "--name", "boss", stdin="another password\n")
    assert again.exit_code == 0
    assert await token_status(api, "boss", "another password") == 200
    assert await token_status(api, "boss", "a long password") == 403


async def test_setup_needs_a_name(command: Command) -> None:
    """With the backend fake, the administrator has to be named."""
    assert (await command("dimail", "setup")).exit_code == 2


async def test_reset_and_populate(user: Client, command: Command) -> None:
    """What was emptied is filled again from what the gateway knows, as often as one likes."""
    await user.post("/api/v2/domains", {"name": DOMAIN})
    await user.post(f"/api/v2/domains/{DOMAIN}/actions", {"actions": ["check"]})
    desk = {
        "local_part": "desk",
        "first_name": "Front",
        "last_name": "Desk",
        "secondary_email": "desk@home.example",
    }
    created = await user.post(f"/api/v2/domains/{DOMAIN}/mailboxes", desk)
    assert created.json["status"] == "enabled"
    reset = ["actions", "reset_password"]
    path = f"/api/v2/domains/{DOMAIN}/mailboxes/desk/actions"

    assert (await command("dimail", "reset", "--yes")).exit_code == 0
    assert (await user.post(path, {reset[0]: [reset[1]]})).status == 424
    for _ in range(2):
        filled = await command("dimail", "setup", "--name", "boss", "--populate", stdin="a long password\n")
        assert filled.exit_code == 0, filled.output
        assert "mailboxes: 100 %" in filled.stderr
    assert (await user.post(path, {reset[0]: [reset[1]]})).status == 200


async def test_reset_asks(command: Command) -> None:
    """Nothing is emptied without a yes."""
    assert (await command("dimail", "reset", stdin="n\n")).exit_code == 1
