"""What the DNS says of a domain that is hosted here, held against the records that its owner has to publish.

1. Find the zone that the domain lies in, and the addresses of its name servers; 2. ask these whether the domain
exists; 3. ask them for each of the records, all at the same time; 4. say what is missing or wrong, and what to do.

A domain's owner chooses its name servers: they are asked only at addresses to which connections are allowed.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from dns.exception import DNSException
from dns.name import Name, from_text, root

from gateway.domain import Domain, DomainCheck, Fault, Record
from gateway.errors import Unreachable
from protocols import spf
from protocols.dns import Lookup, Zone
from protocols.network import Network

_PORT = 53
_LIFETIME_S = 10.0
_MAX_HOSTS = 4  # that serve one zone
_MAX_SERVERS = 6  # addresses of theirs
_MAX_ALIASES = 8
_MAX_NAMED = 5  # hosts in a sentence
_WSP = " \t\r\n"
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_Check = Callable[[Lookup, Name], Awaitable[Fault | None]]


class DnsProbe:
    """Looks at domains from outside. ``lifetime``: seconds for all checks of one, of which a query gets a fifth."""

    def __init__(self, network: Network, port: int = _PORT, *, lifetime: float = _LIFETIME_S) -> None:
        self._network = network
        self._port = port
        self._lifetime = lifetime

    async def check(self, domain: Domain, records: Sequence[Record]) -> Mapping[str, DomainCheck]:
        """Return how the external checks end, by name: whether the domain's DNS has these records."""
        name = from_text(domain.ascii_name)
        checks = _plan(records)
        deadline = asyncio.get_running_loop().time() + self._lifetime
        try:
            async with asyncio.timeout_at(deadline):
                zone = await self._zone_of(name)
                exists = zone is not None and await zone.exists(name)
        except (Unreachable, TimeoutError) as error:
            return dict.fromkeys(["domain_exist", *checks], _ended(_no_answer(name, error)))
        look_up = zone.records if zone and exists else _nothing
        ended = await asyncio.gather(*(_run(check, look_up, name, deadline) for check in checks.values()))
        return {
            "domain_exist": _ended(None if exists else _must_exist(name)),
            **dict(zip(checks, ended, strict=True)),
        }

    async def _zone_of(self, name: Name) -> Zone | None:
        """Return the zone that the domain lies in, None where there is none. Raises Unreachable."""
        dns = self._network.dns
        if not (found := await dns.zone_of(name)):
            return None
        zone, hosts = found
        answers = await asyncio.gather(*map(dns.addresses, hosts[:_MAX_HOSTS]), return_exceptions=True)
        by_host = [each for each in answers if not isinstance(each, BaseException)]
        servers = [each for each in chain.from_iterable(zip_longest(*by_host)) if each]
        allowed = [each for each in servers if self._network.is_allowed(each)][:_MAX_SERVERS]
        if not allowed:
            raise Unreachable(
                f"None of the name servers of {_text(zone)} has a public address. Correct its NS records."
            )
        return Zone(zone, allowed, dns, port=self._port, timeout=self._lifetime / 5)


async def _run(check: _Check, look_up: Lookup, domain: Name, deadline: float) -> DomainCheck:
    try:
        async with asyncio.timeout_at(deadline):
            return _ended(await check(look_up, domain))
    except (Unreachable, TimeoutError) as error:
        return _ended(_no_answer(domain, error))
    except DNSException:  # a name of 253 letters has no room for another label
        return _ended(Fault("too_long", f"{_text(domain)} is too long for this record. Take a shorter domain."))


async def _nothing(_name: Name, _kind: str) -> Sequence[Any]:
    """Look up what is not there: of a domain that does not exist each check says what to publish."""
    return ()


def _ended(fault: Fault | None) -> DomainCheck:
    return DomainCheck(internal=False, faults=(fault,) if fault else ())


def _no_answer(domain: Name, error: Exception) -> Fault:
    late = f"The name servers that are asked for {_text(domain)} did not answer in time. Do they work?"
    return Fault("no_answer", str(error) or late)


