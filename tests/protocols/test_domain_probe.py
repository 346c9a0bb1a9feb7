"""What the DNS says of hosted domains: right zones, and each kind of wrong one, on real name servers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from dns.rcode import REFUSED, SERVFAIL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain import DkimKey, Domain, DomainStatus, Feature, Record
from protocols.domain_probe import DkimRecord, DnsProbe, parse_dkim
from tests.protocols.conftest import Reach
from tests.protocols.name_server import NameServer

DOMAIN = "city.example"
ADDRESS = "127.0.0.2"  # of its name server
KEY = b64encode(bytes(range(200))).decode()
DKIM = f"v=DKIM1; k=rsa; p={KEY}"
SPF = "v=spf1 include:_spf.home.example -all"
RECORDS = (
    Record("", "mx", "mx.home.example."),
    Record("imap", "cname", "imap.home.example."),
    Record("smtp", "cname", "smtp.home.example."),
    Record("webmail", "cname", "webmail.home.example."),
    Record("", "txt", SPF),
    Record("dkim._domainkey", "txt", DKIM),
)
CHECKS = ["domain_exist", "mx", "cname_imap", "cname_smtp", "cname_webmail", "spf", "dkim"]
RIGHT: Mapping[str, Sequence[str]] = {
    " MX": ["10 mx.home.example."],
    "imap. CNAME": ["imap.home.example."],
    "smtp. CNAME": ["smtp.home.example."],
    "webmail. CNAME": ["webmail.home.example."],
    " TXT": ['"site=1"', f'"{SPF}"'],
    "dkim._domainkey. TXT": [f'"{DKIM[:100]}" "{DKIM[100:]}"'],
}


def domain(name: str = DOMAIN) -> Domain:
    return Domain(
        name=name,
        context=name,
        features=list(Feature),
        status=DomainStatus.PENDING,
        dkim=DkimKey("dkim", KEY),
        roles={},
        date_insert=datetime.now(UTC),
        checks={},
    )


def publish(server: NameServer, name: str = DOMAIN, changed: Mapping[str, Sequence[str]] = RIGHT) -> None:
    """Publish what has to be, but for some records; an empty list: not this one."""
    for place, values in {**RIGHT, **changed}.items():
        label, _, kind = place.partition(" ")
        if values:
            server.has(f"{label}{name}", kind, *values)


def delegate(names: NameServer, *addresses: str, zone: str = DOMAIN) -> None:
    """Let the resolver know a zone's name servers."""
    hosts = {f"ns{n}.{zone}": address for n, address in enumerate(addresses, 1)}
    names.has(zone, "NS", *(f"{host}." for host in hosts))
    for host, address in hosts.items():
        names.has(host, "AAAA" if ":" in address else "A", address)


@pytest.fixture
async def server(names: NameServer) -> AsyncIterator[NameServer]:
    """The name server of the zone, which has nothing yet."""
    delegate(names, ADDRESS)
    async with NameServer(DOMAIN, ADDRESS) as server:
        yield server


@pytest.fixture
def probe(names: NameServer, server: NameServer, reach: Reach) -> DnsProbe:
    return DnsProbe(reach(nameservers=(names.address,)), server.port)


async def faults(probe: DnsProbe, records: Sequence[Record] = RECORDS, name: str = DOMAIN) -> dict[str, str]:
    """Return what is wrong, as "code: detail", by check."""
    checks = await probe.check(domain(name), records)
    assert not any(check.internal for check in checks.values())
    return {name: f"{fault.code}: {fault.detail}" for name, check in checks.items() for fault in check.faults}


# -- asking ------------------------------------------------------------------------------------------------------


async def test_right_zone(names: NameServer, server: NameServer, probe: DnsProbe) -> None:
    """A domain that has all records passes all checks, and its own server is asked for them."""
    publish(server)
    checks = await probe.check(domain(), RECORDS)
    assert list(checks) == CHECKS
    assert all(check.ok for check in checks.values())
    assert f"{DOMAIN} NS" in names.asked
    assert not {f"{DOMAIN} MX", f"{DOMAIN} TXT", f"imap.{DOMAIN} CNAME"} & set(names.asked)


