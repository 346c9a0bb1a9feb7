"""The servers and sign-ins of an identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Invalid
from gateway.identity import (
    Credentials,
    Endpoint,
    IdentityStatus,
    IdentityType,
    SignIn,
    TLSMode,
    UserIdentity,
    endpoint,
)

NONE = Credentials({})


# -- servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "port", "mode", "expected_port", "expected_mode"),
    [
        # Nothing is told: TLS, on the port that RFC 8314 and RFC 6409 name.
        ("in", "", None, 993, "implicit"),
        ("out", "", None, 587, "starttls"),
        # The port tells the mode.
        ("in", ":993", None, 993, "implicit"),
        ("in", ":143", None, 143, "starttls"),
        ("in", ":1143", None, 1143, "starttls"),
        ("out", ":465", None, 465, "implicit"),
        ("out", ":587", None, 587, "starttls"),
        ("out", ":25", None, 25, "starttls"),
        ("out", ":2525", None, 2525, "starttls"),
        # The mode tells the port.
        ("in", "", "implicit", 993, "implicit"),
        ("in", "", "starttls", 143, "starttls"),
        ("in", "", "none", 143, "none"),
        ("out", "", "implicit", 465, "implicit"),
        ("out", "", "starttls", 587, "starttls"),
        ("out", "", "none", 587, "none"),
        # Both are told, and both are kept.
        ("in", ":143", "implicit", 143, "implicit"),
        ("in", ":993", "starttls", 993, "starttls"),
        ("out", ":465", "none", 465, "none"),
        ("out", ":25", "implicit", 25, "implicit"),
    ],
)
def test_port_and_tls(direction: str, port: str, mode: str | None, expected_port: int, expected_mode: str) -> None:
    """The port follows from the TLS mode, the TLS mode from the port."""
    infos = {f"{direction}server": f"Mail.example.org{port}"}
    if mode:
        infos[f"{direction}tls"] = mode
    assert endpoint(infos, NONE, direction) == Endpoint("mail.example.org", expected_port, TLSMode(expected_mode))


def test_directions_are_apart() -> None:
    """The incoming server's settings say nothing about the outgoing one."""
    infos = {"inserver": "imap.example.org:993", "intls": "none", "outserver": "smtp.example.org:465"}
    assert endpoint(infos, NONE, "in") == Endpoint("imap.example.org", 993, TLSMode.NONE)
    assert endpoint(infos, NONE, "out") == Endpoint("smtp.example.org", 465, TLSMode.IMPLICIT)


def test_servers_of_users_are_guarded() -> None:
    """A server that a user named is never taken for one of the operator's."""
    assert not endpoint({"outserver": "localhost"}, NONE, "out").operators


def test_sign_in_goes_with_the_server() -> None:
    """Each server gets the sign-in of its direction."""
    credentials = Credentials({"inusername": "a", "inpassword": "b", "outusername": "c", "outpassword": "d"})
    infos = {"inserver": "imap.example.org", "outserver": "smtp.example.org"}
    assert endpoint(infos, credentials, "in").sign_in == SignIn("a", "b")
    assert endpoint(infos, credentials, "out").sign_in == SignIn("c", "d")


@pytest.mark.parametrize(
    ("direction", "infos", "key"),
    [
        ("in", {}, "infos.inserver"),
        ("in", {"outserver": "smtp.example.org"}, "infos.inserver"),
        ("in", {"inserver": ""}, "infos.inserver"),
        ("in", {"inserver": " "}, "infos.inserver"),
        ("in", {"inserver": "imap.example.org:0"}, "infos.inserver"),
        ("out", {}, "infos.outserver"),
        ("out", {"outserver": "a b"}, "infos.outserver"),
        ("out", {"outserver": "smtp.example.org:"}, "infos.outserver"),
        ("in", {"inserver": "imap.example.org", "intls": "ssl"}, "infos.intls"),
        ("in", {"inserver": "imap.example.org", "intls": ""}, "infos.intls"),
        ("out", {"outserver": "smtp.example.org", "outtls": "STARTTLS"}, "infos.outtls"),
    ],
)
def test_wrong_setting_is_named(direction: str, infos: dict[str, str], key: str) -> None:
    """A server setting that is missing, malformed or unknown is named by its path, with a message."""
    with pytest.raises(Invalid) as caught:
        endpoint(infos, NONE, direction)
    ((path, messages),) = caught.value.errors.items()
    assert path == key
    assert all(message.startswith("This server setting ") and message.endswith(".") for message in messages)


