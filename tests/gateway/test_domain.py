"""Domains: their names, their features, and what a check makes of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import normalise_identifier
from gateway.domain import (
    DkimKey,
    Domain,
    DomainCheck,
    DomainStatus,
    Fault,
    Feature,
    Record,
    after_check,
    features_of,
    parse_context,
    parse_domain,
)
from gateway.roles import Role

NOW = datetime(2026, 7, 20, tzinfo=UTC)
DOMAIN = Domain(
    name="bücher.example",
    context="bücher.example",
    features=tuple(Feature),
    status=DomainStatus.PENDING,
    dkim=DkimKey("dkim", "AAAA"),
    roles={"me": Role.OWNER},
    date_insert=NOW,
    checks={},
    check_at=NOW,
)
GOOD = DomainCheck(internal=False)
WRONG_DNS = DomainCheck(internal=False, faults=(Fault("no_mx", "Publish an MX."),))
BROKEN = DomainCheck(internal=True, faults=(Fault("no_cert", "There is none."),))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.org", "example.org"),
        ("Example.ORG.", "example.org"),
        ("bücher.example", "bücher.example"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("XN--BCHER-KVA.example", "bücher.example"),
        ("BÜCHER.example", "bücher.example"),
        ("bu\u0308cher.example", "bücher.example"),
        ("straße.example", "straße.example"),
        ("\uff45xample\u3002org", "example.org"),
        ("a.co.uk", "a.co.uk"),
        ("one.github.io", "one.github.io"),
        ("my.ok.test", "my.ok.test"),
    ],
)
def test_spellings(text: str, name: str) -> None:
    """A name has one spelling: lower case, Unicode, without the final dot."""
    assert parse_domain(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "example",
        "localhost",
        "example..org",
        ".example.org",
        "example.org..",
        "exa mple.org",
        "example.org\n",
        "exa\0mple.org",
        "-a.example.org",
        "a-.example.org",
        "under_score.example.org",
        "192.0.2.1",
        "[192.0.2.1]",
        "2001:db8::1",
        "me@example.org",
        "https://example.org",
        "xn--zzzzzz.example",
        "ab--cd.example",
        "☃.example",
        "\ud800.example",
        f"{'a' * 64}.example",
        f"{'a.' * 126}example",
        "ß" * 100_000 + ".example",
    ],
)
def test_no_domain(text: str) -> None:
    """What is no domain name is refused with a sentence."""
    with pytest.raises(ValueError, match="is no domain name"):
        parse_domain(text)


@pytest.mark.parametrize("text", ["co.uk", "CO.UK.", "github.io", "公司.cn", "xn--55qx5d.cn"])
def test_public_suffix(text: str) -> None:
    """Nobody has the names under which others register theirs."""
    with pytest.raises(ValueError, match="is a public suffix"):
        parse_domain(text)


@given(st.text(max_size=80) | st.from_regex(r"\A[a-zäöüßΣ.-]{1,20}\.(org|example|co\.uk)\Z"))
def test_any_text(text: str) -> None:
    """Whatever comes, there is a name that stays itself in both spellings, and in addresses, or a ValueError."""
    with suppress(ValueError):
        name = parse_domain(text)
        assert parse_domain(name) == name
        assert parse_domain(replace(DOMAIN, name=name).ascii_name) == name
        assert normalise_identifier(f"me@{name}") == f"me@{name}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.org", "example.org"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("  The  Town ", "the town"),
        ("co.uk", "co.uk"),
        ("STADT-KO\u0308LN", "stadt-köln"),
    ],
)
def test_context(text: str, name: str) -> None:
    """The name of a context has one spelling; it need not be that of a domain."""
    assert parse_context(text) == name


@pytest.mark.parametrize("text", ["", " ", "\t\n", "a\0b", "a\u200bb", "\ud800", "x" * 254])
def test_no_context(text: str) -> None:
    """A context has a name that people can read."""
    with pytest.raises(ValueError, match="is no name of a context"):
        parse_context(text)


@given(st.text(max_size=300))
def test_any_context(text: str) -> None:
    """Whatever comes, there is a name that can be stored and shown, or a ValueError."""
    with suppress(ValueError):
        assert 1 <= len(parse_context(text).encode()) <= 4 * 253


def test_features() -> None:
    """Features come in one order, each once."""
    assert features_of(["alias", "mailbox", "alias"]) == (Feature.MAILBOX, Feature.ALIAS)


def test_ascii_name() -> None:
    """In the DNS a name is in A-labels."""
    assert DOMAIN.ascii_name == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("roles", "sole"),
    [
        ({"me": Role.OWNER}, True),
        ({"me": Role.OWNER, "you": Role.ADMINISTRATOR}, True),
        ({"me": Role.OWNER, "you": Role.OWNER}, False),
        ({"me": Role.ADMINISTRATOR, "you": Role.OWNER}, False),
        ({"you": Role.OWNER}, False),
        ({}, False),
    ],
)
def test_sole_owner(roles: dict[str, Role], sole: bool) -> None:
    """Only who is the last owner is the sole one."""
    assert replace(DOMAIN, roles=roles).is_sole_owner("me") is sole


@pytest.mark.parametrize("before", list(DomainStatus))
@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ({"mx": GOOD, "cert": DomainCheck(internal=True)}, DomainStatus.ENABLED),
        ({"mx": WRONG_DNS, "cert": DomainCheck(internal=True)}, DomainStatus.ACTION_REQUIRED),
        ({"mx": WRONG_DNS, "cert": BROKEN}, DomainStatus.ACTION_REQUIRED),
        ({"mx": GOOD, "cert": BROKEN}, DomainStatus.FAILED),
    ],
)
def test_status(before: DomainStatus, checks: dict[str, DomainCheck], status: DomainStatus) -> None:
    """A fault in the DNS is the owner's, else it is ours; what is disabled stays so."""
    after = after_check(replace(DOMAIN, status=before), checks, (), NOW, 0.5)
    assert after.status is (before if before is DomainStatus.DISABLED else status)
    assert after.checks == checks


@pytest.mark.parametrize(("chance", "minutes"), [(0, 54), (0.5, 60), (1, 66)])
def test_hourly(chance: float, minutes: int) -> None:
    """The next check comes after an hour, give or take a tenth."""
    records = [Record("", "mx", "mx.home.example.")]
    after = after_check(DOMAIN, {"mx": GOOD}, records, NOW, chance)
    assert (after.last_check, after.check_at) == (NOW, NOW + timedelta(minutes=minutes))
    assert (after.records, after.version) == (records, DOMAIN.version)
