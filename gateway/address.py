"""Mail addresses and host names: parse and normalise.

email-validator does the parsing (RFC 5321 §4.1.2, RFC 5322 §3.4.1, RFC 6531 §3.3); here stands what the gateway
makes of the result.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

import email_validator
import idna
from email_validator import EmailNotValidError, ValidatedEmail, validate_email

# Internal networks send mail within .local, .test and localhost, and they are mailboxes by the RFCs above. Emptying
# this list is the library's own way to say so.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

_MAX_HOST = 253  # RFC 1035 §2.3.4, without the length bytes of the root
_MAX_MAILBOX = 512  # characters; twice what RFC 5321 §4.5.3.1.3 allows: accents may be written by themselves
_PORT = re.compile(r"[0-9]{1,5}")


def parse_mailbox(text: str) -> str:
    """Return an address as it goes into headers and envelopes: Unicode domain, local part as written.

    Quoted local parts and address literals are mailboxes too. Whether a domain exists is not asked here.
    Raises ValueError with a sentence for the user.
    """
    validated = _validate(text)
    return f"{validated.local_part}@{validated.domain}"


def normalise_identifier(text: str) -> str:
    """Return the one spelling under which an address is an identifier: lower case, Unicode domain.

    Local parts are case-sensitive by RFC 5321 §2.4; no provider in use distinguishes them, and two identities
    that differ in case only would be one mailbox. Raises ValueError.
    """
    return parse_mailbox(text).lower()


def ascii_mailbox(address: str) -> str:
    """Return the address with its domain in A-labels (RFC 5890), for servers without SMTPUTF8.

    The local part stays as it is: it has no ASCII form (RFC 6531 §3.2).
    """
    local_part, _, domain = address.rpartition("@")
    return f"{local_part}@{domain if domain.startswith('[') else ascii_host(domain)}"


def ascii_host(name: str) -> str:
    """Return a host name in A-labels, lower case. Raises ValueError."""
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"{name!r} is no host name") from error


def domain_of(address: str) -> str:
    """Return what stands behind the last @."""
    return address.rpartition("@")[2]


@lru_cache(maxsize=1024)  # of few servers goes the mail of many
def parse_host_port(text: str) -> tuple[str, int | None]:
    """Read ``host[:port]``; an IPv6 address with a port stands in brackets (RFC 3986 §3.2.2).

    Returns the host in ASCII and the port, or None where there is none. Raises ValueError with a sentence for
    the user.
    """
    text = text.strip()
    if bare := _bare_ipv6(text):
        return bare, None
    host, separator, port_text = text.rpartition(":")
    if not separator or text.endswith("]"):
        host, port_text = text, ""
    elif not port_text:
        raise ValueError("has a colon and no port behind it")
    port = _parse_port(port_text) if port_text else None
    return _parse_host(host), port


def _validate(text: str) -> ValidatedEmail:
    if any(character in text for character in "\r\n\0"):
        raise ValueError("holds a line break or a NUL character")
    if len(text) > _MAX_MAILBOX:  # before Unicode is normalised, whose time grows with the square of it
        raise ValueError("is too long for a mail address")
    try:
        return validate_email(
            text,
            check_deliverability=False,
            allow_quoted_local=True,
            allow_domain_literal=True,
            globally_deliverable=False,
        )
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error


def _bare_ipv6(text: str) -> str | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        address = IPv6Address(text)
    except ValueError:
        return None
    if address.scope_id:  # RFC 4007 §11: a zone means something on one machine only
        return None
    return str(address.ipv4_mapped or address)  # RFC 4291 §2.5.5.2: another spelling of the same host


def _parse_port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - the range of TCP ports
        raise ValueError("has no valid port; a port is a number from 1 to 65535")
    return int(text)


def _parse_host(host: str) -> str:
    if bare := _bare_ipv6(host):
        return bare
    try:
        return str(IPv4Address(host))
    except ValueError:
        pass
    name = ascii_host(host).removesuffix(".")
    labels = name.split(".")
    # RFC 1123 §2.1: letters, digits, hyphens; underscores occur in names of internal hosts.
    if (
        not name
        or len(name) > _MAX_HOST
        or not all(re.fullmatch(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", label) for label in labels)
    ):
        raise ValueError("is no host name; write it like mail.example.org or mail.example.org:993")
    return name