async def test_what_is_checked(server: NameServer, probe: DnsProbe) -> None:
    """What the records name is checked; others than those that clients know, and malformed ones, are left out."""
    publish(server)
    odd = [
        Record("sub", "mx", "mx.home.example."),
        Record("autoconfig", "cname", "autoconfig.home.example."),
        Record("imap", "cname", "imap..example."),
        Record("", "txt", "site=1"),
        Record("", "txt", "v=spf1 mx -all"),
        Record("dkim._domainkey", "txt", "v=DKIM1; p="),
        Record("", "srv", "0 0 0 ."),
    ]
    assert list(await probe.check(domain(), odd)) == ["domain_exist"]
    assert list(await probe.check(domain(), RECORDS[:2])) == ["domain_exist", "mx", "cname_imap"]


async def test_mended(server: NameServer, probe: DnsProbe) -> None:
    """A record that was just mended counts at once: nothing is kept of what was there."""
    for values in (["10 mx.elsewhere.example."], ["10 mx.home.example."]):
        server.has(DOMAIN, "MX", *values, ttl=3600)
    assert list(await faults(probe, RECORDS[:1])) == ["mx"]
    assert not await faults(probe, RECORDS[:1])


async def test_new_domain(names: NameServer, server: NameServer, reach: Reach) -> None:
    """Nor is it kept that a domain was not there."""
    probe = DnsProbe(reach(nameservers=(names.address,)), server.port)
    assert "must_exist" in (await faults(probe, name="new.example"))["domain_exist"]
    delegate(names, "127.0.0.3", zone="new.example")
    async with NameServer("new.example", "127.0.0.3", server.port) as new:
        publish(new, "new.example")
        assert not await faults(probe, name="new.example")


async def test_idna(names: NameServer, reach: Reach) -> None:
    """A domain in Unicode form is asked for in A-labels."""
    delegate(names, ADDRESS, zone="xn--stdte-hra.example")
    async with NameServer("xn--stdte-hra.example", ADDRESS) as server:
        publish(server, "xn--stdte-hra.example")
        assert not await faults(DnsProbe(reach(nameservers=(names.address,)), server.port), name="städte.example")


async def test_in_the_zone_above(server: NameServer, probe: DnsProbe) -> None:
    """A domain may be a part of another zone, whose servers are asked."""
    publish(server, f"school.{DOMAIN}")
    assert not await faults(probe, name=f"school.{DOMAIN}")


async def test_delegated(names: NameServer, server: NameServer, probe: DnsProbe) -> None:
    """Where the zone's servers refer to a zone further down the resolver is asked for what is in there."""
    for name in (f"_domainkey.{DOMAIN}", f"new.{DOMAIN}"):
        server.has(name, "NS", "ns.elsewhere.example.")
    publish(server, changed={"dkim._domainkey. TXT": []})
    names.has(f"dkim._domainkey.{DOMAIN}", "TXT", f'"{DKIM[:100]}" "{DKIM[100:]}"')
    assert not await faults(probe)
    assert "must_exist" in (await faults(probe, name=f"new.{DOMAIN}"))["domain_exist"]
    names.has(f"new.{DOMAIN}", "SOA", "ns.elsewhere.example. me.elsewhere.example. 1 2 3 4 5")
    assert "no_mx" in (await faults(probe, name=f"new.{DOMAIN}"))["mx"]


async def test_alias_of_a_domain(names: NameServer, server: NameServer, probe: DnsProbe) -> None:
    """A domain that is an alias has the records of what it stands for, which is asked of the resolver."""
    alias = f"school.{DOMAIN}"
    names.has(alias, "CNAME", "other.example.")
    names.has("other.example", "NS", "ns.other.example.")
    names.has("other.example", "MX", "10 mx.home.example.")
    server.has(alias, "CNAME", "other.example.")
    assert not await faults(probe, RECORDS[:1], alias)


