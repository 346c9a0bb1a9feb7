"""API clients: names, passwords, who covers whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.api_client import ApiClient, Perm, client_password_fault, name_fault


def client(*perms: Perm, is_admin: bool = False) -> ApiClient:
    """Return an account."""
    return ApiClient("a", "b", is_admin, perms, None)


def test_covers() -> None:
    """An account covers who may no more than it: an administrator everybody, others who has some of their perms."""
    admin, strong, weak = client(is_admin=True), client(Perm.NEW_DOMAIN, Perm.MANAGE_USERS), client(Perm.NEW_DOMAIN)
    ranked = [admin, strong, weak, client()]
    for i, one in enumerate(ranked):
        for j, other in enumerate(ranked):
            assert one.covers(other) is (i <= j)
    assert not weak.covers(client(Perm.CREATE_USERS))
    assert not strong.covers(client(is_admin=True))


def test_stamp() -> None:
    """The stamp is another one for another account of that name and for another password, and for nothing else."""
    one = replace(client(), password_hash="$hash$")
    assert one.stamp == replace(one, is_admin=True, perms=(Perm.NEW_DOMAIN,)).stamp
    assert len({one.stamp, replace(one, client_id="c").stamp, replace(one, password_hash=None).stamp}) == 3
    assert "hash" not in one.stamp


@pytest.mark.parametrize("name", ["a", "la_regie", "x" * 128, "Ü b", "5b1e3a1c-3f0e-4b6a-9d55-6a1c7f8f2a10"])
def test_names(name: str) -> None:
    """A name is anything that can be printed, and sent in HTTP Basic."""
    assert name_fault(name) is None


@pytest.mark.parametrize("name", ["", "a:b", "a\n", "\0", "x" * 129])
def test_no_names(name: str) -> None:
    """What HTTP Basic cannot send, or nobody can read, is no name."""
    assert name_fault(name)


def test_passwords() -> None:
    """A password has a bounded length."""
    assert [length for length in (0, 1, 1024, 1025) if client_password_fault("x" * length) is None] == [1, 1024]