def _must_exist(domain: Name) -> Fault:
    return Fault(
        "must_exist",
        f"{_text(domain)} is not in the DNS. Register the domain, or publish its records in the zone that it is a"
        " part of.",
    )


# -- what to check -----------------------------------------------------------------------------------------------


def _plan(records: Sequence[Record]) -> Mapping[str, _Check]:
    """Return the checks that see to these records, by name.

    Records of another shape are left out: clients know these checks and no others.
    """
    exchangers: list[Name] = []
    checks: dict[str, _Check] = {}
    for record in records:
        with suppress(DNSException, ValueError):  # a value that nobody could publish
            match record:
                case Record(target="", type="mx"):
                    exchangers.append(from_text(record.value))
                    checks["mx"] = partial(_check_mx, exchangers)
                case Record(target="imap" | "smtp" | "webmail" as label, type="cname"):
                    checks[f"cname_{label}"] = partial(_check_cname, label, from_text(record.value))
                case Record(target="", type="txt") if hosts := _included(record.value):
                    checks["spf"] = partial(_check_spf, hosts)
                case Record(type="txt") if record.target.endswith("._domainkey"):
                    checks["dkim"] = partial(_check_dkim, record.target, parse_dkim(record.value.encode()))
    return checks


def _included(text: str) -> Sequence[Name]:
    """Return the names that an SPF record includes: theirs list our servers."""
    mechanisms = spf.parse(text.encode()).mechanisms
    return [from_text(each.spec) for each in mechanisms if each.kind == "include"]


# -- the checks --------------------------------------------------------------------------------------------------


async def _check_mx(ours: Sequence[Name], look_up: Lookup, domain: Name) -> Fault | None:
    """See that mail for the domain comes to us first.

    A foreign host is left alone where it is asked only when ours do not answer (RFC 5321 §5.1): a backup that
    passes mail on is the owner's choice.
    """
    found = await look_up(domain, "MX")
    publish = "publish " + " and ".join(f'"MX 10 {host}"' for host in ours)
    if not found:
        return Fault("no_mx", f"{_text(domain)} has no MX record: {publish}.")
    if any(each.exchange == root for each in found):  # RFC 7505
        return Fault("wrong_mx", f'"MX 0 ." says that {_text(domain)} takes no mail: {publish} instead.')
    if not {each.exchange for each in found}.issuperset(ours):
        return Fault("wrong_mx", f"Mail for {_text(domain)} goes to {_names(found)}: {publish} instead.")
    best = min(each.preference for each in found if each.exchange in ours)
    if rivals := [each for each in found if each.exchange not in ours and each.preference <= best]:
        return Fault(
            "wrong_mx",
            f"Mail for {_text(domain)} goes to {_names(rivals)} too: remove that from its MX records, or give it a"
            f" number above {best}.",
        )
    return None


def _names(exchangers: Sequence[Any]) -> str:
    return ", ".join(sorted({_text(each.exchange) for each in exchangers})[:_MAX_NAMED])


async def _check_cname(label: str, ours: Name, look_up: Lookup, domain: Name) -> Fault | None:
    """See that a name leads to our host, by one alias or by several: clients arrive at the same place."""
    name = from_text(label, domain)
    if name == ours:  # in the domain that our hosts are in
        return None
    publish = f'publish "CNAME {ours}" there'
    if target := await _alias(look_up, name):
        end: Name | None = target
        for _ in range(_MAX_ALIASES):
            if end == ours:
                return None
            end = end and await _alias(look_up, end)
        return Fault(f"wrong_cname_{label}", f"{_text(name)} leads to {_text(target)}: {publish} instead.")
    if await look_up(name, "A") or await look_up(name, "AAAA"):
        return Fault(
            f"wrong_cname_{label}",
            f"{_text(name)} has an address of its own: remove its A and AAAA records, and {publish}.",
        )
    return Fault(f"no_cname_{label}", f"{_text(name)} is missing: {publish}.")


async def _alias(look_up: Lookup, name: Name) -> Name | None:
    found = await look_up(name, "CNAME")
    return found[0].target if found else None