async def test_no_domain(names: NameServer, server: NameServer, probe: DnsProbe) -> None:
    """Of a domain that does not exist each check says what to publish, and nothing more is asked."""
    for name in (f"missing.{DOMAIN}", "missing.example"):
        found = await faults(probe, name=name)
        assert [each.partition(":")[0] for each in found.values()] == [
            "must_exist",
            "no_mx",
            "no_cname_imap",
            "no_cname_smtp",
            "no_cname_webmail",
            "no_spf",
            "no_dkim",
        ]
    assert server.asked == [f"missing.{DOMAIN} SOA"]


async def test_long_domain(server: NameServer, probe: DnsProbe) -> None:
    """A domain whose name has no room for the records' names is told so."""
    long = ".".join(["a" * 50] * 4) + "." + "a" * 36 + f".{DOMAIN}"
    publish(server, long, {place: [] for place in RIGHT if not place.startswith(" ")})
    assert "too_long" in (await faults(probe, name=long))["dkim"]


# -- name servers that fail --------------------------------------------------------------------------------------


def all_unanswered(found: Mapping[str, str]) -> bool:
    return list(found) == CHECKS and all(each.startswith("no_answer: ") for each in found.values())


async def test_dead_servers(names: NameServer, server: NameServer, reach: Reach) -> None:
    """Where no name server answers that is said of each check."""
    server.fails(f"{DOMAIN} SOA", None)
    found = await faults(DnsProbe(reach(nameservers=(names.address,)), server.port, lifetime=2.0))
    assert all_unanswered(found)
    assert f"No name server of {DOMAIN} answers for it" in found["mx"]


@pytest.mark.parametrize("zone", ["elsewhere.example", ""])
async def test_lame_servers(zone: str, names: NameServer, reach: Reach) -> None:
    """Name servers that refuse, or that tell hearsay, are not in charge: the owner is told what to correct."""
    delegate(names, ADDRESS)
    async with NameServer(zone, ADDRESS) as server:
        publish(server)
        found = await faults(DnsProbe(reach(nameservers=(names.address,)), server.port))
    assert all_unanswered(found)
    assert f"No name server of {DOMAIN} answers for it" in found["mx"]


async def test_one_check_fails(server: NameServer, probe: DnsProbe) -> None:
    """A question that the servers fail at is a matter of its check alone."""
    publish(server)
    server.fails(f"imap.{DOMAIN} CNAME", SERVFAIL)
    found = await faults(probe)
    assert list(found) == ["cname_imap"]
    assert found["cname_imap"].startswith("no_answer: ")


async def test_late(server: NameServer, reach: Reach, names: NameServer) -> None:
    """The checks end in time: those that had their answers keep them, the others are told apart."""
    publish(server, changed={" TXT": ['"v=spf1 include:_spf.elsewhere.example include:_spf.home.example -all"']})
    names.fails("_spf.elsewhere.example TXT", None)
    found = await faults(DnsProbe(reach(nameservers=(names.address,)), server.port, lifetime=2.0))
    assert list(found) == ["spf"]
    assert found["spf"].startswith(
        "no_answer: The name servers that are asked for city.example did not answer in time"
    )


async def test_failing_resolver(names: NameServer, server: NameServer, probe: DnsProbe) -> None:
    """A zone that resolvers cannot look into has no working name servers."""
    names.fails(f"{DOMAIN} NS", REFUSED)
    assert all_unanswered(await faults(probe))


async def test_silent_resolver(names: NameServer, reach: Reach) -> None:
    """A resolver that is silent holds up nothing for longer than the checks may take."""
    names.fails(f"{DOMAIN} NS", None)
    found = await faults(DnsProbe(reach(nameservers=(names.address,)), lifetime=0.1))
    assert all_unanswered(found)
    assert "did not answer in time" in found["mx"]


async def test_private_servers(names: NameServer, server: NameServer, reach: Reach) -> None:
    """Name servers at addresses to which no connections are allowed are not asked; others of the zone are."""
    probe = DnsProbe(reach(nameservers=(names.address,), allow=("127.0.0.3/32",)), server.port)
    publish(server)
    found = await faults(probe)
    assert all_unanswered(found)
    assert "public address" in found["mx"]
    delegate(names, ADDRESS, "127.0.0.3", zone="other.example")
    async with NameServer("other.example", "127.0.0.3", server.port) as other:
        publish(other, "other.example")
        assert not await faults(probe, name="other.example")
    assert server.asked == []


