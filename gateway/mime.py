"""Message → RFC 5322 bytes.

The header is written here. The folding of Python's email package (3.11) adds spaces to long names and drops others,
decodes what merely looks like an encoded word, and fails on U+2028; tests/gateway/test_mime.py holds that this does
not. The body is the email package's work: ASCII in short lines goes as it is, all else in quoted-printable or
base64, whichever is shorter. These two encode the space that ends a flowed line; where it is bare, and lost on the
way, lines stay broken and nothing worse (RFC 3676 §4.2). Attachments pass through piece by piece.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import encodebytes
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from email.charset import Charset
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from urllib.parse import quote
from uuid import uuid4

from gateway.address import ascii_host, ascii_mailbox, domain_of
from gateway.body import html_to_text
from gateway.flowed import flowed
from gateway.message import Attachment, Message, Participant
from gateway.notice import GATEWAY_ID
from gateway.ports import Content, joined

_ADDRESS_HEADERS = ("From", "Sender", "Reply-To", "To", "Cc", "Bcc")
_BCC = re.compile(rb"^Bcc:.*\r\n(?:[ \t].*\r\n)*", re.IGNORECASE | re.MULTILINE)

_LINE_LENGTH = 76  # RFC 2047 §2, for lines with encoded words; RFC 5322 §2.1.1 has 78
_PLAIN_LENGTH = 60  # of a token that stands as it is, so that it fits behind the name of its field
_ENCODED_OCTETS = 36  # of text in an encoded word: 48 characters in base64, 60 with what surrounds them
_PLAIN = re.compile(rf"(?!.*=\?)[!-~]{{1,{_PLAIN_LENGTH}}}(?: [!-~]{{1,{_PLAIN_LENGTH}}})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UTF8 = Charset("utf-8")
_BASE64_LINE = 57  # octets, 76 characters (RFC 2045 §6.8) and CRLF
_SECTION = 50  # characters of a parameter that is cut into pieces (RFC 2231 §3)


def new_message_id(identifier: str) -> str:
    """Return a fresh Message-ID at the identity's domain, without angle brackets (RFC 5322 §3.6.4)."""
    domain = domain_of(identifier)
    return f"{uuid4()}@{domain if domain.startswith('[') else ascii_host(domain)}"


def build(message: Message) -> bytes:
    """Return the sender's own copy, with Bcc; :func:`without_bcc` makes of it what recipients get.

    An HTML body goes with a plain alternative (RFC 2046 §5.1.4). Lines end with CRLF. Only an international local
    part makes it more than ASCII: servers without 8BITMIME (RFC 6152) take everything else.

    Attachments are left out.
    """
    return "".join(_header(message)).encode() + _content(message).as_bytes()


async def stream(message: Message, read: Callable[[Attachment], AsyncIterable[bytes]]) -> AsyncIterator[bytes]:
    """Yield what :func:`build` returns, with the attachments, whose bytes ``read`` gets (RFC 2046 §5.1.3)."""
    if not message.attachments:
        yield build(message)
        return
    text = _content(message)
    del text["MIME-Version"]  # RFC 2045 §4: it is the whole message's
    boundary = f"=_{uuid4()}"  # no line of quoted-printable or base64 has "=_" (§6.7), and nobody knows the rest
    mixed = f'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="{boundary}"\r\n'
    yield f"{''.join(_header(message))}{mixed}\r\n--{boundary}\r\n".encode() + text.as_bytes()
    for attachment in message.attachments:
        yield f"\r\n--{boundary}\r\n{''.join(_attachment_header(attachment))}\r\n".encode()
        async for lines in _base64(read(attachment)):
            yield lines
    yield f"\r\n--{boundary}--\r\n".encode()


def attachable(octets: int) -> int:
    """Return how many bytes of attachments, at most, fit into so many octets of a message."""
    return octets // (_BASE64_LINE // 3 * 4 + 2) * _BASE64_LINE


def without_bcc(raw: bytes) -> bytes:
    """Return the bytes less the Bcc header, which stands in the sender's copy only (RFC 5322 §3.6.3)."""
    header, separator, body = raw.partition(b"\r\n\r\n")
    return _BCC.sub(b"", header + b"\r\n", count=1) + b"\r\n" + body if separator else raw


async def for_recipients(copy: Content) -> Content:
    """Return the sender's copy :func:`without_bcc`. No more than its header is read at once."""
    head = b""
    async for piece in copy.pieces:
        head += piece
        if b"\r\n\r\n" in head:
            break
    stripped = without_bcc(head)
    return Content(copy.size - len(head) + len(stripped), joined(stripped, copy.pieces), f"{copy.tag}-sent")


def needs_smtputf8(message: Message) -> bool:
    """True when a local part is not ASCII: then no ASCII form of the header exists (RFC 6531 §3.2, RFC 6532).

    In every other case names and subjects are RFC 2047 encoded words and domains are A-labels, which any server
    takes.
    """
    return not all(ascii_mailbox(participant.address).isascii() for participant in message.participants)


def _content(message: Message) -> EmailMessage:
    content = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    # RFC 2045 §2.7: no NUL without an encoding; Python asks for none.
    encoding = "quoted-printable" if "\0" in message.body else None
    plain = message.body if message.body_is_plain else html_to_text(message.body)
    content.set_content(flowed(plain), cte=encoding, params={"format": "flowed"})
    if not message.body_is_plain:
        content.add_alternative(message.body, subtype="html", cte=encoding)
    return content


