"""``mail-gateway identities``, beside a gateway at work."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from api.demo.provider import Provider
from tests.api.commands.conftest import Command, files_in
from tests.client import Client, remote
from tests.conftest import ME

REMOTES = "/api/v2/identities/remotes"
SECRETS = (ME.password, '"inpassword"', "credentials")


def record(provider: Provider, **changes: Any) -> dict[str, Any]:
    """Return the account ME as a record of the user someone."""
    return {"username": "someone", **remote(provider), **changes}


def lines(*records: dict[str, Any]) -> str:
    """Return a file of these records."""
    return "\n".join(map(json.dumps, records))


async def take(command: Command, content: str, *options: str) -> Result:
    """Import JSON lines from standard input."""
    return await command("identities", "import", "-", "--format", "jsonl", *options, stdin=content)


async def works(user: Client, identity_id: str) -> bool:
    """True when the gateway signs in with the credentials that it has."""
    reply = await user.post(f"{REMOTES}/{identity_id}/actions", {"actions": ["check"]})
    return "lastFetchError" not in reply.json["infos"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
async def test_there_and_back(
    api: Client, command: Command, provider: Provider, tmp_path: Path, suffix: str
) -> None:
    """What was exported with credentials is imported where it is gone, and works."""
    user = await api.register("someone")
    more = {"display_name": "=1+1", "infos": {**remote(provider)["infos"], "x-own": "-1", "pollinterval": "30"}}
    identity_id = await user.add_remote(provider, **more)
    before = (await user.get(f"{REMOTES}/{identity_id}")).json
    file = str(tmp_path / f"all.{suffix}")
    exported = await command("identities", "export", file, "--with-credentials")
    assert (exported.exit_code, exported.stdout) == (0, "")
    assert "1 identities written." in exported.stderr
    assert (await user.call("DELETE", f"{REMOTES}/{identity_id}")).status == 204
    imported = await command("identities", "import", file)
    assert (imported.exit_code, imported.stdout) == (0, "1 added, 0 updated, 0 there already, 0 refused\n")
    (after,) = (await user.get(REMOTES)).json["remote_identities"]
    same = ("protocol", "identifier", "display_name", "status", "infos")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert await works(user, after["identity_id"])


async def test_private(api: Client, command: Command, provider: Provider, tmp_path: Path) -> None:
    """A file is its owner's alone, whatever was there before, and has no credentials unless they are asked for."""
    await (await api.register("someone")).add_remote(provider)
    file = tmp_path / "all.jsonl"
    file.touch(mode=0o644)
    for options, found in ((("--with-credentials",), True), ((), False)):
        await command("identities", "export", str(file), *options)
        content = file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [secret in content for secret in SECRETS] == [found] * len(SECRETS)
    assert {name for name in files_in(tmp_path) if "jsonl" in name} == {"all.jsonl"}


async def test_whose(api: Client, command: Command, provider: Provider) -> None:
    """The identities of one user can be exported alone; local ones never are."""
    for name in ("someone", "another"):
        await (await api.register(name)).add_remote(provider)
    out = (await command("identities", "export", "-", "--format", "jsonl", "--user", "Someone")).stdout
    assert [json.loads(line)["username"] for line in out.splitlines()] == ["someone"]
    assert (await command("identities", "export", "-", "--format", "csv", "--user", "nobody")).exit_code == 1


async def test_repeated(api: Client, command: Command, provider: Provider) -> None:
    """What is there already is left alone, or changed where told so, once."""
    user = await api.register("someone")
    assert (await take(command, lines(record(provider)))).stdout.startswith("1 added")
    wrong = record(provider, identifier=ME.address.upper(), credentials={"inpassword": "wrong"})
    assert (await take(command, lines(wrong))).stdout == "0 added, 0 updated, 1 there already, 0 refused\n"
    (identity,) = (await user.get(REMOTES)).json["remote_identities"]
    assert await works(user, identity["identity_id"])
    assert (await take(command, lines(wrong), "--update")).stdout.startswith("0 added, 1 updated")
    assert not await works(user, identity["identity_id"])
    for _ in range(2):
        assert (await take(command, lines(wrong), "--update")).stdout.startswith("0 added, 0 updated, 1 there")


async def test_to_another_server(api: Client, command: Command, provider: Provider) -> None:
    """A line that moves an account to servers of somebody else has to bring the password, else it is refused."""
    user = await api.register("someone")
    identity_id = await user.add_remote(provider)
    moved = record(provider)
    moved["infos"] |= {"outserver": "smtp.another.example"}
    result = await take(command, lines({**moved, "credentials": {}}), "--update")
    assert result.stdout.startswith("0 added, 0 updated, 0 there already, 1 refused")
    assert "infos.outserver: Send the password again" in result.stderr
    assert await works(user, identity_id)
    assert (await take(command, lines(moved), "--update")).stdout.startswith("0 added, 1 updated")