async def test_servers_without_address(names: NameServer, probe: DnsProbe) -> None:
    """Name servers that are not in the DNS themselves answer nothing."""
    names.has("other.example", "NS", "ns.missing.example.")
    assert all_unanswered(await faults(probe, name="other.example"))


async def test_long_answer(server: NameServer, probe: DnsProbe) -> None:
    """An answer that is too long for UDP is fetched by TCP."""
    publish(server, changed={" TXT": [*(f'"site={n:0200}"' for n in range(30)), f'"{SPF}"']})
    assert not await faults(probe)
    assert server.asked.count(f"{DOMAIN} TXT") == 2


# -- wrong records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchangers", "expected"),
    [
        ([], "no_mx: city.example has no MX"),
        (["0 ."], 'wrong_mx: "MX 0 ." says that city.example takes no mail'),
        (["10 mx.elsewhere.example."], "wrong_mx: Mail for city.example goes to mx.elsewhere.example: publish"),
        (
            ["10 mx.home.example.", "10 b.example.", "5 a.example."],
            "wrong_mx: Mail for city.example goes to a.example, b",
        ),
        (["10 mx.home.example.", "20 backup.example."], None),
        (["5 mx.home.example.", "20 mx.home.example.", "10 backup.example."], None),
        (["10 MX.Home.Example."], None),
    ],
)
async def test_mx(exchangers: Sequence[str], expected: str | None, server: NameServer, probe: DnsProbe) -> None:
    """Mail has to come to us first; a backup that is asked when we do not answer is the owner's choice."""
    publish(server, changed={" MX": exchangers})
    found = await faults(probe)
    assert list(found) == (["mx"] if expected else [])
    assert found.get("mx", "").startswith(expected or "")


async def test_several_of_ours(server: NameServer, probe: DnsProbe) -> None:
    """Where several hosts of ours take mail all have to be there."""
    both = [Record("", "mx", "mx.home.example."), Record("", "mx", "mx2.home.example.")]
    server.has(DOMAIN, "MX", "10 mx.home.example.")
    server.has(DOMAIN, "MX", "10 mx.home.example.", "20 mx2.home.example.")
    assert '"MX 10 mx.home.example." and "MX 10 mx2.home.example."' in (await faults(probe, both))["mx"]
    assert not await faults(probe, both)


@pytest.mark.parametrize("label", ["imap", "smtp", "webmail"])
async def test_cname(label: str, server: NameServer, probe: DnsProbe) -> None:
    """A host of the domain has to be an alias of ours: missing, it is told from one that leads elsewhere."""
    name, check = f"{label}.{DOMAIN}", f"cname_{label}"
    publish(server, changed={f"{label}. CNAME": []})
    assert (await faults(probe))[
        check
    ] == f'no_{check}: {name} is missing: publish "CNAME {label}.home.example." there.'
    server.has(name, "CNAME", "other.elsewhere.example.")
    found = await faults(probe)
    assert list(found) == [check]
    assert found[check].startswith(f"wrong_{check}: {name} leads to other.elsewhere.example: publish")


async def test_our_own_domain(server: NameServer, probe: DnsProbe) -> None:
    """In the domain that our hosts are in no host can be an alias of itself."""
    server.has(f"imap.{DOMAIN}", "A", "192.0.2.1")
    server.has(DOMAIN, "A", "192.0.2.1")
    assert not await faults(probe, [Record("imap", "cname", f"imap.{DOMAIN}.")])


