"""SPF: which servers may send mail for a domain (RFC 7208), evaluated as receivers do.

1. Fetch the domain's policy, of which there is at most one; 2. parse all of it before anything is made of it;
3. the first mechanism that matches the sending server decides, otherwise what ``redirect`` leads to, otherwise
nothing does.

The server in question is one of a set whose addresses a name's own SPF record lists. Where a policy includes that
name the server has passed: what stands in there is not in the hands of the policy's owner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any
from urllib.parse import quote

from dns.exception import DNSException
from dns.name import Name

from gateway.errors import Unreachable
from protocols.dns import Lookup

_MAX_OCTETS = 8192  # of one policy; §3.4 wants less than 512
_MAX_LOOKUPS = 10  # §4.6.4, as the next two
_MAX_VOID_LOOKUPS = 2
_MAX_EXCHANGERS = 10
_MAX_NAME = 253  # §7.3
_MAX_SENDERS = 4

_DIRECTIVE = re.compile(r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)([:/].*)?", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9._-]*)=([!-~]*)", re.IGNORECASE)
_PREFIXES = re.compile(r"(.*?)(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?")
# §7.1, without the letters that only explanations may have. What is no macro stands for itself, but for "%".
_MACRO = re.compile(r"%(?:\{([slodiphv])([1-9]\d{0,2})?(r?)([-.+,/_=]*)\}|([%_-]))", re.IGNORECASE)
_MACROS = re.compile(rf"(?:[!-$&-~]|{_MACRO.pattern})*+", re.IGNORECASE)
_MACRO_AT_END = re.compile(r"%\{[^%{}]+\}$")
_TOP_LABEL = re.compile(r"(?!\d+$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.IGNORECASE)
_ESCAPED = {"%": "%", "_": " ", "-": "%20"}


class PolicyError(ValueError):
    """A policy that receivers refuse to evaluate (permerror, §2.6.7). The text is a sentence for its owner."""


class Result(StrEnum):
    """What a receiver makes of a server (§2.6). Permerror is PolicyError here, temperror Unreachable."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - a word of RFC 7208
    FAIL = "fail"
    SOFTFAIL = "softfail"


