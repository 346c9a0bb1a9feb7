"""A domain that is hosted here: its records, its checks, who manages it. Data and rules, no I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import idna
from publicsuffixlist import PublicSuffixList

from gateway.errors import Conflict, Deferred
from gateway.roles import Role

MOST_ACCESSES = 1000
_INTERVAL = timedelta(hours=1)
_SPREAD = 0.1  # as those of identities, checks of domains shall not come in herds
MAX_NAME = 253  # RFC 1035 §2.3.4, without the length bytes of the root
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")  # RFC 1123 §2.1
_SUFFIXES = PublicSuffixList()


class Feature(StrEnum):
    """What a domain is used for."""

    MAILBOX = "mailbox"
    WEBMAIL = "webmail"
    ALIAS = "alias"


class DomainStatus(StrEnum):
    """``action_required``: of the owner, in the DNS; ``failed``: on our side."""

    PENDING = "pending"
    ENABLED = "enabled"
    FAILED = "failed"
    DISABLED = "disabled"
    ACTION_REQUIRED = "action_required"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong: a code for machines, and a sentence that tells what to change."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class DomainCheck:
    """How one check of a domain ended. ``internal``: what it looks at is in our hands, not in the owner's."""

    internal: bool
    faults: Sequence[Fault] = ()

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class Record:
    """A DNS record to publish, as clients of dimail know it.

    ``target`` is relative to the domain, empty for the domain itself; ``type`` is mx, cname or txt. ``value`` is
    the host in A-labels with its final dot, without the preference of an MX, or the text.
    """

    target: str
    type: str
    value: str


@dataclass(frozen=True, slots=True)
class DkimKey:
    """The public half of a domain's DKIM key (RFC 6376 §3.6.1): base64 of its SubjectPublicKeyInfo."""

    selector: str
    public: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain that is hosted here.

    ``name`` is in its Unicode form, lower case; ``context`` is a space that domains share. ``records`` are what its
    owner has to publish. ``roles`` are the managers' by user_id. ``check_at`` is when a worker checks it next.
    ``version`` counts the changes that people make. ``ours``: the mail backend had nothing of that name before we
    began to host it there, or its operator has said so; until then nothing is done to what it may have.
    """

    name: str
    context: str
    features: Sequence[Feature]
    status: DomainStatus
    dkim: DkimKey
    roles: Mapping[str, Role]
    date_insert: datetime
    checks: Mapping[str, DomainCheck]
    records: Sequence[Record] = ()
    last_check: datetime | None = None
    check_at: datetime | None = None
    version: int = 0
    ours: bool = True

    @property
    def ascii_name(self) -> str:
        """The name in A-labels (RFC 5890), as DNS has it."""
        return idna.encode(self.name, uts46=True).decode("ascii")

    def is_sole_owner(self, user_id: str) -> bool:
        """True when the domain would have no owner without this user."""
        return [each for each, role in self.roles.items() if role is Role.OWNER] == [user_id]


def parse_domain(text: str) -> str:
    """Return a domain name in its one spelling: lower case, Unicode form.

    Refused are public suffixes, under which others register their names. Raises ValueError with a sentence for the
    user.
    """
    try:
        ascii_name = idna.encode(text.removesuffix("."), uts46=True).decode("ascii").lower()
        name = idna.decode(ascii_name).lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError("is no domain name; write it like example.org") from error
    labels = ascii_name.split(".")
    if len(ascii_name) > MAX_NAME or len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)):  # noqa: PLR2004 - a name and what it is under
        raise ValueError("is no domain name; write it like example.org")
    if labels[-1].isdigit():
        raise ValueError("is no domain name; it looks like an IP address")
    if not _SUFFIXES.privatesuffix(ascii_name):
        raise ValueError("is a public suffix, under which people register their domains; name one of those")
    return name


def is_same_site(one: str, other: str) -> bool:
    """Tell whether two hosts, in A-labels, are one, or are under one domain that somebody has registered.

    IP addresses are under none.
    """
    return one == other or (_site(one) == _site(other) is not None)


def _site(host: str) -> str | None:
    if ":" in host or host.rpartition(".")[2][:1].isdigit():  # an IP address: RFC 1123 §2.1, "will be alphabetic"
        return None
    return _SUFFIXES.privatesuffix(host)


def parse_context(text: str) -> str:
    """Return the name of a context in its one spelling: that of a domain where it is one, else lower case.

    Raises ValueError with a sentence for the user.
    """
    try:
        return parse_domain(text)
    except ValueError:
        name = " ".join(text.lower().split())
        if len(name) <= 4 * MAX_NAME:  # else it is refused: the time of the normalisation grows with its square
            name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(f"is no name of a context: 1 to {MAX_NAME} characters that can be printed")
    return name


def features_of(names: Collection[str]) -> Sequence[Feature]:
    """Return the features of these names, each once, in the order in which they are shown."""
    return tuple(feature for feature in Feature if feature in names)


def require_room(domain: Domain) -> None:
    """Raise Conflict where the domain has as many managers as a domain may have."""
    if len(domain.roles) >= MOST_ACCESSES:
        raise Conflict(f"{domain.name} has {MOST_ACCESSES} managers, and takes no more.")


def require_ours(domain: Domain) -> None:
    """Raise Deferred where the mail backend may have somebody else's domain of that name, see ``Domain.ours``."""
    if not domain.ours:
        raise Deferred(f"The mail servers do not host {domain.name} yet. Its checks say why.", nothing_done=True)


def after_check(
    domain: Domain, checks: Mapping[str, DomainCheck], records: Sequence[Record], at: datetime, chance: float
) -> Domain:
    """Return the domain after a check; ``chance`` is random in [0, 1)."""
    status = domain.status if domain.status is DomainStatus.DISABLED else _status(checks)
    next_at = at + _INTERVAL * (1 + _SPREAD * (2 * chance - 1))
    return replace(
        domain,
        checks=checks,
        records=records,
        status=status,
        last_check=at,
        check_at=next_at.replace(microsecond=next_at.microsecond // 1000 * 1000),
    )


def _status(checks: Mapping[str, DomainCheck]) -> DomainStatus:
    failing = [check for check in checks.values() if not check.ok]
    if not failing:
        return DomainStatus.ENABLED
    return DomainStatus.FAILED if all(check.internal for check in failing) else DomainStatus.ACTION_REQUIRED