async def _check_spf(hosts: Sequence[Name], look_up: Lookup, domain: Name) -> Fault | None:
    """See that receivers let mail of the domain pass that our servers send."""
    try:
        for host in hosts:
            for sender in await spf.senders(look_up, host):
                result = await spf.evaluate(look_up, domain, sender)
                if result is not spf.Result.PASS:
                    return _not_passed(domain, host, result)
    except spf.PolicyError as error:
        return Fault("wrong_spf", str(error))
    return None


def _not_passed(domain: Name, host: Name, result: spf.Result) -> Fault:
    include = f"include:{_text(host)}"
    if result is spf.Result.NONE:
        return Fault(
            "no_spf", f'{_text(domain)} has no SPF record: publish the TXT record "v=spf1 {include} -all".'
        )
    return Fault(
        "wrong_spf",
        f'Mail that our servers send for {_text(domain)} gets "{result}" from its SPF record: write "{include}"'
        ' right behind "v=spf1" there.',
    )


async def _check_dkim(selector: str, ours: DkimRecord, look_up: Lookup, domain: Name) -> Fault | None:
    """See that receivers find our key.

    A key that is only being tested (t=y) will do: signatures that are right count with it too (RFC 6376 §3.6.1).
    """
    place = from_text(selector, domain)
    name = _text(place)
    texts = [b"".join(each.strings) for each in await look_up(place, "TXT")]
    publish = "publish the TXT record that is given for it"
    if not texts:
        return Fault("no_dkim", f"{name} is missing: {publish}.")
    if len(texts) > 1:  # what receivers make of these is undefined, RFC 6376 §3.6.2.2
        return Fault("wrong_dkim", f"{name} has {len(texts)} TXT records: leave only the one that is given for it.")
    try:
        found = parse_dkim(texts[0])
    except ValueError as error:
        return Fault("wrong_dkim", f"The TXT record of {name} {error}: {publish} instead.")
    if found != ours:
        return Fault("wrong_dkim", f"{name} has another key: {publish} instead.")
    return None


# -- DKIM keys ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DkimRecord:
    """A key as published (RFC 6376 §3.6.1): its type, and the bytes that p= stands for."""

    kind: str
    key: bytes


def parse_dkim(text: bytes) -> DkimRecord:
    """Return the key of a DKIM record that mail can be verified with. Raises ValueError with half a sentence."""
    tags = _tags(text)
    if tags.get("v", "DKIM1") != "DKIM1" or "v" in list(tags)[1:]:
        raise ValueError('does not begin with "v=DKIM1"')
    if "sha256" not in _words(tags.get("h", "sha256")):  # RFC 8301 §3.1: no other is in use
        raise ValueError("does not allow SHA-256 (h=)")
    if not {"*", "email"} & set(_words(tags.get("s", "*"))):
        raise ValueError("is not for mail (s=)")
    if "p" not in tags:
        raise ValueError("has no key (p=)")
    try:
        key = b64decode("".join(tags["p"].split()), validate=True)
    except Base64Error as error:
        raise ValueError("has a key (p=) that is not whole") from error
    if not key:
        raise ValueError("says that the key is revoked (p= is empty)")
    return DkimRecord(tags.get("k", "rsa"), key)


def _tags(text: bytes) -> Mapping[str, str]:
    """Return a tag list (RFC 6376 §3.2), in its order. Raises ValueError."""
    if not text.isascii():
        raise ValueError("has letters that are not ASCII")
    parts = text.decode("ascii").split(";")
    if not parts[-1].strip(_WSP):
        parts.pop()
    tags: dict[str, str] = {}
    for part in parts:
        name, sign, value = part.partition("=")
        name = name.strip(_WSP)
        if not sign or not _TAG_NAME.fullmatch(name) or name in tags:
            raise ValueError(f"has a mistake at {part[:80]!a}")
        tags[name] = value.strip(_WSP)
    return tags


def _words(value: str) -> Sequence[str]:
    return [each.strip(_WSP) for each in value.split(":")]


def _text(name: Name) -> str:
    return name.to_text(omit_final_dot=True)
