"""Message → RFC 5322 bytes."""

from __future__ import annotations

import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from uuid import uuid4

from gateway.address import ascii_host, ascii_mailbox, domain_of
from gateway.body import html_to_text
from gateway.message import Message, Participant

_ADDRESS_HEADERS = ("From", "Sender", "Reply-To", "To", "Cc", "Bcc")
_BCC = re.compile(rb"^Bcc:.*\r\n(?:[ \t].*\r\n)*", re.IGNORECASE | re.MULTILINE)


def new_message_id(identifier: str) -> str:
    """Return a fresh Message-ID at the identity's domain, without angle brackets (RFC 5322 §3.6.4)."""
    domain = domain_of(identifier)
    return f"{uuid4()}@{domain if domain.startswith('[') else ascii_host(domain)}"


def build(message: Message) -> bytes:
    """Return the sender's own copy, with Bcc; :func:`without_bcc` makes of it what recipients get.

    An HTML body goes with a plain alternative (RFC 2046 §5.1.4). Lines end with CRLF.
    """
    mail = EmailMessage(policy=SMTP.clone(cte_type="8bit", utf8=needs_smtputf8(message)))
    for name in _ADDRESS_HEADERS:
        if addresses := [_address(p) for p in message.participants if p.type == name]:
            mail[name] = addresses
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(message.date or message.date_insert)
    mail["Message-ID"] = f"<{message.internet_message_id}>"
    if message.body_is_plain:
        mail.set_content(message.body)
    else:
        mail.set_content(html_to_text(message.body))
        mail.add_alternative(message.body, subtype="html")
    return mail.as_bytes()


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


def _address(participant: Participant) -> Address:
    local_part, _, domain = ascii_mailbox(participant.address).rpartition("@")
    if local_part.startswith('"'):  # Address quotes by itself where RFC 5322 §3.2.4 asks for it
        local_part = re.sub(r"\\(.)", r"\1", local_part[1:-1])
    return Address(participant.label, username=local_part, domain=domain)
