"""Folders of an IMAP account: LIST responses (RFC 3501 §7.2.2), their names, and which of them is Sent."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from protocols.replies import printable

_MAX_NAME = 1000  # bytes
_STRING = rb'"(?:[^"\\]|\\.)*"'
_LIST = re.compile(
    rb"\((?P<flags>[^()]*)\) (?P<delimiter>" + _STRING + rb"|NIL) (?P<name>" + _STRING + rb"|.+)",
    re.DOTALL | re.IGNORECASE,
)
_LITERAL = re.compile(rb"\{[0-9]+\}")
_NAMESPACE = re.compile(rb"NAMESPACE \(\((" + _STRING + rb") ", re.DOTALL | re.IGNORECASE)
_NOT_SELECTABLE = frozenset({"\\noselect", "\\nonexistent"})  # RFC 3501 §7.2.2, RFC 5258 §3
_SENT_NAMES = (
    "sent", "sent items", "sent mail", "sent messages", "gesendet", "gesendete objekte", "gesendete elemente",
    "envoyés", "éléments envoyés", "messages envoyés", "enviados", "elementos enviados", "posta inviata", "inviati",
    "verzonden", "verzonden items", "skickat", "sendt", "wysłane", "отправленные", "已发送",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Folder:
    """A mailbox. ``name`` is as the server wrote it, in modified UTF-7, ``flags`` are in lower case.

    ``delimiter`` is empty where names are flat.
    """

    name: str
    delimiter: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def shown(self) -> str:
        """The name as people read it."""
        return printable(from_modified_utf7(self.name))

    @property
    def path(self) -> list[str]:
        """The parts of the name, in lower case: INBOX.Sent is inbox, sent."""
        shown = from_modified_utf7(self.name).casefold()
        return shown.split(self.delimiter) if self.delimiter else [shown]


def parse_list(lines: Sequence[bytes]) -> Iterator[Folder]:
    """Yield the folders of LIST responses; a name that is a literal follows its line as an item of its own.

    Left out are names that cannot be said in a command as they are.
    """
    for i, line in enumerate(lines):
        match = _LIST.match(line)
        if not match:
            continue
        follows = _LITERAL.fullmatch(match["name"])
        name = b"".join(lines[i + 1 : i + 2]) if follows else _unquoted(match["name"])
        delimiter = b"" if match["delimiter"].upper() == b"NIL" else _unquoted(match["delimiter"])
        flags = frozenset(match["flags"].decode("ascii", "replace").lower().split())
        if 0 < len(name) <= _MAX_NAME and not re.search(rb"[\0\r\n]", name):
            try:
                yield Folder(name.decode(), delimiter.decode(), flags)
            except UnicodeDecodeError:
                continue


def parse_prefix(lines: Iterable[bytes]) -> str:
    """Return what the names of a person's own folders begin with, by a NAMESPACE response (RFC 2342 §5)."""
    match = next(filter(None, map(_NAMESPACE.search, lines)), None)
    return _unquoted(match[1]).decode("ascii", "ignore") if match else ""


def find_sent(folders: Iterable[Folder]) -> Folder | None:
    """Find Sent: by its special use (RFC 6154 §2), else by name in the languages that clients have.

    Of several names the one nearest to the top is it.
    """
    usable = [folder for folder in folders if not folder.flags & _NOT_SELECTABLE]
    marked = [folder for folder in usable if "\\sent" in folder.flags]
    named = [folder for folder in usable if folder.path[-1] in _SENT_NAMES]
    named.sort(key=lambda folder: (len(folder.path), _SENT_NAMES.index(folder.path[-1])))
    return next(iter(marked + named), None)


def from_modified_utf7(name: str) -> str:
    """RFC 3501 §5.1.3: '&' shifts to base64 of UTF-16, with ',' for '/', until '-'; '&-' is '&'."""
    return re.sub(r"&([A-Za-z0-9+,]*)-", _shifted, name)


def _shifted(match: re.Match[str]) -> str:
    encoded = match[1]
    if not encoded:
        return "&"
    try:
        utf16 = b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"+,")
    except binascii.Error:
        return match[0]
    return utf16.decode("utf-16-be", "replace")


def _unquoted(string: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", string[1:-1], flags=re.DOTALL) if string.startswith(b'"') else string