async def test_given_up(api: Client, command: Command, provider: Provider) -> None:
    """What workers have given up is exported as its user made it, left alone by the same, and revived by better."""
    user = await api.register("someone")
    identity_id = await user.add_remote(provider, credentials={"inusername": ME.address, "inpassword": "wrong"})
    while (identity := (await user.get(f"{REMOTES}/{identity_id}")).json)["status"] == "active":
        assert not await works(user, identity_id)
    assert identity["infos"]["inactivereason"] == "credentials"
    out = (await command("identities", "export", "-", "--format", "jsonl", "--with-credentials")).stdout
    exported = json.loads(out)
    assert exported["status"] == "active"
    assert not {"inactivereason", "lastFetchError"} & exported["infos"].keys()
    assert (await take(command, out, "--update")).stdout.startswith("0 added, 0 updated")
    better = {"username": "someone", "protocol": "imap", "identifier": ME.address, "infos": exported["infos"]}
    better["credentials"] = {"inpassword": ME.password}
    assert (await take(command, lines(better), "--update")).stdout.startswith("0 added, 1 updated")
    assert await works(user, identity_id)
    assert (await user.get(f"{REMOTES}/{identity_id}")).json["status"] == "active"


async def test_refused_lines(api: Client, command: Command, provider: Provider) -> None:
    """Each line that is refused is told with account and reason, the others are added, and it ends with 1."""
    await api.register("someone")
    good = record(provider)
    bad = [
        {},
        {**good, "username": "nobody"},
        {**good, "identifier": "no address"},
        {**good, "identifier": "a@b.example", "infos": {"outserver": "x y"}},
        {**good, "identifier": "a@c.example", "colour": "red"},
        {**good, "identifier": ME.address.upper()},
        {**good, "protocol": "smtp", "identifier": "someone@home.example", "infos": good["infos"]},
    ]
    result = await take(command, lines(good, *bad) + "\n{\n")
    assert result.exit_code == 1
    assert result.stdout == "1 added, 0 updated, 0 there already, 8 refused\n"
    told = [line for line in result.stderr.splitlines() if line.startswith("line ")]
    assert told[0] == "line 2: username: Missing data for required field."
    assert told[1] == f"line 3 (nobody, {ME.address}): There is no user nobody."
    assert told[2].startswith("line 4 (someone, no address): identifier: ")
    assert "infos.inserver: " in told[3]
    assert "infos.outserver: " in told[3]
    assert told[4].endswith("colour: There is no such property.")
    assert told[5].endswith("names the same account as line 1")
    assert "already" in told[6]
    assert told[7].startswith("line 9: is not valid JSON")
    assert "%" in result.stderr


async def test_no_such_file(command: Command, tmp_path: Path) -> None:
    """What is no file of identities is refused as a whole; a format that cannot be told is asked for."""
    assert (await command("identities", "import", str(tmp_path / "none.csv"))).exit_code == 1
    assert (await command("identities", "export", str(tmp_path / "no" / "such.csv"))).exit_code == 1
    assert (await command("identities", "import", "-", "--format", "csv", stdin="a,b\n")).exit_code == 1
    assert (await command("identities", "import", "-", "--format", "csv", stdin=b"\xff")).exit_code == 1
    assert (await command("identities", "import", "-")).exit_code == 2
    assert (await command("identities", "export", "all.xlsx")).exit_code == 2


async def test_list(api: Client, command: Command, provider: Provider) -> None:
    """Identities are listed with their health: all, a user's, or the failing ones; for people or programs."""
    user = await api.register("someone")
    await api.register("another")
    identity_id = await user.add_remote(provider, credentials={"inusername": ME.address, "inpassword": "wrong"})
    assert not await works(user, identity_id)
    table = (await command("identities", "list")).stdout.splitlines()[2:]
    assert [line.split()[:2] for line in table if line[0] != " "] == [
        ["another", "another@home.example"],
        ["someone", ME.address],
        ["someone", "someone@home.example"],
    ]
    assert "another" not in (await command("identities", "list", "--user", "someone")).stdout
    (failing,) = (await command("identities", "list", "--failing", "--json")).stdout.splitlines()
    assert json.loads(failing)["identity_id"] == identity_id
    assert json.loads(failing)["username"] == "someone"
    assert ME.password not in failing
