"""SPF policies, evaluated as receivers do; the records come from a real name server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, NamedTuple

import pytest
from dns.name import Name, from_text
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Unreachable
from protocols.dns import Resolver
from protocols.spf import PolicyError, Result, Sender, evaluate, parse, senders
from tests.protocols.name_server import NameServer

DOMAIN = "city.example"
OURS = "_spf.home.example"
UNKNOWN = Sender(from_text(OURS))


def policy(names: NameServer, text: str, domain: str = DOMAIN) -> None:
    """Publish an SPF record, as strings that are shorter than the record."""
    strings = [text[i : i + 200] for i in range(0, len(text), 200)]
    names.has(domain, "TXT", " ".join('"{}"'.format(each.replace('"', r"\"")) for each in strings))


def at(address: str) -> Sender:
    return Sender(from_text(OURS), ip_address(address))


async def ask(names: NameServer, sender: Sender = UNKNOWN) -> Result:
    return await evaluate(Resolver([names.address]).records, from_text(DOMAIN), sender)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("v=spf1 include:_spf.home.example -all", Result.PASS),
        ("V=SPF1  INCLUDE:_SPF.Home.Example. -ALL ", Result.PASS),
        ("v=spf1 +include:_spf.home.example ~all", Result.PASS),
        ("v=spf1 redirect=_spf.home.example", Result.PASS),
        ("v=spf1 redirect=_spf.home.example exp=why.city.example future=%{x", Result.PASS),
        ("v=spf1 ip4:192.0.2.0/24 a mx ptr include:_spf.home.example -all", Result.PASS),
        ("v=spf1 +all", Result.PASS),
        ("v=spf1 -all include:_spf.home.example", Result.FAIL),
        ("v=spf1 ?all include:_spf.home.example", Result.NEUTRAL),
        ("v=spf1 -all redirect=_spf.home.example", Result.FAIL),
        ("v=spf1 ~include:_spf.home.example -all", Result.SOFTFAIL),
        ("v=spf1 ?include:_spf.home.example -all", Result.NEUTRAL),
        ("v=spf1 include:_spf.elsewhere.example ~all", Result.SOFTFAIL),
        ("v=spf1 include:%{i}._spf.%{d2} include:%{h}.example -all", Result.FAIL),
        ("v=spf1 include:_spf.%{l1r-}.%{d1} -all", Result.FAIL),
        ("v=spf1 redirect=%{i}.elsewhere.example", Result.NEUTRAL),
        ("v=spf1", Result.NEUTRAL),
        ("v=spf10 include:_spf.home.example", Result.NONE),
        ("no policy", Result.NONE),
    ],
)
async def test_where_a_policy_lets_us_pass(text: str, result: Result, names: NameServer) -> None:
    """A server that a name lists passes where the policy gets to that name, with the right sign, first."""
    policy(names, "v=spf1 include:_spf.home.example ?all", "_spf.home.city.example")
    policy(names, "v=spf1 -all", "_spf.postmaster.example")
    policy(names, "v=spf1 -all", "_spf.elsewhere.example")
    policy(names, text)
    assert await ask(names) is result


async def test_nested(names: NameServer) -> None:
    """What an included policy includes or is redirected to counts; its "all" decides for itself alone."""
    policy(names, "v=spf1 include:a.example include:b.example -all")
    policy(names, "v=spf1 ip4:192.0.2.1 -all", "a.example")
    policy(names, "v=spf1 redirect=c.example", "b.example")
    policy(names, "v=spf1 include:_spf.home.example ~all", "c.example")
    assert await ask(names) is Result.PASS


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("v=spf1 ip4:198.51.100.7 -all", "198.51.100.7"),
        ("v=spf1 ip4:198.51.100.0/24 -all", "198.51.100.7"),
        ("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::7"),
        ("v=spf1 a -all", "192.0.2.1"),
        ("v=spf1 a:mail.city.example -all", "2001:db8::2"),
        ("v=spf1 a/24 -all", "192.0.2.200"),
        ("v=spf1 a:mail.city.example/24//64 -all", "2001:db8::2:0"),
        ("v=spf1 mx -all", "192.0.2.2"),
        ("v=spf1 mx:city.example//126 -all", "2001:db8::1"),
        ("v=spf1 exists:%{ir}.%{v}._spf.city.example -all", "192.0.2.3"),
        ("v=spf1 exists:%{ir}.%{v}._spf.city.example -all", "2001:db8::3"),
    ],
)
async def test_addresses(text: str, address: str, names: NameServer) -> None:
    """A domain may list addresses itself, in all the ways there are; a server elsewhere does not pass by that."""
    names.has(DOMAIN, "A", "192.0.2.1")
    names.has(DOMAIN, "MX", "10 mail.city.example.", "20 missing.city.example.")
    names.has("mail.city.example", "A", "192.0.2.2")
    names.has("mail.city.example", "AAAA", "2001:db8::2")
    names.has("3.2.0.192.in-addr._spf.city.example", "A", "127.0.0.2")
    reverse = ".".join(reversed(ip_address("2001:db8::3").exploded.replace(":", "")))
    names.has(f"{reverse}.ip6._spf.city.example", "A", "127.0.0.2")
    policy(names, text)
    assert await ask(names, at(address)) is Result.PASS
    assert await ask(names, at("203.0.113.9")) is Result.FAIL
    assert await ask(names, at("2001:db8:ffff::9" if "ip6:" not in text else "2002::9")) is Result.FAIL


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("%{s}.x", r"postmaster\@city.example.x"),
        ("%{S}.x", "postmaster%40city.example.x"),
        ("%{l}.%{o}", "postmaster.city.example"),
        ("%{d1}.x", "example.x"),
        ("%{d127}.x", "city.example.x"),
        ("%{dr}.x", "example.city.x"),
        ("%{D1R}.x", "city.x"),
        ("%{l1r+-e}.x", None),
        ("%{d1r-}.x", "city.example.x"),
        ("%{o1/e=}.x", None),
        ("%{s1r.-}.x", "postmaster\\@city.x"),
        ("%{i}.%{v}.x", "192.0.2.7.in-addr.x"),
        ("%{i2r}.x", "0.192.x"),
        ("%{p}.x", "unknown.x"),
        ("a%%b%_c%-d.x", r"a%b\032c%20d.x"),
        (".".join(["%{d}"] * 30) + ".end", ".".join(["example"] + [DOMAIN] * 18 + ["end"])),
    ],
)
async def test_macros(spec: str, name: str | None, names: NameServer) -> None:
    """Macros are expanded (RFC 7208 §7); a name that gets too long loses labels on the left."""
    policy(names, f"v=spf1 exists:{spec}.example -all")
    if name is None:
        with pytest.raises(PolicyError, match="mistake"):
            await ask(names, at("192.0.2.7"))
    else:
        assert await ask(names, at("192.0.2.7")) is Result.FAIL
        assert names.asked[-1] == f"{name}.example A"


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 includes:_spf.home.example",
        "v=spf1 include:_spf.home.example -al",
        "v=spf1 include",
        "v=spf1 include: -all",
        "v=spf1 include:home",
        "v=spf1 include:home.123",
        "v=spf1 include:_spf.home.example/24",
        "v=spf1 include:%{x}.example",
        "v=spf1 include:%{c}.example",
        "v=spf1 include:%{d0}.example",
        "v=spf1 include:50%.example",
        "v=spf1 include:a..example",
        f"v=spf1 include:{'a' * 64}.example",
        "v=spf1 all:city.example",
        "v=spf1 all/24",
        "v=spf1 ptr/24",
        "v=spf1 a:",
        "v=spf1 a/33",
        "v=spf1 a//129",
        "v=spf1 a/024",
        "v=spf1 a/",
        "v=spf1 ip4",
        "v=spf1 ip4:",
        "v=spf1 ip4:192.0.2",
        "v=spf1 ip4:192.0.2.1/33",
        "v=spf1 ip4:192.0.2.1/",
        "v=spf1 ip4:192.0.2.0/255.255.255.0",
        "v=spf1 ip4:2001:db8::1",
        "v=spf1 ip6:2001:db8::1/129",
        "v=spf1 ip6:fe80::1%1",
        "v=spf1 ip6:192.0.2.1",
        "v=spf1 redirect=",
        "v=spf1 redirect=a.example redirect=a.example",
        "v=spf1 exp=a.example exp=a.example",
        "v=spf1 -all nonsense",
        "v=spf1 include:_spf.home.example\tall",
        "v=spf1 include:_spf.h\u00f6me.example",
        "v=spf1 " + "ip4:192.0.2.1 " * 600,
    ],
)
async def test_malformed(text: str, names: NameServer) -> None:
    """A mistake anywhere makes the whole policy void (RFC 7208 §4.6), also behind what would have matched."""
    policy(names, text)
    with pytest.raises(PolicyError, match=rf"SPF record of {DOMAIN} (has|is longer)"):
        await ask(names)


async def test_several_policies(names: NameServer) -> None:
    """Of several policies none counts (RFC 7208 §4.5); other texts do no harm."""
    names.has(DOMAIN, "TXT", '"v=spf1 include:_spf.home.example -all"', '"site=1"', '"v=spf1 -all"')
    with pytest.raises(PolicyError, match="has 2 SPF records"):
        await ask(names)


@pytest.mark.parametrize("term", ["include:nothing.example", "redirect=nothing.example"])
async def test_reference_to_nothing(term: str, names: NameServer) -> None:
    """A policy that refers to none is void (RFC 7208 §5.2, §6.1), and names the place."""
    policy(names, f"v=spf1 {term}")
    with pytest.raises(PolicyError, match=r"refers to nothing\.example"):
        await ask(names)


async def test_ten_lookups(names: NameServer) -> None:
    """Ten look-ups are allowed (RFC 7208 §4.6.4), those in included policies among them; one more is too many."""
    policy(names, "v=spf1 a mx ptr include:a.example include:_spf.home.example -all")
    policy(names, "v=spf1 a mx include:b.example ?all", "a.example")
    policy(names, "v=spf1 exists:b.example ptr:c.example ?all", "b.example")
    assert await ask(names) is Result.PASS
    with pytest.raises(PolicyError, match="more than 10 DNS look-ups"):
        await ask(names, Sender(from_text(OURS), lookups=1))


async def test_circle(names: NameServer) -> None:
    """A policy that includes itself ends with its look-ups."""
    policy(names, "v=spf1 include:city.example include:_spf.home.example")
    with pytest.raises(PolicyError, match="more than 10 DNS look-ups"):
        await ask(names)
    assert len(names.asked) == 11


async def test_void_lookups(names: NameServer) -> None:
    """Two names without records are allowed (RFC 7208 §4.6.4), three are too many."""
    policy(names, "v=spf1 a:a.example include:b.example include:_spf.home.example exists:d.example -all")
    policy(names, "v=spf1 mx:c.example ?all", "b.example")
    policy(names, "v=spf1 ?all", OURS)
    assert await ask(names, at("192.0.2.1")) is Result.PASS
    with pytest.raises(PolicyError, match=r"d\.example"):
        await ask(names, Sender(from_text("elsewhere.example"), ip_address("192.0.2.1")))


async def test_many_exchangers(names: NameServer) -> None:
    """More than ten mail exchangers are too many (RFC 7208 §4.6.4)."""
    names.has(DOMAIN, "MX", *(f"10 mx{n}.city.example." for n in range(11)))
    policy(names, "v=spf1 mx include:_spf.home.example -all")
    with pytest.raises(PolicyError, match="more than 10"):
        await ask(names, at("192.0.2.1"))
    assert names.asked == [f"{DOMAIN} TXT", f"{DOMAIN} MX"]


async def test_servers_that_fail(names: NameServer) -> None:
    """Where an included policy cannot be fetched there is no result."""
    policy(names, "v=spf1 include:a.example include:_spf.home.example -all")
    names.fails("a.example TXT")
    with pytest.raises(Unreachable, match=r"name servers of a\.example do not answer"):
        await ask(names)


async def test_senders(names: NameServer) -> None:
    """A name lists servers: some of the addresses that its record lets pass, and what it costs to look there."""
    policy(
        names,
        "v=spf1 a mx ip4:192.0.2.16/28 ip4:192.0.2.40/29 -ip4:192.0.2.1 ip6:2001:db8::1 include:more.example"
        " ip4:198.51.100.1 ip4:198.51.100.2 -all",
        OURS,
    )
    found = await senders(Resolver([names.address]).records, from_text(OURS))
    assert [str(each.address) for each in found] == ["192.0.2.16", "192.0.2.40", "2001:db8::1", "198.51.100.1"]
    assert {(each.listed_at, each.lookups) for each in found} == {(from_text(OURS), 3)}


@pytest.mark.parametrize("text", ["no policy", "v=spf1 nonsense", "v=spf1 a:mail.home.example -all"])
async def test_senders_of_unknown_address(text: str, names: NameServer) -> None:
    """Where the name lists no address, or nothing that can be read, its servers are known by its name alone."""
    policy(names, text, OURS)
    (found,) = await senders(Resolver([names.address]).records, from_text(OURS))
    assert found.address is None
    names.fails(f"{OURS} TXT")
    assert await senders(Resolver([names.address]).records, from_text(OURS)) == [UNKNOWN]


# -- whatever domains publish ------------------------------------------------------------------------------------


class Text(NamedTuple):
    """A TXT record as dnspython has it."""

    strings: tuple[bytes, ...]


SPECS = st.sampled_from(
    ["a.example", "b.example", "%{d}", "%{i}.%{dr}", "%{h}.c", "..", "x" * 300 + ".y", "%{S}.z"]
)
TERMS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "+", "-", "~", "?"]),
    st.sampled_from(
        ["include:", "a:", "mx:", "exists:", "redirect=", "exp=", "a", "mx", "ptr", "ip4:", "x=", "all"]
    ),
    st.one_of(st.just(""), SPECS, st.text(st.characters(max_codepoint=255), max_size=20)),
    st.sampled_from(["", "/24", "//64", "/24//64"]),
)
POLICIES = st.lists(TERMS, max_size=15).map(lambda terms: " ".join(["v=spf1", *terms]).encode())


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda text: b"v=spf1 " + text), POLICIES))
@settings(deadline=None)
def test_any_bytes(text: bytes) -> None:
    """Whatever a record holds, it is a policy or an error of ours."""
    with suppress(PolicyError):
        parse(text)


@given(st.lists(POLICIES, min_size=1, max_size=4), st.sampled_from([UNKNOWN, at("192.0.2.1"), at("2001:db8::1")]))
@settings(deadline=None)
async def test_bounded_work(policies: Sequence[bytes], sender: Sender) -> None:
    """Whatever policies refer to, an evaluation comes to a result or an error of ours after few questions."""
    asked: list[Name] = []

    async def look_up(name: Name, kind: str) -> Sequence[Any]:
        asked.append(name)
        return [Text((policies[len(name.labels) % len(policies)],))] if kind == "TXT" else []

    with suppress(PolicyError):
        assert await evaluate(look_up, from_text(DOMAIN), sender) in Result
    assert len(asked) <= 11
