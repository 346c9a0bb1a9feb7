"""What a user has servers of others asked: passwords tried there, and checks that succeed."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from api.demo.provider import Provider
from gateway.throttle import COSTS
from tests.client import Client, Reply, remote
from tests.conftest import ME

REMOTES = "/api/v2/identities/remotes"
CHECK = {"actions": ["check"]}
SPELLINGS = ["127.0.0.1", "127.0.0.1.", "[::ffff:127.0.0.1]", "[::FFFF:7F00:1]"]


@pytest.mark.parametrize(("kept", "varied"), [("outserver", "inserver"), ("inserver", "outserver")])
async def test_guesses_at_one_of_two_servers(user: Client, provider: Provider, kept: str, varied: str) -> None:
    """Guesses count at each server of an account: with ever new ones beside it, by every spelling of its name."""
    guess = remote(provider, credentials={"inusername": ME.address, "inpassword": "guess"})
    port = provider.submission_port if kept == "outserver" else provider.imap_port
    ended: Counter[int] = Counter()
    for n in range(24):
        guess["infos"] |= {kept: f"{SPELLINGS[n % len(SPELLINGS)]}:{port}", varied: f"10.0.0.{n}:1"}
        ended[(await user.post(f"{REMOTES}?verify=true", guess)).status] += 1
    assert ended == {424: 20, 429: 4}


@pytest.fixture
def three_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour pass until workers try one more password, after three."""
    monkeypatch.setitem(COSTS, "credentials", (3, timedelta(hours=1)))


@pytest.mark.usefixtures("three_passwords")
async def test_new_passwords_at_one_of_two_servers(user: Client, provider: Provider) -> None:
    """New credentials, which workers try, count at each server of an account."""
    path = f"{REMOTES}/{await user.add_remote(provider)}"
    ended: list[int] = []
    for n in range(4):
        patch = {"infos": {"inserver": f"10.0.0.{n}:1"}, "credentials": {"inpassword": f"guess {n}"}}
        ended.append((await user.call("PATCH", path, patch)).status)
    assert ended == [204, 204, 429, 429]  # one was that of adding it


@pytest.mark.usefixtures("three_passwords")
async def test_passwords_that_come_along(user: Client, provider: Provider) -> None:
    """A password that comes along to another server counts there as well."""
    at = {"outserver": "smtp0.elsewhere.example"}
    path = f"{REMOTES}/{await user.add_remote(provider, protocol='smtp', infos=at)}"
    ended: list[int] = []
    for n in range(4):
        elsewhere = {"outserver": f"smtp{n}.elsewhere.example"}
        patch = {"infos": elsewhere, "credentials": {"inpassword": f"guess {n}"}}
        assert (await user.call("PATCH", path, patch)).status == 204
        ended.append((await user.call("PATCH", path, {"infos": {"outserver": "mail.elsewhere.example"}})).status)
    assert ended == [204, 204, 204, 429]


def assert_refused(reply: Reply) -> None:
    """See that it is refused for its number, and told when there is room again."""
    assert reply.status == 429
    assert 0 < int(reply.headers["Retry-After"]) <= 3600


async def test_checks_that_succeed(user: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks are limited by user and host however they end, also those that workers make of what has changed."""
    monkeypatch.setitem(COSTS, "probe", (3, timedelta(hours=1)))
    account = remote(provider)
    path = f"{REMOTES}/{(await user.post(f'{REMOTES}?verify=true', account)).json['identity_id']}"
    for _ in range(3):  # it is there already, and its servers are left alone
        assert (await user.post(f"{REMOTES}?verify=true", account)).status == 409
    assert (await user.post(f"{path}/actions", CHECK)).status == 200
    assert (await user.call("PATCH", path, {"infos": {"colour": "red"}})).status == 204
    assert_refused(await user.post(f"{path}/actions", CHECK))
    for patch in ({"infos": {"colour": "blue"}}, {"status": "active"}, {"credentials": {"accesstoken": "x"}}):
        assert_refused(await user.call("PATCH", path, patch))
    more = account | {"identifier": "more@elsewhere.example"}
    for query in ("", "?verify=true"):
        assert_refused(await user.post(f"{REMOTES}{query}", more))
    # What has nothing checked is free.
    assert (await user.post(REMOTES, more | {"status": "inactive", "credentials": {}})).status == 201
    for patch in ({"display_name": "Me"}, {"status": "inactive"}, {"infos": {"colour": "blue"}}):
        assert (await user.call("PATCH", path, patch)).status == 204
    elsewhere = account | {"identifier": "more@elsewhere.example", "protocol": "smtp"}
    elsewhere["infos"] = {"outserver": "127.0.0.2:1"}
    assert (await user.post(REMOTES, elsewhere)).status == 201
