"""Addresses and host names, from any text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import (
    ascii_host,
    ascii_mailbox,
    domain_of,
    normalise_identifier,
    parse_host_port,
    parse_mailbox,
)

# Text made of what addresses are made of comes nearer to one than any text does.
address_like = st.lists(
    st.sampled_from([
        "a", "B", "me", "é", "ß", "İ", "Σ", "\u017f", "\u0661", "日本", "。", "😀", "\u0301", "\u200d", "\ud800",
        ".", "..", "@", '"', "\\", "\\\\", " ", "+", "-", "_", "[", "]", "(", ")", "<", ">", ",", ";", ":",
        "IPv6:", "::1", "127.0.0.1", "example", ".org", "münchen", "xn--", "mnchen-3ya", "xn--mnchen-3ya", "x" * 64,
        "\u2028", "\x85", "\x0b",
    ]),
    max_size=8,
).map("".join)  # fmt: skip
texts = st.text() | address_like | st.builds("{}@{}".format, address_like, address_like)


# -- mailboxes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "me@example.org",
        "Jane.Doe+news@example.org",
        "o'hara@example.org",
        "!#$%&'*+-/=?^_`{|}~@example.org",
        '"a b"@example.org',
        '"a@b"@example.org',
        r'"a\"b\\c"@example.org',
        "me@[127.0.0.1]",
        "me@[IPv6:2001:db8::1]",
        "jané@example.org",
        "me@münchen.example",
        "用户@例子.example",
        "me@host.test",
        "me@printer.local",
        "me@app.invalid",
        "me@example.com",
    ],
)
def test_mailboxes(address: str) -> None:
    """Everything that RFC 5321, 5322 and 6531 call a mailbox is one, also within internal networks."""
    assert parse_mailbox(address) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me",
        "@example.org",
        "me@",
        "me@@example.org",
        "a b@example.org",
        ".me@example.org",
        "me.@example.org",
        "a..b@example.org",
        '"a"b"@example.org',
        "me@-example.org",
        "me@exa mple.org",
        "me@[127.0.0.256]",
        "me@[IPv6:xyz]",
        "Jane <me@example.org>",
        "<me@example.org>",
        "me@example.org,you@example.org",
        "(comment)me@example.org",
        "x" * 250 + "@example.org",
        "me@" + "x" * 64 + ".example",
        "me@" + "x." * 126 + "example",
    ],
)
def test_no_mailboxes(text: str) -> None:
    """What is no mailbox is refused with a sentence."""
    with pytest.raises(ValueError, match=r"\w+ \w+ \w+"):
        parse_mailbox(text)


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\r\n"])
@pytest.mark.parametrize(
    "place", ["{}me@example.org", "m{}e@example.org", '"m{}e"@example.org', "me@example.org{}"]
)
def test_line_breaks_are_refused(character: str, place: str) -> None:
    """No header and no envelope gets a line break or a NUL through an address."""
    with pytest.raises(ValueError, match="line break or a NUL"):
        parse_mailbox(place.format(character))


def test_long_text_is_refused() -> None:
    """What is far too long is refused before it is read: to put a million accents in order takes minutes."""
    with pytest.raises(ValueError, match="too long"):
        parse_mailbox("a" + "\u0301\u0316" * 500_000 + "@example.org")


def test_domain_is_shown_in_unicode() -> None:
    """A domain in A-labels is read in Unicode; the local part stays as written."""
    assert parse_mailbox("Me@xn--mnchen-3ya.example") == "Me@münchen.example"


@given(texts)
def test_any_text_is_a_mailbox_or_refused(text: str) -> None:
    """parse_mailbox raises nothing but ValueError."""
    try:
        address = parse_mailbox(text)
    except ValueError:
        return
    assert parse_mailbox(address) == address
    assert "@" in address


@given(texts)
def test_mailboxes_fit_into_a_header(text: str) -> None:
    """A mailbox has no control character, no line or paragraph separator and no lone surrogate."""
    try:
        address = parse_mailbox(text)
    except ValueError:
        return
    assert not {unicodedata.category(character) for character in address} & {"Cc", "Cs", "Zl", "Zp"}


@given(texts)
def test_ascii_form_is_the_same_mailbox(text: str) -> None:
    """Every mailbox has a form with an ASCII domain, and that is read as the same mailbox."""
    try:
        address = parse_mailbox(text)
    except ValueError:
        return
    other = ascii_mailbox(address)
    assert domain_of(other).isascii()
    assert normalise_identifier(other) == normalise_identifier(address)


# -- identifiers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("me@münchen.example", "me@xn--mnchen-3ya.example"),
        ("ME@MÜNCHEN.example", "me@XN--MNCHEN-3YA.EXAMPLE"),
        ("Me@Example.ORG", "me@example.org"),
        ("JANÉ@example.org", "jané@example.org"),
        ("jane\u0301@example.org", "jan\u00e9@example.org"),
        ("İ@example.org", "İ@EXAMPLE.org"),
    ],
)
def test_spellings_of_one_identifier(one: str, two: str) -> None:
    """Case, the domain's spelling and the Unicode composition do not make another identifier."""
    assert normalise_identifier(one) == normalise_identifier(two)


