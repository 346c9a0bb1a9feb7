"""gateway/attach.py: what becomes of the names and types that clients give. The rest is in tests/api."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.attach import file_name, media_type


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("report.pdf", "report.pdf"),
        ("Été à Köln.pdf", "Été à Köln.pdf"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\me\\a b.txt", "a b.txt"),
        ("directory/", "directory"),
        ("a\r\nX: y.txt", "a  X: y.txt"),
        ("a\0.txt", "a .txt"),
        ("\u202etxt.exe", "txt.exe"),
        ("a\u200f\u061ctxt.exe", "atxt.exe"),
        ("CON", "_CON"),
        ("nul .tar.gz", "_nul .tar.gz"),
        ("COM\u00b9.txt", "_COM\u00b9.txt"),
        ("con" + "x" * 300 + ".txt", "x" * 196 + ".txt"),
        ("con." + "x" * 196, "_on." + "x" * 196),
        ("concert.txt", "concert.txt"),
        ("  .hidden. ", "hidden"),
        ("x" * 300 + ".txt", "x" * 196 + ".txt"),
        ("..", "attachment"),
        ("/", "attachment"),
        ("", "attachment"),
    ],
)
def test_file_name(text: str, expected: str) -> None:
    """A name has no directory, nothing unseen, an end where it is too long, and is no device of Windows."""
    assert file_name(text) == expected


@given(st.text(st.characters()))
def test_any_file_name(text: str) -> None:
    """Whatever a client says, the name can be shown, stored and sent."""
    name = file_name(text)
    assert 1 <= len(name) <= 200
    assert not set(name) & set("/\\\r\n\0")
    assert not {unicodedata.category(each) for each in name} & {"Cc", "Cs"}
    assert file_name(name) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image/png", "image/png"),
        ("Text/HTML; charset=utf-8", "text/html"),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
        ("message/rfc822", "application/octet-stream"),
        ("multipart/mixed; boundary=x", "application/octet-stream"),
        ("text", "application/octet-stream"),
        ("text/", "application/octet-stream"),
        ("text/plain\r\nX: y", "application/octet-stream"),
        ("téxt/plain", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_media_type(text: str, expected: str) -> None:
    """A type is one of RFC 6838 that may be sent in base64, or that of bytes."""
    assert media_type(text) == expected


@given(st.text() | st.from_regex(r"[a-z]{1,5}/[a-z]{1,5}"))
def test_any_media_type(text: str) -> None:
    """Whatever a client says, the type can stand in a header."""
    assert media_type(media_type(text)) == media_type(text)
    assert media_type(text).isascii()
    assert media_type(text).isprintable()
