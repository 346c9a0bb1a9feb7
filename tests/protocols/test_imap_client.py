"""What the IMAP client reads out of responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.imap_client import capabilities_in, status_in

ATOM = st.from_regex(r"[A-Z0-9=+:-]{1,30}", fullmatch=True)


@pytest.mark.parametrize(
    "line",
    [
        b"CAPABILITY IMAP4rev1 AUTH=PLAIN",
        b"[CAPABILITY IMAP4rev1 AUTH=PLAIN] Logged in",
        b"capability IMAP4rev1  AUTH=PLAIN ",
    ],
)
def test_capabilities(line: bytes) -> None:
    """Capabilities come in a response or in a response code, as the server writes them."""
    assert capabilities_in([b"1 EXISTS", line, b"done"]) == {"IMAP4rev1", "AUTH=PLAIN"}


@given(st.sets(ATOM, max_size=100))
def test_capabilities_survive(words: set[str]) -> None:
    """All capabilities of a response are known, up to a hundred."""
    assert capabilities_in([b"CAPABILITY " + " ".join(words).encode()]) == words


@given(st.lists(st.binary() | st.binary().map(lambda words: b"CAPABILITY " + words)))
def test_any_bytes_as_capabilities(lines: list[bytes]) -> None:
    """Whatever a server sends, its capabilities are few, short and printable."""
    found = capabilities_in(lines)
    assert len(found) <= 100
    assert all(len(word) <= 64 and word.isprintable() and word.isascii() for word in found)


def test_capabilities_are_bounded() -> None:
    """Of more capabilities than any server has, a hundred are kept, and none that is overlong."""
    words = b" ".join(b"X%d" % number for number in range(10_000))
    assert len(capabilities_in([b"CAPABILITY " + words])) == 100
    assert capabilities_in([b"CAPABILITY " + b"X" * 65]) == set()


def test_status() -> None:
    """The items of STATUS are read, also where the mailbox is a literal and the case is the server's own."""
    expected = {"uidvalidity": "1700000000", "unseen": "7"}
    assert status_in([b"INBOX (UIDVALIDITY 1700000000 UNSEEN 7)", b"done"]) == expected
    assert status_in([b"{5}", b"INBOX", b" (unseen 7 UidValidity 1700000000)"]) == expected


@given(st.lists(st.binary() | st.integers().map(lambda number: b"x (UNSEEN %d)" % number)))
def test_any_bytes_as_status(lines: list[bytes]) -> None:
    """Whatever a server sends, what is kept of its STATUS are numbers of at most ten digits."""
    found = status_in(lines)
    assert set(found) <= {"uidvalidity", "unseen"}
    assert all(value.isascii() and value.isdigit() and len(value) <= 10 for value in found.values())