@pytest.mark.parametrize(("kind", "address"), [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")])
async def test_address_instead(kind: str, address: str, server: NameServer, probe: DnsProbe) -> None:
    """An address where an alias should be is told from nothing."""
    publish(server, changed={"imap. CNAME": []})
    server.has(f"imap.{DOMAIN}", kind, address)
    assert "wrong_cname_imap: imap.city.example has an address of its own" in (await faults(probe))["cname_imap"]


async def test_chain_of_aliases(names: NameServer, server: NameServer, probe: DnsProbe) -> None:
    """An alias of an alias of our host leads there too, whichever zones it passes; a circle does not."""
    publish(server, changed={"imap. CNAME": [f"mail.{DOMAIN}."], "smtp. CNAME": [f"a.{DOMAIN}."]})
    server.has(f"mail.{DOMAIN}", "CNAME", "mail.elsewhere.example.")
    server.has(f"a.{DOMAIN}", "CNAME", f"smtp.{DOMAIN}.")
    names.has("mail.elsewhere.example", "CNAME", "imap.home.example.")
    assert list(await faults(probe)) == ["cname_smtp"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            [],
            'no_spf: city.example has no SPF record: publish the TXT record "v=spf1 include:_spf.home.example',
        ),
        (
            ["v=spf1 mx -all"],
            'wrong_spf: Mail that our servers send for city.example gets "fail" from its SPF record',
        ),
        (
            ["v=spf1 ?include:_spf.home.example"],
            'wrong_spf: Mail that our servers send for city.example gets "neutral"',
        ),
        ([SPF, "v=spf1 -all"], "wrong_spf: city.example has 2 SPF records"),
        (
            ["v=spf1 incl:_spf.home.example"],
            "wrong_spf: The SPF record of city.example has a mistake at 'incl:_spf",
        ),
        (
            ["v=spf1 " + "a " * 10 + "include:_spf.home.example"],
            "wrong_spf: The SPF policy of city.example takes more",
        ),
        (["v=spf1 ip4:198.51.100.0/24 -all"], 'wrong_spf: Mail that our servers send for city.example gets "fail"'),
        (["v=spf1 ip4:198.51.100.0/24 ip6:2001:db8::/32 -all"], None),
        (["v=spf1 include:_spf.elsewhere.example ~all"], None),
    ],
)
async def test_spf(
    texts: Sequence[str], expected: str | None, names: NameServer, server: NameServer, probe: DnsProbe
) -> None:
    """Mail of all our servers has to pass the domain's SPF policy, whether it includes ours or lists addresses."""
    names.has("_spf.home.example", "TXT", '"v=spf1 ip4:198.51.100.0/28 ip6:2001:db8::1 -all"')
    names.has("_spf.elsewhere.example", "TXT", '"v=spf1 include:_spf.home.example -all"')
    publish(server, changed={" TXT": [f'"{text}"' for text in texts]})
    server.has(DOMAIN, "A", "192.0.2.1")
    found = await faults(probe)
    assert list(found) == (["spf"] if expected else [])
    assert found.get("spf", "").startswith(expected or "")


async def test_spf_of_others(names: NameServer, server: NameServer, probe: DnsProbe) -> None:
    """An included policy that cannot be fetched is told from one that is wrong."""
    publish(server, changed={" TXT": ['"v=spf1 include:_spf.elsewhere.example include:_spf.home.example -all"']})
    names.fails("_spf.elsewhere.example TXT")
    assert "no_answer: The name servers of _spf.elsewhere.example" in (await faults(probe))["spf"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], "no_dkim: dkim._domainkey.city.example is missing"),
        ([DKIM, "v=spf1 -all"], "wrong_dkim: dkim._domainkey.city.example has 2 TXT records"),
        ([DKIM[:-4] + "AAAA"], "wrong_dkim: dkim._domainkey.city.example has another key"),
        ([DKIM.replace("rsa", "ed25519")], "wrong_dkim: dkim._domainkey.city.example has another key"),
        (
            ["v=DKIM1; p="],
            "wrong_dkim: The TXT record of dkim._domainkey.city.example says that the key is revoked",
        ),
        ([f"p={KEY}"], None),
        ([f"v=DKIM1; t=y:s; p={KEY[:100]}   {KEY[100:]}"], None),
    ],
)
async def test_dkim(texts: Sequence[str], expected: str | None, server: NameServer, probe: DnsProbe) -> None:
    """Our key has to be there, and nothing else in its place."""
    publish(server, changed={"dkim._domainkey. TXT": [f'"{text[:200]}" "{text[200:]}"' for text in texts]})
    found = await faults(probe)
    assert list(found) == (["dkim"] if expected else [])
    assert found.get("dkim", "").startswith(expected or "")


