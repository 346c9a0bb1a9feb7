"""Whoever has an access token gets no stored password by it: it goes to the servers that it was given for."""

from __future__ import annotations

from typing import Any

import pytest

from api.demo.provider import Provider
from tests.client import Client, remote
from tests.conftest import ME

REMOTES = "/api/v2/identities/remotes"
CHECK = {"actions": ["check"]}

OTHER = "127.0.0.2"  # another machine, as far as anybody can tell


@pytest.fixture
def elsewhere(provider: Provider) -> dict[str, str]:
    """The settings of a server that somebody else has."""
    return {"outserver": f"{OTHER}:{provider.submission_port}"}


async def test_taken_to_another_server(user: Client, provider: Provider, elsewhere: dict[str, str]) -> None:
    """A patch to another server without the password is 422, says what to do, and changes nothing."""
    path = f"{REMOTES}/{await user.add_remote(provider)}"
    before = (await user.get(path)).json
    reply = await user.call("PATCH", path, {"infos": elsewhere, "credentials": {"inusername": "somebody"}})
    assert reply.status == 422
    sentence = f"Send the password again: the stored one was not given for {OTHER}."
    assert reply.json["errors"] == {"infos.outserver": [sentence], "credentials.inpassword": [sentence]}
    assert (await user.get(path)).json == before
    assert "lastFetchError" not in (await user.post(f"{path}/actions", CHECK)).json["infos"]


async def test_with_the_password(user: Client, provider: Provider, elsewhere: dict[str, str]) -> None:
    """With the password, or without one at all, an account goes to whatever servers it likes."""
    path = f"{REMOTES}/{await user.add_remote(provider)}"
    patch = {"infos": elsewhere, "credentials": {"outpassword": ME.password}}
    assert (await user.call("PATCH", path, patch)).status == 204
    assert (await user.call("PATCH", path, {"credentials": None})).status == 204
    assert (await user.call("PATCH", path, {"infos": {"outserver": "smtp.example.org"}})).status == 204


async def test_in_two_steps(user: Client, provider: Provider, elsewhere: dict[str, str]) -> None:
    """No detour leads there: another way to sign in first, no user name, a password of its own that goes again."""
    path = f"{REMOTES}/{await user.add_remote(provider)}"
    own: dict[str, Any] = {"infos": elsewhere, "credentials": {"outpassword": "x"}}
    for patch, status in (
        ({"infos": {"authtype": "oauth2"}}, 204),
        ({"infos": elsewhere}, 422),
        ({"infos": {"authtype": None}, "credentials": {"inusername": None}}, 204),
        ({"infos": elsewhere}, 422),
        ({"credentials": {"inusername": ME.address}}, 204),
        (own, 204),
        ({"credentials": {"outpassword": None}}, 422),
        ({"infos": {"inserver": f"{OTHER}:{provider.imap_port}"}}, 422),
    ):
        assert (await user.call("PATCH", path, patch)).status == status, patch


async def test_in_clear(user: Client, provider: Provider) -> None:
    """A stored password is not sent in clear because somebody with a token says so."""
    infos = remote(provider)["infos"] | {"outtls": "starttls"}
    path = f"{REMOTES}/{await user.add_remote(provider, protocol='smtp', infos=infos)}"
    reply = await user.call("PATCH", path, {"infos": {"outtls": "none"}})
    assert reply.status == 422
    assert "infos.outtls" in reply.json["errors"]
    patch = {"infos": {"outtls": "none"}, "credentials": {"inpassword": ME.password}}
    assert (await user.call("PATCH", path, patch)).status == 204
