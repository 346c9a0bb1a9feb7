"""``mail-gateway doctor``."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api import doctor
from api.demo.provider import Provider
from api.doctor import Verdict, smells
from gateway import config as configuration
from gateway.ports import system_clock
from storage.condition import Condition, Database
from storage.mongo import Mongo
from tests.api.commands.conftest import Command, files_in
from tests.client import Client
from tests.protocols.name_server import NameServer

DOMAIN = {"accounts": {"local_domain": "home.example"}}


@pytest.fixture
async def names(settings: dict[str, Any]) -> AsyncIterator[NameServer]:
    """The name server of the gateway under test."""
    async with NameServer() as server:
        settings["network"]["nameservers"] = [server.address]
        yield server


async def found(command: Command) -> tuple[int, Mapping[str, dict[str, str]]]:
    """Return the exit code, and what was found of each thing."""
    result = await command("doctor", "--json")
    observations = map(json.loads, result.stdout.splitlines())
    return result.exit_code, {each["what"]: each for each in observations}


async def test_healthy(names: NameServer, api: Client, command: Command) -> None:
    """Where all is well it says so of each thing, and ends with 0."""
    names.has("home.example", "MX", "10 mx.home.example.")
    code, things = await found(command)
    assert code == 0
    healthy = ("versions", "data directory", "database", "clock", "keys", "relay", "DNS")
    assert [things[each]["verdict"] for each in healthy] == ["ok"] * len(healthy)
    assert "replica set of 1" in things["database"]["found"]
    assert "mx.home.example" in things["DNS"]["found"]
    shown = (await command("doctor")).stdout
    assert "\n0 problems, " in shown


async def test_ill(names: NameServer, api: Client, command: Command, provider: Provider, tmp_path: Path) -> None:
    """Each thing that keeps the gateway from its work is a problem with advice, and the end is 1."""
    (tmp_path / "credentials.key").write_bytes(os.urandom(96))
    await provider.stop()
    names.fails("home.example MX")
    code, things = await found(command)
    assert code == 1
    assert {what for what, each in things.items() if each["verdict"] == "problem"} == {"keys", "relay", "DNS"}
    assert all(each["advice"] for each in things.values() if each["verdict"] != "ok")
    assert "does not fit" in things["keys"]["found"]
    shown = (await command("doctor")).stdout
    assert "\nproblem  relay: " in shown


async def test_before_the_first_start(names: NameServer, command: Command, tmp_path: Path) -> None:
    """On a database that no gateway has used yet nothing is made."""
    code, things = await found(command)
    assert code == 0
    assert "at the first start" in things["keys"]["found"]
    assert things["DNS"]["verdict"] == "warning"
    assert not (tmp_path / "credentials.key").exists()


@pytest.mark.configured(storage={"uri": ""})
async def test_nothing_there(names: NameServer, command: Command, tmp_path: Path) -> None:
    """Of an installation with nothing but a configuration it makes nothing either."""
    code, things = await found(command)
    assert code == 0
    assert "will be made at the first start" in things["database"]["found"]
    assert files_in(tmp_path) == {"config.toml"}


@pytest.mark.configured(storage={"uri": "mongodb://127.0.0.1:1/?timeoutMS=100"})
async def test_no_database(names: NameServer, command: Command) -> None:
    """Without its database all else is looked at, too."""
    code, things = await found(command)
    assert (code, things["database"]["verdict"], things["relay"]["verdict"]) == (1, "problem", "ok")


async def test_open_to_others(names: NameServer, command: Command, tmp_path: Path) -> None:
    """A data directory that others can write to is a problem."""
    (tmp_path / ".").chmod(0o777)
    code, things = await found(command)
    assert (code, things["data directory"]["advice"]) == (1, f"chmod 700 {tmp_path}")


async def test_condition(mongo: Mongo) -> None:
    """The database tells version, members and time; a clock of ours that is wrong shows."""
    condition = await Database(mongo, lambda: system_clock() - timedelta(minutes=5)).condition()
    assert condition.version >= (6, 0)
    assert condition.members == 1
    assert not condition.has_keys
    assert timedelta(minutes=4) < condition.ahead < timedelta(minutes=6)


WELL = Condition((8, 0, 1), 3, timedelta(0), has_keys=True)


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        (WELL, Verdict.OK),
        (replace(WELL, members=0), Verdict.OK),
        (replace(WELL, version=(5, 0, 9)), Verdict.PROBLEM),
    ],
)
def test_database(condition: Condition, verdict: Verdict) -> None:
    """A database has to be of a version that is supported."""
    assert doctor.of_database(condition).verdict is verdict


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0.2, Verdict.OK), (-5, Verdict.WARNING), (5, Verdict.WARNING), (-60, Verdict.PROBLEM)]
)
def test_clock(seconds: float, verdict: Verdict) -> None:
    """Clocks that differ are told before they do harm."""
    assert doctor.of_clock(replace(WELL, ahead=timedelta(seconds=seconds))).verdict is verdict


def warned(document: Mapping[str, Mapping[str, Any]], path: Path | None = None) -> set[str]:
    """Return what smells in a configuration."""
    return {each.what for each in smells(configuration.build({**DOMAIN, **document}), path)}


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("server", {"host": "0.0.0.0"}),  # noqa: S104 - it is to be told
        ("server", {"trusted_proxies": ["0.0.0.0/0"]}),
        ("server", {"public_url": ""}),
        ("network", {"allow": ["0.0.0.0/0"]}),
        ("network", {"allow_plaintext": True}),
        ("relay", {"tls": "none", "host": "relay.example"}),
        ("domains", {"backend": "fake"}),
    ],
)
def test_smells(section: str, values: dict[str, Any]) -> None:
    """What is allowed and seldom meant is told by its key, and nothing else is."""
    well: dict[str, dict[str, Any]] = {
        "server": {"public_url": "https://mail.home.example", "host": "localhost"},
        "domains": {"backend": "dimail"},
    }
    assert warned(well) == set()
    assert warned({**well, section: {**well.get(section, {}), **values}}) == {f"{section}.{next(iter(values))}"}


def test_open_secrets(tmp_path: Path) -> None:
    """A file with a password that others can read is told: the configuration, or that of the password alone."""
    path = tmp_path / "config.toml"
    path.touch(mode=0o644)
    assert "configuration" in warned({"relay": {"password": "secret"}}, path)
    assert "configuration" not in warned({}, path)
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    assert "configuration" not in warned({"relay": {"password_file": str(secret)}}, path)
    secret.chmod(0o604)
    assert "configuration" in warned({"relay": {"password_file": str(secret)}}, path)
    path.chmod(0o640)
    assert "configuration" not in warned({"relay": {"password": "secret"}}, path)