_RESULTS = {"": Result.PASS, "+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL}


@dataclass(frozen=True, slots=True)
class Mechanism:
    """What decides, for the servers that it matches. ``spec``: a domain with macros, empty for the policy's own.

    ``network`` is that of ip4 and ip6; ``prefixes`` are those of a and mx for IPv4 and IPv6, in bits.
    """

    kind: str
    result: Result
    spec: str = ""
    network: IPv4Network | IPv6Network | None = None
    prefixes: tuple[int, int] = (32, 128)

    @property
    def asks(self) -> bool:
        """True when it counts as a look-up (§4.6.4)."""
        return self.kind not in ("all", "ip4", "ip6")


@dataclass(frozen=True, slots=True)
class Policy:
    """An SPF record."""

    mechanisms: Sequence[Mechanism]
    redirect: str = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """A server that sends mail: the name whose SPF record lists it, and its address where that is known.

    ``lookups``: how many the record of that name costs a receiver.
    """

    listed_at: Name
    address: IPv4Address | IPv6Address | None = None
    lookups: int = 0


def parse(text: bytes) -> Policy:
    """Return what an SPF record says. Raises PolicyError, whose text begins behind the record's name."""
    if len(text) > _MAX_OCTETS:
        raise PolicyError(f"is longer than {_MAX_OCTETS} octets; shorten it")
    if not is_policy(text):
        raise PolicyError('does not begin with "v=spf1"; let it')
    if not text.isascii():
        raise PolicyError("has letters that are not ASCII; remove them")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in filter(None, text.decode("ascii").split(" ")[1:]):
        if not (modifier := _MODIFIER.fullmatch(term)):
            mechanisms.append(_mechanism(term))
        elif (name := modifier[1].lower()) in ("redirect", "exp"):  # others are ignored (§6)
            if name in modifiers or not _is_spec(modifier[2]):
                raise _mistake(term)
            modifiers[name] = modifier[2]
    return Policy(mechanisms, modifiers.get("redirect", ""))


def is_policy(text: bytes) -> bool:
    """True for a TXT record that is about SPF, right or wrong (§4.5)."""
    return text[:7].lower() in (b"v=spf1", b"v=spf1 ")


def _mechanism(term: str) -> Mechanism:
    if not (match := _DIRECTIVE.fullmatch(term)):
        raise _mistake(term)
    kind, result, value = match[2].lower(), _RESULTS[match[1]], match[3] or ""
    if kind in ("ip4", "ip6"):
        return Mechanism(kind, result, network=_network(kind, value, term))
    value, prefixes = _prefixes(value) if kind in ("a", "mx") else (value, (32, 128))
    spec = value.removeprefix(":")
    if kind == "all" or (not value and kind not in ("include", "exists")):
        is_right = not value
    else:
        is_right = value.startswith(":") and _is_spec(spec)
    if not is_right or prefixes[0] > 32 or prefixes[1] > 128:  # noqa: PLR2004 - the lengths of addresses
        raise _mistake(term)
    return Mechanism(kind, result, spec, prefixes=prefixes)


def _prefixes(value: str) -> tuple[str, tuple[int, int]]:
    match = _PREFIXES.fullmatch(value)
    assert match  # noqa: S101 - it matches everything
    return match[1], (int(match[2] or 32), int(match[3] or 128))


def _network(kind: str, value: str, term: str) -> IPv4Network | IPv6Network:
    address, slash, prefix = value.removeprefix(":").partition("/")
    form = IPv4Network if kind == "ip4" else IPv6Network
    if not value.startswith(":") or "%" in address or (slash and not re.fullmatch(r"0|[1-9]\d{0,2}", prefix)):
        raise _mistake(term)
    try:
        return form(value[1:], strict=False)
    except ValueError as error:
        raise _mistake(term) from error


def _is_spec(text: str) -> bool:
    """True for a domain-spec (§7.1): it ends with a macro, or with a label below another."""
    if not _MACROS.fullmatch(text):
        return False
    _, dot, label = text.removesuffix(".").rpartition(".")
    return bool(_MACRO_AT_END.search(text) or (dot and _TOP_LABEL.fullmatch(label)))


def _mistake(term: str) -> PolicyError:
    return PolicyError(f"has a mistake at {term[:80]!a}; correct it")


async def published(look_up: Lookup, domain: Name) -> Policy | None:
    """Return the policy of a domain, None where it has none. Raises PolicyError, Unreachable."""
    texts = [b"".join(record.strings) for record in await look_up(domain, "TXT")]  # §3.3
    found = [text for text in texts if is_policy(text)]
    if len(found) > 1:
        raise PolicyError(f"{_text(domain)} has {len(found)} SPF records, of which none counts: make them one.")
    try:
        return parse(found[0]) if found else None
    except PolicyError as error:
        raise PolicyError(f"The SPF record of {_text(domain)} {error}.") from error


async def senders(look_up: Lookup, host: Name) -> Sequence[Sender]:
    """Return some of the servers that the SPF record of a name lists; one of unknown address where that fails."""
    try:
        policy = await published(look_up, host)
    except (PolicyError, Unreachable):
        policy = None
    mechanisms = policy.mechanisms if policy else []
    cost = sum(each.asks for each in mechanisms)
    networks = [each.network for each in mechanisms if each.network and each.result is Result.PASS]
    return [Sender(host, each[0], cost) for each in networks[:_MAX_SENDERS]] or [Sender(host, None, cost)]


async def evaluate(look_up: Lookup, domain: Name, sender: Sender) -> Result:
    """Return what a receiver makes of mail from postmaster at the domain that this server brings.

    Raises PolicyError (permerror), Unreachable (temperror).
    """
    return await _Evaluation(look_up, domain, sender).check_host(domain)


class _Evaluation:
    """One evaluation, with what it has spent of the limits of §4.6.4."""

    def __init__(self, look_up: Lookup, domain: Name, sender: Sender) -> None:
        self._look_up = look_up
        self._domain = domain
        self._sender = sender
        self._lookups = 0
        self._void_lookups = 0

    async def check_host(self, domain: Name) -> Result:
        """Evaluate the policy of a domain (§4)."""
        policy = await published(self._look_up, domain)
        if not policy:
            return Result.NONE
        for mechanism in policy.mechanisms:
            if await self._matches(mechanism, domain):
                return mechanism.result
        if not policy.redirect:
            return Result.NEUTRAL
        self._count(1)
        return await self._enter(policy.redirect, domain)

    async def _matches(self, mechanism: Mechanism, domain: Name) -> bool:
        if mechanism.asks:
            self._count(1)
        match mechanism.kind:
            case "all":
                return True
            case "ip4" | "ip6":
                return self._sender.address is not None and self._sender.address in (mechanism.network or ())
            case "include":
                return await self._enter(mechanism.spec, domain) is Result.PASS
            case "exists":
                target = self._expand(mechanism.spec, domain)
                return target is not None and bool(await self._ask(target, "A"))
            case "a" | "mx" if self._sender.address:
                return await self._has_address(mechanism, domain)
        return False  # ptr is out of use (§5.5), and counts only

    async def _enter(self, spec: str, domain: Name) -> Result:
        """Evaluate the policy that include or redirect names."""
        target = self._expand(spec, domain)
        if target is None:
            return Result.NEUTRAL
        if target == self._sender.listed_at:
            self._count(self._sender.lookups)
            return Result.PASS
        result = await self.check_host(target)
        if result is Result.NONE:  # §5.2, §6.1
            raise PolicyError(
                f"The SPF record of {_text(domain)} refers to {_text(target)}, which has none: remove or correct"
                " that."
            )
        return result

    async def _has_address(self, mechanism: Mechanism, domain: Name) -> bool:
        """True when an address of the target, or of its exchangers, is the sender's or near it (§5.3, §5.4)."""
        target = self._expand(mechanism.spec, domain)
        if target is None:
            return False
        is_v6 = isinstance(self._sender.address, IPv6Address)
        kind = "AAAA" if is_v6 else "A"
        if mechanism.kind == "a":
            found = await self._ask(target, kind)
        else:
            exchangers = await self._ask(target, "MX")
            if len(exchangers) > _MAX_EXCHANGERS:
                raise PolicyError(
                    f"The SPF record of {_text(domain)} has mx for {_text(target)}, which has more than"
                    f" {_MAX_EXCHANGERS} of them, where receivers give up: remove that term."
                )
            found = [record for each in exchangers for record in await self._look_up(each.exchange, kind)]
        prefix = mechanism.prefixes[is_v6]
        return any(self._sender.address in ip_network(f"{each.address}/{prefix}", strict=False) for each in found)

    async def _ask(self, name: Name, kind: str) -> Sequence[Any]:
        found = await self._look_up(name, kind)
        self._void_lookups += not found
        if self._void_lookups > _MAX_VOID_LOOKUPS:
            raise PolicyError(
                f"The SPF policy of {_text(self._domain)} names more than {_MAX_VOID_LOOKUPS} hosts that are not in"
                f" the DNS, as {_text(name)}; receivers give up on that: remove them."
            )
        return found

    def _count(self, lookups: int) -> None:
        self._lookups += lookups
        if self._lookups > _MAX_LOOKUPS:
            raise PolicyError(
                f"The SPF policy of {_text(self._domain)} takes more than {_MAX_LOOKUPS} DNS look-ups, where"
                " receivers give up: remove terms with include, a, mx, ptr or exists that are not needed."
            )

    def _expand(self, spec: str, domain: Name) -> Name | None:
        """Return a domain-spec with its macros expanded (§7); None where that takes what is not known."""
        if not spec:
            return domain
        values = self._values(domain)
        if any(match[1] and match[1].lower() not in values for match in _MACRO.finditer(spec)):
            return None
        text = _MACRO.sub(lambda match: _expand(match, values), spec)
        text = text.removesuffix(".")
        if len(text) > _MAX_NAME:  # labels on the left are left out
            text = text[-_MAX_NAME - 1 :].partition(".")[2]
        try:
            return Name([*text.encode("ascii").split(b"."), b""])
        except DNSException as error:
            raise PolicyError(f"The SPF record of {_text(domain)} has a malformed name: {spec[:80]!a}.") from error

    def _values(self, domain: Name) -> Mapping[str, str]:
        """Return what the macro letters stand for (§7.2, §7.3); what the server says in HELO is not known."""
        origin = _text(self._domain)
        values = {"s": f"postmaster@{origin}", "l": "postmaster", "o": origin, "d": _text(domain), "p": "unknown"}
        match self._sender.address:
            case IPv4Address() as address:
                values |= {"i": str(address), "v": "in-addr"}
            case IPv6Address() as address:
                values |= {"i": ".".join(address.exploded.replace(":", "")), "v": "ip6"}
        return values


def _expand(match: re.Match[str], values: Mapping[str, str]) -> str:
    letter, count, is_reversed, delimiters, escaped = match.groups()
    if escaped:
        return _ESCAPED[escaped]
    parts = re.split(f"[{re.escape(delimiters or '.')}]", values[letter.lower()])
    if is_reversed:
        parts.reverse()
    value = ".".join(parts[-int(count) :] if count else parts)
    return quote(value, safe="") if letter.isupper() else value


def _text(name: Name) -> str:
    return name.to_text(omit_final_dot=True)