def _attachment_header(attachment: Attachment) -> Iterator[str]:
    """Yield the header of an attachment's part.

    The file name stands in Content-Disposition (RFC 2183), as RFC 2231 wants it. Who reads no RFC 2231 looks for
    ``name`` in Content-Type, and finds it in ASCII.
    """
    name = attachment.file_name
    yield _fold("Content-Type", _parameters(attachment.content_type, "name", in_ascii(name)))
    yield _fold("Content-Disposition", _parameters("attachment", "filename", name))
    yield _fold("Content-Transfer-Encoding", ["base64"])


def _parameters(value: str, name: str, text: str) -> Iterator[str]:
    """Yield a field's value and its one parameter, cut into pieces where it is long (RFC 2231 §3, §4)."""
    yield f"{value};"
    quoted = quoted_string(text)
    if len(quoted) <= _PLAIN_LENGTH and _PLAIN.fullmatch(text):
        yield f"{name}={quoted}"
        return
    sections = list(_sections(text))
    if len(sections) == 1:
        yield f"{name}*=UTF-8''{sections[0]}"
        return
    for number, section in enumerate(sections):
        charset = "" if number else "UTF-8''"
        end = "" if number == len(sections) - 1 else ";"
        yield f"{name}*{number}*={charset}{section}{end}"


def _sections(text: str) -> Iterator[str]:
    section = ""
    for character in text:
        octets = quote(character, safe="")
        if len(section + octets) > _SECTION:
            yield section
            section = ""
        section += octets
    yield section


def quoted_string(text: str) -> str:
    """Return text as a quoted string (RFC 5322 §3.2.4, RFC 9110 §5.6.4)."""
    return '"' + re.sub(r'["\\]', r"\\\g<0>", text) + '"'


def in_ascii(name: str) -> str:
    """Return a file name as those read it who know ASCII only: é becomes e, and what has no such letter _.

    So does what would become a slash: the name of a file is not to end up as a path.
    """
    bare = "".join(each for each in unicodedata.normalize("NFKD", name) if not unicodedata.combining(each))
    return re.sub(r"[^ -~]|[/\\]", "_", bare)


async def _base64(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield lines of base64 (RFC 2045 §6.8), all but the last full."""
    rest = b""
    async for piece in pieces:
        rest += piece
        whole = len(rest) // _BASE64_LINE * _BASE64_LINE
        yield encodebytes(rest[:whole]).replace(b"\n", b"\r\n")
        rest = rest[whole:]
    yield encodebytes(rest).replace(b"\n", b"\r\n")


def _header(message: Message) -> Iterator[str]:
    for name in _ADDRESS_HEADERS:
        if mailboxes := [_mailbox(p) for p in message.participants if p.type == name]:
            yield _fold(name, _listed(mailboxes))
    yield _fold("Subject", _words(_one_line(message.subject)))
    yield _fold("Date", [format_datetime(message.date or message.date_insert)])
    yield _fold("Message-ID", [f"<{message.internet_message_id}>"])
    if message.ancestors:  # RFC 5322 §3.6.4
        yield _fold("In-Reply-To", [f"<{message.ancestors[-1]}>"])
        yield _fold("References", [f"<{ancestor}>" for ancestor in message.ancestors])
    if message.user_id == GATEWAY_ID:  # RFC 3834 §5: so that nobody's vacation answers it
        yield _fold("Auto-Submitted", ["auto-generated"])


def _fold(name: str, tokens: Iterable[str]) -> str:
    """Return a field, folded before each token that would make a line too long (RFC 5322 §2.2.3)."""
    lines = [f"{name}:"]
    for token in tokens:
        if len(lines[-1]) + len(token) >= _LINE_LENGTH and lines != [f"{name}:"]:
            lines.append("")
        lines[-1] += f" {token}"
    return "\r\n".join(lines) + "\r\n"


def _listed(mailboxes: list[list[str]]) -> Iterator[str]:
    """Yield the tokens of an address list (RFC 5322 §3.4)."""
    for mailbox in mailboxes[:-1]:
        yield from mailbox[:-1]
        yield f"{mailbox[-1]},"
    yield from mailboxes[-1]


def _mailbox(participant: Participant) -> list[str]:
    address = ascii_mailbox(participant.address)
    label = _one_line(participant.label)
    if not label:
        return [address]
    quoted = quoted_string(label)
    plain = len(quoted) <= _PLAIN_LENGTH and _PLAIN.fullmatch(label)
    return [*([quoted] if plain else _encoded_words(label)), f"<{address}>"]


def _words(text: str) -> Iterable[str]:
    """Return text as it stands where it reads back, in encoded words where it would not."""
    return text.split(" ") if _PLAIN.fullmatch(text) else _encoded_words(text)


def _encoded_words(text: str) -> Iterator[str]:
    """Yield RFC 2047 encoded words, each of whole characters (§5); readers drop the spaces between them (§6.2)."""
    word = ""
    for character in text:
        if len((word + character).encode()) > _ENCODED_OCTETS:
            yield _UTF8.header_encode(word)
            word = ""
        word += character
    if word:
        yield _UTF8.header_encode(word)


def _one_line(text: str) -> str:
    """Return text without control characters and line separators: some reader would break the line there."""
    return _CONTROL.sub(" ", text).strip()
