"""Which servers a stored secret may go to, whatever patches come one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import is_same_site
from gateway.entrust import Account, check_entrusted
from gateway.errors import Invalid
from gateway.identity import Credentials, TLSMode, directions, endpoint
from gateway.patch import merge

INFOS = {"inserver": "imap.old.example", "outserver": "smtp.old.example:587", "authtype": "loginpassword"}
PASSWORD = {"inusername": "me", "inpassword": "in"}
TWO = PASSWORD | {"outpassword": "out"}
TOKEN = {"username": "me", "accesstoken": "token"}
NEW = "mail.new.example"

Patch = Mapping[str, Mapping[str, str | None]]


def patched(account: Account, patch: Patch) -> Account:
    """Return the account after a patch. Raises Invalid."""
    credentials = merge(account.credentials.values, patch.get("credentials", {}))
    after = Account(account.protocol, merge(account.infos, patch.get("infos", {})), Credentials(credentials))
    check_entrusted(account, after, {*patch.get("credentials", {})})
    return after


def account(credentials: Mapping[str, str], protocol: str = "imap", **infos: str) -> Account:
    """Return an account at the old servers."""
    return Account(protocol, INFOS | infos, Credentials(credentials))


@pytest.mark.parametrize(
    ("credentials", "patch", "blamed"),
    [
        (PASSWORD, {"infos": {"outserver": NEW}}, {"infos.outserver", "credentials.inpassword"}),
        (PASSWORD, {"infos": {"inserver": NEW}}, {"infos.inserver", "credentials.inpassword"}),
        (TWO, {"infos": {"outserver": NEW}}, {"infos.outserver", "credentials.outpassword"}),
        (TOKEN, {"infos": {"inserver": NEW, "authtype": "oauth2"}}, {"infos.inserver", "credentials.accesstoken"}),
        # another secret than the one that would go there
        (TWO, {"infos": {"outserver": NEW}, "credentials": {"inpassword": "x"}}, {"infos.outserver"}),
        (PASSWORD, {"infos": {"inserver": NEW}, "credentials": {"outpassword": "x"}}, {"infos.inserver"}),
        # what serves after the secret before it is gone
        (TWO, {"infos": {"outserver": NEW}, "credentials": {"outpassword": None}}, {"credentials.inpassword"}),
        (TWO, {"infos": {"outserver": NEW}, "credentials": {"outpassword": ""}}, {"credentials.inpassword"}),
        # what is not used at the moment
        (PASSWORD, {"infos": {"inserver": NEW, "authtype": "oauth2"}}, {"infos.inserver"}),
        (PASSWORD, {"infos": {"inserver": NEW}, "credentials": {"inusername": None}}, {"infos.inserver"}),
        # addresses, public suffixes, and the dots of names
        (PASSWORD, {"infos": {"outserver": "192.0.2.1"}}, {"infos.outserver"}),
        (PASSWORD, {"infos": {"outserver": "localhost"}}, {"infos.outserver"}),
        (PASSWORD, {"infos": {"outserver": "example"}}, {"infos.outserver"}),
        (PASSWORD, {"infos": {"outserver": "smtp.old.example.new.example"}}, {"infos.outserver"}),
        (PASSWORD, {"infos": {"outserver": "smtpold.example"}}, {"infos.outserver"}),
        # in clear
        (PASSWORD, {"infos": {"outtls": "none"}}, {"infos.outtls", "credentials.inpassword"}),
        (TWO, {"infos": {"intls": "none"}, "credentials": {"outpassword": "x"}}, {"infos.intls"}),
    ],
)
def test_refused(credentials: Mapping[str, str], patch: Patch, blamed: set[str]) -> None:
    """A secret that the patch does not bring goes to no server of others, and nowhere in clear; it is told why."""
    with pytest.raises(Invalid) as refused:
        patched(account(credentials), patch)
    assert blamed <= refused.value.errors.keys()
    assert all(" again: the stored one was not given " in each[0] for each in refused.value.errors.values())


@pytest.mark.parametrize(
    ("credentials", "patch"),
    [
        ({}, {"infos": {"inserver": NEW, "outserver": NEW, "outtls": "none"}}),
        ({"inusername": "me"}, {"infos": {"outserver": NEW}}),
        (PASSWORD, {"infos": {"outserver": "SMTP.old.example.:465", "outtls": "implicit"}}),
        (PASSWORD, {"infos": {"outserver": "mail.old.example", "inserver": "old.example:143"}}),
        (PASSWORD, {"infos": {"authtype": "oauth2", "colour": "red"}}),
        (PASSWORD, {"infos": {"inserver": NEW, "outserver": NEW}, "credentials": {"inpassword": "x"}}),
        (TWO, {"infos": {"outserver": NEW, "outtls": "none"}, "credentials": {"outpassword": "x"}}),
        (TWO, {"infos": {"inserver": NEW, "outserver": NEW}, "credentials": TWO}),
        (TWO, {"infos": {"outserver": NEW}, "credentials": {"inpassword": None, "outpassword": None}}),
        (TWO, {"credentials": {"outpassword": None}}),
        (TOKEN, {"infos": {"outserver": NEW}, "credentials": {"accesstoken": "x"}}),
        (PASSWORD | TOKEN, {"infos": {"authtype": "oauth2"}}),
        (PASSWORD, {"credentials": {"inusername": "another"}}),
    ],
)
def test_allowed(credentials: Mapping[str, str], patch: Patch) -> None:
    """What is brought again, and what stays with whom it was given to, goes; without secrets all servers do."""
    patched(account(credentials), patch)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1:465", True),
        ("192.0.2.1", "[::ffff:192.0.2.1]:465", True),
        ("192.0.2.1", "198.51.2.1", False),
        ("[2001:db8::1]", "2001:DB8:0::1", True),
        ("2001:db8::1", "2001:db8::2", False),
        ("localhost", "localhost:25", True),
        ("0x7f.0.0.1", "0x08.0.0.1", False),
        ("a.github.io", "b.github.io", False),
        ("a.people.co.uk", "people.co.uk", True),
        ("a.people.co.uk", "a.others.co.uk", False),
        ("mail.bücher.example", "xn--bcher-kva.example", True),
    ],
)
def test_hosts(one: str, other: str, same: bool) -> None:
    """Hosts are of one site by their registrable domain; addresses, and names under none, if they are equal."""
    before = account(PASSWORD, "smtp", outserver=one)
    if same:
        patched(before, {"infos": {"outserver": other}})
    else:
        with pytest.raises(Invalid):
            patched(before, {"infos": {"outserver": other}})


def test_what_is_not_contacted() -> None:
    """An smtp account has one server: another that it names gets nothing, and can be any."""
    patched(account(PASSWORD, "smtp"), {"infos": {"inserver": NEW}})


SECRETS = ("inpassword", "outpassword", "accesstoken")
VALUES: Mapping[str, Mapping[str, list[str | None]]] = {
    "infos": {
        **{key: ["a.one.example", "b.one.example:465", "c.two.example"] for key in ("inserver", "outserver")},
        **{key: ["implicit", "none", None] for key in ("intls", "outtls")},
        "authtype": ["loginpassword", "oauth2"],
    },
    "credentials": {
        **{key: ["new", "", None] for key in SECRETS},
        **{key: ["me", None] for key in ("inusername", "username")},
    },
}
SETTINGS = [(part, key, value) for part, keys in VALUES.items() for key, values in keys.items() for value in values]
CHANGES = st.lists(st.lists(st.sampled_from(SETTINGS), min_size=1, max_size=3), min_size=3, max_size=8)
Settings = list[tuple[str, str, str | None]]
EVERYTHING: Settings = [("credentials", key, "new") for key in (*SECRETS, "inusername", "username")]


@settings(max_examples=400)
@given(CHANGES, st.sampled_from(["imap", "smtp"]))
def test_no_way_around(changes: list[Settings], protocol: str) -> None:
    """By no sequence of patches does a secret get to a site that the account did not have when it was given."""
    state = Account(protocol, INFOS | {"inserver": "a.one.example", "outserver": "c.two.example"}, Credentials({}))
    given_for: dict[str, list[tuple[str, bool]]] = {}
    for number, settings_of_one in enumerate([EVERYTHING, *changes]):
        patch: dict[str, dict[str, str | None]] = {"infos": {}, "credentials": {}}
        for part, key, value in settings_of_one:
            patch[part][key] = f"{key} {number}" if value == "new" else value
        try:
            state = patched(state, patch)
        except Invalid:
            continue
        servers = [endpoint(state.infos, state.credentials, direction) for direction in directions(protocol)]
        at = [(server.host, server.tls is TLSMode.NONE) for server in servers]
        given_for |= {secret: at for secret in patch["credentials"].values() if secret}
        for server in servers:
            if server.sign_in and (secret := server.sign_in.secret):
                known = [clear for host, clear in given_for[secret] if is_same_site(host, server.host)]
                assert known
                assert server.tls is not TLSMode.NONE or any(known)
