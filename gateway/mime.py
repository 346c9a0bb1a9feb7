"""Message → RFC 5322 bytes.

The header is written here. The folding of Python's email package (3.11) adds spaces to long names and drops others,
decodes what merely looks like an encoded word, and fails on U+2028; tests/gateway/test_mime.py holds that this does
not. The body is the email package's work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.charset import Charset
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from uuid import uuid4

from gateway.address import ascii_host, ascii_mailbox, domain_of
from gateway.body import html_to_text
from gateway.message import Message, Participant

_ADDRESS_HEADERS = ("From", "Sender", "Reply-To", "To", "Cc", "Bcc")
_BCC = re.compile(rb"^Bcc:.*\r\n(?:[ \t].*\r\n)*", re.IGNORECASE | re.MULTILINE)

_LINE_LENGTH = 76  # RFC 2047 §2, for lines with encoded words; RFC 5322 §2.1.1 has 78
_PLAIN_LENGTH = 60  # of a token that stands as it is, so that it fits behind the name of its field
_ENCODED_OCTETS = 36  # of text in an encoded word: 48 characters in base64, 60 with what surrounds them
_PLAIN = re.compile(rf"(?!.*=\?)[!-~]{{1,{_PLAIN_LENGTH}}}(?: [!-~]{{1,{_PLAIN_LENGTH}}})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UTF8 = Charset("utf-8")


def new_message_id(identifier: str) -> str:
    """Return a fresh Message-ID at the identity's domain, without angle brackets (RFC 5322 §3.6.4)."""
    domain = domain_of(identifier)
    return f"{uuid4()}@{domain if domain.startswith('[') else ascii_host(domain)}"


def build(message: Message) -> bytes:
    """Return the sender's own copy, with Bcc; :func:`without_bcc` makes of it what recipients get.

    An HTML body goes with a plain alternative (RFC 2046 §5.1.4). Lines end with CRLF. Only an international local
    part makes it more than ASCII: servers without 8BITMIME (RFC 6152) take everything else.
    """
    return "".join(_header(message)).encode() + _content(message).as_bytes()


def without_bcc(raw: bytes) -> bytes:
    """Return the bytes less the Bcc header, which stands in the sender's copy only (RFC 5322 §3.6.3)."""
    header, separator, body = raw.partition(b"\r\n\r\n")
    return _BCC.sub(b"", header + b"\r\n", count=1) + b"\r\n" + body if separator else raw


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
    if message.body_is_plain:
        content.set_content(message.body, cte=encoding)
    else:
        content.set_content(html_to_text(message.body), cte=encoding)
        content.add_alternative(message.body, subtype="html", cte=encoding)
    return content


def _header(message: Message) -> Iterator[str]:
    for name in _ADDRESS_HEADERS:
        if mailboxes := [_mailbox(p) for p in message.participants if p.type == name]:
            yield _fold(name, _listed(mailboxes))
    yield _fold("Subject", _words(_one_line(message.subject)))
    yield _fold("Date", [format_datetime(message.date or message.date_insert)])
    yield _fold("Message-ID", [f"<{message.internet_message_id}>"])


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
    quoted = '"' + re.sub(r'["\\]', r"\\\g<0>", label) + '"'
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
