"""The rules for user names and passwords."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import normalise_identifier
from gateway.user import Tokens, password_fault, username_fault


@pytest.mark.parametrize(
    "username",
    ["abc", "Jane.Doe", "a-b_c.d", "007", "x" * 42, "a1b", "UPPER"],
)
def test_user_names_that_are_taken(username: str) -> None:
    """3 to 42 letters, digits and single marks, beginning and ending with a letter or digit."""
    assert username_fault(username) is None


@pytest.mark.parametrize(
    "username",
    [
        "",
        "ab",
        "x" * 43,
        ".abc",
        "abc.",
        "-abc",
        "abc-",
        "_abc",
        "abc_",
        "a..b",
        "a.-b",
        "a__b",
        "a b",
        "a@b",
        "a+b",
        "jané",
        "\u017fam",  # the long s, an "s" where case is ignored
        "\u212aelvin",  # the Kelvin sign, a "k" where case is ignored
        "١٢٣",  # digits, but not those of ASCII
        "abc\n",
        "abc\0",
    ],
)
def test_user_names_that_are_refused(username: str) -> None:
    """A name that breaks the rule gets the rule as an answer."""
    assert "3 to 42 letters" in (username_fault(username) or "")


@given(st.text(st.sampled_from("abZ09.-_ @é"), max_size=45))
def test_every_user_name_is_a_local_part(username: str) -> None:
    """A name that the rule lets pass makes an address."""
    if username_fault(username) is None:
        assert normalise_identifier(f"{username}@example.org") == f"{username.lower()}@example.org"


@pytest.mark.parametrize("password", ["12345678", "x" * 1024, "pass word", "Pässwörter", "        "])
def test_passwords_that_are_taken(password: str) -> None:
    """8 to 1,024 characters of any kind."""
    assert password_fault(password, "someone") is None


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025])
def test_passwords_of_a_wrong_length(password: str) -> None:
    """A shorter or longer password is refused."""
    assert password_fault(password, "someone") == "A password has 8 to 1,024 characters."


@pytest.mark.parametrize("password", ["long-name", "Long-Name", "LONG-NAME"])
def test_password_is_not_the_user_name(password: str) -> None:
    """The user name is no password, however it is written."""
    assert password_fault(password, "long-Name") == "The password must not be the user name."


def test_tokens_are_not_shown() -> None:
    """The repr of a pair of tokens holds neither."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    shown = repr(Tokens("access-secret", "refresh-secret", now, now))
    assert "secret" not in shown
