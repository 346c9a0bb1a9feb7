"""Folders of IMAP accounts: LIST responses, names in modified UTF-7, and which of them is Sent."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.folder import Folder, find_sent, from_modified_utf7, parse_list, parse_prefix

ANY_NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=60)


def to_modified_utf7(name: str) -> str:
    """The other direction of what is under test, by RFC 3501 §5.1.3."""

    def shifted(match: re.Match[str]) -> str:
        encoded = b64encode(match[0].encode("utf-16-be"), altchars=b"+,").decode().rstrip("=")
        return f"&{encoded}-"

    return re.sub(r"[^\x20-\x7e]+", shifted, name.replace("&", "&-"))


def quoted(name: str) -> bytes:
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", name.encode()) + b'"'


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        (rb'(\HasNoChildren) "/" INBOX', Folder("INBOX", "/", frozenset({"\\hasnochildren"}))),
        (
            rb'(\Sent \Marked) "." "INBOX.Sent Items"',
            Folder("INBOX.Sent Items", ".", frozenset({"\\sent", "\\marked"})),
        ),
        (rb"() NIL Sent", Folder("Sent")),
        (rb'() nil "Sent"', Folder("Sent")),
        (rb'() "\\" "INBOX\\Sent"', Folder("INBOX\\Sent", "\\")),
        (rb'() "/" "a \"quoted\" name"', Folder('a "quoted" name', "/")),
        (rb'() "/" two words', Folder("two words", "/")),
        (rb'() "/" "Sent" ("CHILDINFO" ("SUBSCRIBED"))', Folder("Sent", "/")),
        ('() "/" "Envoyés"'.encode(), Folder("Envoyés", "/")),
    ],
)
def test_list_response(line: bytes, folder: Folder) -> None:
    """A LIST line tells flags, delimiter and name, as atom or quoted string."""
    assert list(parse_list([line])) == [folder]


def test_literal_names() -> None:
    """A name that comes as a literal follows its line."""
    lines = [rb'(\Sent) "/" {6}', b'a "b"c', b"", rb'() "/" {4}', b"{42}", rb'() "/" Last', rb'() "/" {4}']
    assert [folder.name for folder in parse_list(lines)] == ['a "b"c', "{42}", "Last"]


@pytest.mark.parametrize(
    "line",
    [
        rb'() "/" ""',
        rb'() "/" ' + b"x" * 2000,
        b'() "/" "two\nlines"',
        b'() "/" "a\0b"',
        b'() "/" "\xe9t\xe9"',
        b'() "\xe9" "x"',
        rb"LIST completed",
        rb"() / x",
        b"",
    ],
)
def test_useless_list_lines(line: bytes) -> None:
    """A name that no command could say again is passed over, and so is what is no LIST line."""
    assert list(parse_list([line])) == []


@given(st.lists(st.binary(max_size=100) | st.from_regex(rb'\((\\[A-Z]+ ?)*\) ("."|NIL) .+', fullmatch=True)))
def test_any_bytes_as_list(lines: list[bytes]) -> None:
    """Whatever a server sends as LIST, there are folders with names or none, and nothing is raised."""
    folders = list(parse_list(lines))
    for folder in folders:
        assert folder.name
        assert folder.shown.isprintable()
        assert folder.path
    find_sent(folders)
    parse_prefix(lines)


@given(ANY_NAME, st.sampled_from(["/", ".", "\\", '"', ""]))
def test_names_survive(name: str, delimiter: str) -> None:
    """A name is the same after it went through LIST, in quotes or as a literal."""
    separator = quoted(delimiter) if delimiter else b"NIL"
    as_quoted = [b"() " + separator + b" " + quoted(name)]
    as_literal = [b"() " + separator + b" {%d}" % len(name.encode()), name.encode()]
    assert list(parse_list(as_quoted)) == list(parse_list(as_literal)) == [Folder(name, delimiter)]


@given(ANY_NAME)
def test_modified_utf7(name: str) -> None:
    """What is encoded in modified UTF-7 is decoded to itself."""
    assert from_modified_utf7(to_modified_utf7(name)) == name


@given(st.text())
def test_any_text_as_modified_utf7(name: str) -> None:
    """Whatever a name is, decoding it raises nothing."""
    from_modified_utf7(name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Envoy&AOk-s", "Envoyés"),
        ("&U,BTFw-", "台北"),
        ("Tom &- Jerry", "Tom & Jerry"),
        ("&2D3cNA-", "🐴"),
        ("&2D0-", "�"),
        ("&A-", "&A-"),
        ("AT&T", "AT&T"),
        ("evil&IC4-txt", "evil txt"),
    ],
)
def test_shown_name(name: str, shown: str) -> None:
    """People see a name decoded and printable; what is no modified UTF-7 they see as it is."""
    assert Folder(name).shown == shown


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        ([rb'(\Sent) "/" Ausgang', rb'() "/" Sent'], "Ausgang"),
        ([rb'(\Noselect \Sent) "/" Ausgang', rb'() "/" Sent'], "Sent"),
        ([rb'(\NonExistent \Sent) "/" Ausgang', rb'(\NonExistent) "/" Sent'], None),
        ([rb'() "." INBOX', rb'() "." INBOX.Sent'], "INBOX.Sent"),
        ([rb'() "/" "[Gmail]/Sent Mail"', rb'() "/" "[Gmail]/All Mail"'], "[Gmail]/Sent Mail"),
        ([rb'() "/" "Clients/ACME/Sent"', rb'() "/" "SENT"', rb'() "/" "Archive/Sent"'], "SENT"),
        ([rb'() "/" "Archive/Sent"', rb'() "/" "Sent Items"'], "Sent Items"),
        ([rb'() "/" "Sent Items"', rb'() "/" "Sent"'], "Sent"),
        ([rb'() "/" "Sent.2019"', rb'() "/" "Gesendete Elemente"'], "Gesendete Elemente"),
        ([rb'() "/" "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"'], "&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"),
        ([rb'() NIL "Envoy&AOk-s"'], "Envoy&AOk-s"),
        ([rb'() "/" INBOX', rb'() "/" Drafts'], None),
        ([], None),
    ],
)
def test_sent_folder(lines: list[bytes], sent: str | None) -> None:
    """Sent is found by its special use, else by the names that clients give it, the one nearest to the top."""
    folder = find_sent(parse_list(lines))
    assert (folder.name if folder else None) == sent


@pytest.mark.parametrize(
    ("line", "prefix"),
    [
        (rb'NAMESPACE (("INBOX." ".")) NIL NIL', "INBOX."),
        (rb'NAMESPACE (("" "/")) (("~" "/")) (("#shared/" "/"))', ""),
        (rb"NAMESPACE NIL NIL NIL", ""),
        (rb"nonsense", ""),
    ],
)
def test_personal_namespace(line: bytes, prefix: str) -> None:
    """A person's own folders begin with what NAMESPACE says first (RFC 2342)."""
    assert parse_prefix([line, b"completed"]) == prefix