async def test_dkim_elsewhere(names: NameServer, server: NameServer, probe: DnsProbe) -> None:
    """A key may be in another zone, to which an alias leads (RFC 6376 leaves that to the DNS)."""
    publish(server, changed={"dkim._domainkey. TXT": []})
    server.has(f"dkim._domainkey.{DOMAIN}", "CNAME", "city.dkim.home.example.")
    names.has("city.dkim.home.example", "TXT", f'"{DKIM[:100]}" "{DKIM[100:]}"')
    assert not await faults(probe)


# -- DKIM records ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "p=QUJD",
        "v=DKIM1; p=QUJD;",
        "v=DKIM1;p=QUJD; ",
        " v = DKIM1 ;\tk = rsa ;\r\n p = QU\r\n JD ",
        "v=DKIM1; h=sha1 : sha256; s=email:other; n=what; g=*; x_1=y; p=QUJD",
        "s=*; p=QUJD",
    ],
)
def test_dkim_record(text: str) -> None:
    """A key is read out of a list of tags with white space in its places (RFC 6376 §3.2, §3.6.1)."""
    assert parse_dkim(text.encode()) == DkimRecord("rsa", b"ABC")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no key"),
        ("v=DKIM1", "has no key"),
        ("v=DKIM2; p=QUJD", "does not begin"),
        ("p=QUJD; v=DKIM1", "does not begin"),
        ("v=dkim1; p=QUJD", "does not begin"),
        ("v=DKIM1; h=sha1; p=QUJD", "SHA-256"),
        ("v=DKIM1; s=other; p=QUJD", "not for mail"),
        ("v=DKIM1; p= ; k=rsa", "revoked"),
        ("v=DKIM1; p=QUJ", "not whole"),
        ("v=DKIM1; p=QU!D", "not whole"),
        ("v=DKIM1; p=QUJD; p=QUJD", "mistake at ' p=QUJD'"),
        ("v=DKIM1;; p=QUJD", "mistake at ''"),
        ("v=DKIM1; nonsense; p=QUJD", "mistake at ' nonsense'"),
        ("v=DKIM1; 1=2; p=QUJD", "mistake"),
        ("v=DKIM1; n=\u00e9; p=QUJD", "ASCII"),
    ],
)
def test_wrong_dkim_record(text: str, expected: str) -> None:
    """A record that no signature can be verified with is told from another key."""
    with pytest.raises(ValueError, match=expected):
        parse_dkim(text.encode())


TAGS = st.builds(
    "{}={}".format, st.sampled_from("vkpshtn"), st.sampled_from(["DKIM1", "rsa", "QUJD", "", " *", "sha256:a"])
)


@given(st.one_of(st.binary(), st.lists(TAGS).map(lambda tags: ";".join(tags).encode())))
@settings(deadline=None)
def test_any_bytes(text: bytes) -> None:
    """Whatever a record holds, it is a key or an error of ours."""
    with suppress(ValueError):
        assert parse_dkim(text).key


TARGETS = st.sampled_from(["", "imap", "smtp", "webmail", "dkim._domainkey", "._domainkey"]) | st.text()
VALUES = (
    st.sampled_from([SPF, DKIM, "v=spf1 include:%{d}", "a" * 64, "..", "\\300.", "mx.home.example."]) | st.text()
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.builds(Record, TARGETS, st.sampled_from(["mx", "cname", "txt"]) | st.text(), VALUES)))
async def test_any_records(names: NameServer, reach: Reach, records: list[Record]) -> None:
    """Whatever a mail backend wants to have published, the checks are those that clients know."""
    names.has(DOMAIN, "NS", "ns.city.example.")
    names.has("ns.city.example", "A", names.host)
    probe = DnsProbe(reach(nameservers=(names.address,)), names.port)
    checks = await probe.check(domain(), records)
    assert {"domain_exist"} <= checks.keys() <= set(CHECKS)
    assert all(fault.code and fault.detail for check in checks.values() for fault in check.faults)