@given(
    st.dictionaries(st.sampled_from(["inserver", "outserver", "intls", "outtls"]), st.text(max_size=20)),
    st.sampled_from(["in", "out"]),
)
def test_any_settings_are_a_server_or_refused(infos: dict[str, str], direction: str) -> None:
    """Whatever a client sends as settings, the outcome is a server or Invalid."""
    try:
        server = endpoint(infos, NONE, direction)
    except Invalid:
        return
    assert server.host
    assert 1 <= server.port <= 65535


@pytest.mark.parametrize(
    ("protocol", "incoming", "outgoing", "hosts"),
    [
        ("imap", "b.example", "a.example:465", ("a.example", "b.example")),
        ("imap", "A.example.:993", "a.example", ("a.example",)),
        ("imap", "[::ffff:192.0.2.1]:143", "192.0.2.1", ("192.0.2.1",)),
        ("imap", "mail.bücher.example", "mail.xn--bcher-kva.example", ("mail.xn--bcher-kva.example",)),
        ("smtp", "b.example", "a.example", ("a.example",)),
        ("smtp", "", "no host", ("",)),
    ],
)
def test_hosts(protocol: str, incoming: str, outgoing: str, hosts: tuple[str, ...]) -> None:
    """The hosts that an identity has asked are each there once, whatever the spelling; of smtp it is one."""
    infos = {"inserver": incoming, "outserver": outgoing}
    one = UserIdentity("", "", IdentityType.REMOTE, protocol, "", "", IdentityStatus.ACTIVE, infos, None)
    assert one.hosts == hosts


# -- signing in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "direction", "expected"),
    [
        ({}, "in", None),
        ({}, "out", None),
        ({"inusername": "i", "inpassword": "p"}, "in", SignIn("i", "p")),
        ({"inusername": "i", "inpassword": "p"}, "out", SignIn("i", "p")),
        ({"outusername": "o", "outpassword": "q"}, "out", SignIn("o", "q")),
        ({"outusername": "o", "outpassword": "q"}, "in", None),
        ({"inusername": "i", "inpassword": "p", "outusername": "o", "outpassword": "q"}, "in", SignIn("i", "p")),
        ({"inusername": "i", "inpassword": "p", "outusername": "o", "outpassword": "q"}, "out", SignIn("o", "q")),
        ({"inusername": "i", "inpassword": "p", "outusername": "o"}, "out", SignIn("o", "p")),
        ({"inusername": "i", "inpassword": "p", "outpassword": "q"}, "out", SignIn("i", "q")),
        ({"inusername": "i", "inpassword": "p", "outusername": "", "outpassword": ""}, "out", SignIn("i", "p")),
        ({"inusername": "i"}, "in", None),
        ({"inpassword": "p"}, "in", None),
        ({"username": "u", "accesstoken": "t"}, "in", SignIn("u", "t", oauth2=True)),
        ({"username": "u", "accesstoken": "t"}, "out", SignIn("u", "t", oauth2=True)),
        ({"username": "u", "refreshtoken": "r"}, "out", None),
        ({"inusername": "i", "inpassword": "p", "accesstoken": "t"}, "out", SignIn("i", "t", oauth2=True)),
        ({"username": "u", "inusername": "i", "accesstoken": "t"}, "in", SignIn("u", "t", oauth2=True)),
    ],
)
def test_sign_in(values: dict[str, str], direction: str, expected: SignIn | None) -> None:
    """Where outgoing values are absent the incoming ones serve; authtype says whether a token is meant."""
    authtype = "oauth2" if expected and expected.oauth2 else "loginpassword"
    assert Credentials(values).sign_in(direction, authtype) == expected


def test_authtype_decides() -> None:
    """Of a password and a token the one is used that authtype names."""
    credentials = Credentials({"inusername": "i", "inpassword": "p", "username": "u", "accesstoken": "t"})
    infos = {"outserver": "smtp.example.org"}
    assert endpoint(infos, credentials, "out").sign_in == SignIn("i", "p")
    assert endpoint(infos | {"authtype": "oauth2"}, credentials, "out").sign_in == SignIn("u", "t", oauth2=True)


def test_no_secret_is_shown() -> None:
    """What holds credentials shows none of them, wherever it is printed."""
    values = {
        "inusername": "secret-name",
        "inpassword": "secret-password",
        "outusername": "secret-out-name",
        "outpassword": "secret-out-password",
        "accesstoken": "secret-token",
        "refreshtoken": "secret-refresh",
    }
    credentials = Credentials(values)
    server = endpoint({"outserver": "smtp.example.org"}, credentials, "out")
    for shown in (credentials, credentials.sign_in("out", "loginpassword"), server, (server, [credentials])):
        assert "secret" not in f"{shown!r} {shown}"
