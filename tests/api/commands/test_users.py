"""``mail-gateway users``, beside a gateway at work."""

from __future__ import annotations

import json
from pathlib import Path

from tests.api.commands.conftest import Command
from tests.client import PASSWORD, Client

ANOTHER = "another password"


async def test_add(api: Client, command: Command) -> None:
    """A user who is added can sign in with the password that came by standard input."""
    result = await command("users", "add", "someone", "--display-name", "Some One", stdin=f"{PASSWORD}\n")
    assert result.exit_code == 0
    user = await api.sign_in("someone")
    assert user.user_id == result.stdout.strip()
    again = await command("users", "add", "SOMEONE", stdin=f"{PASSWORD}\n")
    assert (again.exit_code, again.stderr) == (1, "mail-gateway: This user name is taken.\n")


async def test_no_good_password(api: Client, command: Command) -> None:
    """A password that breaks a rule is refused with the rule, and nothing is said of it."""
    result = await command("users", "add", "someone", stdin="short\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "mail-gateway: password: A password has 8 to 1,024 characters.\n"
    assert (await api.get("/api/v2/username/isAvailable?username=someone")).json["available"]


async def test_list(api: Client, command: Command) -> None:
    """Users are listed by name, as a table or as JSON lines."""
    for name in ("zoe", "adam"):
        await api.register(name)
    table = (await command("users", "list")).stdout.splitlines()
    assert [line.split()[0] for line in table[2:]] == ["adam", "zoe"]
    lines = [json.loads(line) for line in (await command("users", "list", "--json")).stdout.splitlines()]
    assert {line["username"] for line in lines} == {"adam", "zoe"}


async def test_names_do_not_steer_the_terminal(api: Client, command: Command) -> None:
    """What users choose cannot hold codes that a terminal obeys, nor markup."""
    await command("users", "add", "someone", "--display-name", "\x1b[31mred [bold]x", stdin=f"{PASSWORD}\n")
    shown = (await command("users", "list")).stdout
    assert "\x1b" not in shown
    assert "�[31mred [bold]x" in shown


async def test_show(api: Client, command: Command) -> None:
    """A user is shown with the identities and what is wrong with them, on wide and on narrow terminals."""
    user = await api.register("someone")
    for columns, heading in (
        (200, "Identifier             Protocol"),
        (40, "Identifier     someone@home.example\nProt"),
    ):
        shown = (await command("users", "show", "someone", columns=columns)).stdout
        assert user.user_id in shown
        assert heading in shown
    answer = json.loads((await command("users", "show", "someone", "--json")).stdout)
    assert answer["identities"][0]["identifier"] == "someone@home.example"
    assert (await command("users", "show", "nobody")).exit_code == 1


async def test_set_password(api: Client, command: Command) -> None:
    """A new password is the only one from then on, and who was signed in is so no more."""
    await api.register("someone")
    body = {"username": "someone", "password": PASSWORD}
    tokens = (await api.post("/api/v1/authentications", body)).json["tokens"]
    assert (await command("users", "set-password", "Someone", stdin=f"{ANOTHER}\n")).exit_code == 0
    assert (await api.post("/api/v1/authentications", body)).status == 401
    refresh = {"refresh_token": tokens["refresh_token"]}
    assert (await api.post("/api/v1/authentications/refresh", refresh)).status == 401
    await api.sign_in("someone", ANOTHER)
    assert (await command("users", "set-password", "nobody", stdin=f"{ANOTHER}\n")).exit_code == 1
    assert (await command("users", "set-password", "someone", stdin="someone\n")).exit_code == 1


async def test_delete(api: Client, command: Command) -> None:
    """A user is deleted after a question, or without one where told so; the name is never given again."""
    await api.register("someone")
    assert (await command("users", "delete", "someone", stdin="n\n")).exit_code == 1
    await api.sign_in("someone")
    assert (await command("users", "delete", "someone", stdin="y\n")).exit_code == 0
    assert (await api.post("/api/v1/authentications", {"username": "someone", "password": PASSWORD})).status == 401
    assert not (await api.get("/api/v2/username/isAvailable?username=someone")).json["available"]
    assert (await command("users", "delete", "someone", "--yes")).exit_code == 1


async def test_damaged_key(api: Client, command: Command, tmp_path: Path) -> None:
    """A command that cannot open the keys ends with 3, in one sentence."""
    (tmp_path / "credentials.key").write_bytes(b"short")
    result = await command("users", "list")
    assert result.exit_code == 3
    assert "is damaged" in result.stderr
    assert result.stderr.count("\n") == 1