def test_identifier_is_stored_in_unicode() -> None:
    """An identifier is lower case with its domain in Unicode."""
    assert normalise_identifier("ME@XN--MNCHEN-3YA.example") == "me@münchen.example"


@given(texts)
def test_normalising_twice_changes_nothing(text: str) -> None:
    """An identifier is its own normal form, and it is a mailbox."""
    try:
        identifier = normalise_identifier(text)
    except ValueError:
        return
    assert normalise_identifier(identifier) == identifier


# -- ASCII forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("Me@münchen.example", "Me@xn--mnchen-3ya.example"),
        ("jané@münchen.example", "jané@xn--mnchen-3ya.example"),
        ("me@[IPv6:2001:db8::1]", "me@[IPv6:2001:db8::1]"),
        ('"a@b"@example.org', '"a@b"@example.org'),
    ],
)
def test_ascii_mailbox(address: str, expected: str) -> None:
    """The domain becomes ASCII; a local part has no ASCII form, an address literal needs none."""
    assert ascii_mailbox(address) == expected


def test_ascii_host() -> None:
    """A host name goes to the network in lower case A-labels."""
    assert ascii_host("MÜNCHEN.Example") == "xn--mnchen-3ya.example"
    assert ascii_host("Mail.Example.ORG") == "mail.example.org"


def test_ascii_host_that_is_none() -> None:
    """A name that IDNA 2008 does not know is refused by its name."""
    with pytest.raises(ValueError, match="is no host name"):
        ascii_host("\u2603\u0301..example")


def test_domain_of() -> None:
    """The domain stands behind the last @."""
    assert domain_of('"a@b"@example.org') == "example.org"


# -- host and port -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mail.example.org", "mail.example.org", None),
        ("mail.example.org:993", "mail.example.org", 993),
        ("  mail.example.org:993\n", "mail.example.org", 993),
        ("MAIL.Example.org.", "mail.example.org", None),
        ("mail.example.org.:25", "mail.example.org", 25),
        ("münchen.example:465", "xn--mnchen-3ya.example", 465),
        ("localhost", "localhost", None),
        ("mail_1.internal", "mail_1.internal", None),
        ("127.0.0.1", "127.0.0.1", None),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:DB8:0::1]:993", "2001:db8::1", 993),
        ("::1", "::1", None),
        ("[::FFFF:192.0.2.1]:993", "192.0.2.1", 993),
        ("::ffff:c000:201", "192.0.2.1", None),
        ("host:65535", "host", 65535),
        ("x" * 63 + ".example", "x" * 63 + ".example", None),
    ],
)
def test_host_and_port(text: str, host: str, port: int | None) -> None:
    """A server is named by a host name or an IP address, perhaps with a port."""
    assert parse_host_port(text) == (host, port)


@pytest.mark.parametrize("port", ["0", "65536", "99999", "123456", "-1", "+1", "1.0", "imap", "١٢", " 25", "2 5"])
def test_malformed_ports(port: str) -> None:
    """A port is a number from 1 to 65535, in ASCII digits."""
    with pytest.raises(ValueError, match="port"):
        parse_host_port(f"mail.example.org:{port}")


@pytest.mark.parametrize("host", ["mail.example.org", "[::1]", "127.0.0.1"])
def test_colon_without_port(host: str) -> None:
    """A colon announces a port."""
    with pytest.raises(ValueError, match="no port behind it"):
        parse_host_port(f"{host}:")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        ":993",
        "a..b",
        ".a",
        "-a.example",
        "a-.example",
        "a b.example",
        "a\nb.example",
        "a\0b",
        "x" * 64 + ".example",
        "x." * 126 + "xx",
        "imap://mail.example.org",
        "mail.example.org/path",
        "me@mail.example.org",
        "[mail.example.org]",
        "[127.0.0.1]",
        "[::1",
        "::1]",
        "[[::1]]",
        "[::1]993",
        "::12345",
        "fe80::1%eth0",
        "[fe80::1%eth0]:25",
        "::1%a\nb",
    ],
)
def test_no_hosts(text: str) -> None:
    """What names no host is refused with an example; a zone has no meaning beyond one machine (RFC 4007 §11)."""
    with pytest.raises(ValueError, match=r"is no host name|has no valid port"):
        parse_host_port(text)


host_like = st.lists(
    st.sampled_from([
        "a", "Z", "9", "mail", ".", "..", "-", "_", ":", "::", "[", "]", "%", "@", "/", " ", "\n", "\0", "\u2028",
        "993", "65536", "ffff", "127.0.0.1", "münchen", "ß", "xn--", "。", "日本", "😀", "\u200d", "\u0301",
        "\u0661", "\ud800",
    ]),
    max_size=8,
).map("".join)  # fmt: skip


@given(st.text() | host_like)
def test_any_text_is_a_server_or_refused(text: str) -> None:
    """parse_host_port raises nothing but ValueError; what it returns is ASCII without spaces, and its own form."""
    try:
        host, port = parse_host_port(text)
    except ValueError:
        return
    assert host.isascii()
    assert host.isprintable()
    assert not set(host) & set(" %[]@/")
    assert port is None or 1 <= port <= 65535
    assert parse_host_port(host) == (host, None)
