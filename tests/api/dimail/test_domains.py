"""Domains under ``/dimail``: the same ones as under ``/api/v2/domains``, in the words of dimail."""

from __future__ import annotations

from typing import Any

import pytest

from storage.mongo import Mongo
from tests.client import Client
from tests.dimail import FEATURES, DimailClient, new_domain

EXTERNAL = ["domain_exist", "mx", "cname_imap", "cname_smtp", "cname_webmail", "spf", "dkim"]
INTERNAL = ["postfix", "ox", "cert"]
PASSED = {"ok": True, "errors": []}


def shown(name: str, **changes: Any) -> dict[str, Any]:
    """Return a domain as clients see it."""
    nothing = dict.fromkeys(["mailbox_domain", "webmail_domain", "imap_domains", "smtp_domains"])
    return {"name": name, "features": ["mailbox", "webmail", "alias"], "context_name": name, **nothing, **changes}


async def test_host(people: DimailClient) -> None:
    """Who creates a domain may manage it; its name is taken then."""
    created = await people.host("a.ok.test")
    assert (created.status, created.json) == (201, shown("a.ok.test"))
    for path in ("/domains/a.ok.test", "/domains/a.ok.test/", "/domains/A.ok.test."):
        read = await people.by_token("GET", path)
        assert (read.status, read.json) == (200, shown("a.ok.test"))
    assert (await people.host("a.ok.test")).status == 409
    assert (await people.call("GET", "/allows/")).json == [{"user": "la_regie", "domain": "a.ok.test"}]


async def test_hosted_for_another(admin: DimailClient, people: DimailClient, mongo: Mongo) -> None:
    """What the mail backend has already, from elsewhere, exists, for administrators too."""
    elsewhere = {"_id": "a.ok.test", "context": "a.ok.test", "features": ["mailbox"]}
    await mongo.collection("fake_domains").insert_one(elsewhere)
    for client in (people, admin):
        assert (await client.host("a.ok.test")).status == 409
        assert (await client.by_token("GET", "/domains/a.ok.test")).status == 404


async def test_an_administrator_needs_no_allow(admin: DimailClient) -> None:
    """For an administrator's domain no allow is made."""
    assert (await admin.host("a.ok.test")).status == 201
    assert (await admin.by_token("GET", "/domains/a.ok.test")).status == 200
    assert (await admin.call("GET", "/allows/")).json == []


async def test_international_names(people: DimailClient) -> None:
    """Both spellings of a name are the same domain; its ASCII one is shown."""
    created = await people.host("bücher.ok.test")
    assert created.json == shown("xn--bcher-kva.ok.test")
    assert (await people.host("xn--bcher-kva.ok.test")).status == 409
    for name in ("xn--bcher-kva.ok.test", "b%C3%BCcher.ok.test"):
        assert (await people.by_token("GET", f"/domains/{name}")).json["name"] == "xn--bcher-kva.ok.test"
        assert (await people.call("GET", f"/domains/{name}/check/")).json["state"] == "ok"


async def test_contexts(people: DimailClient) -> None:
    """Webmail takes a context: null is a conflict, nothing is wrong. Domains may share one, of any name."""
    assert (await people.host("a.ok.test", context_name=None)).status == 409
    body = new_domain("a.ok.test")
    del body["context_name"]
    assert (await people.call("POST", "/domains/", body)).status == 422
    assert (await people.call("POST", "/domains/", body | {"features": ["mailbox"]})).json["context_name"]
    for name in ("b.ok.test", "c.ok.test"):
        assert (await people.host(name, context_name="our villages")).json["context_name"] == "our villages"


async def test_what_is_no_domain(people: DimailClient) -> None:
    """What cannot be hosted is told."""
    for name, value in [
        ("name", "nothing"),
        ("name", "co.uk"),
        ("name", None),
        ("name", "x" * 300),
        ("features", ["mailbox", "fly"]),
        ("features", None),
        ("features", []),
        ("context_name", ""),
        ("delivery", "relay"),
    ]:
        reply = await people.call("POST", "/domains/", new_domain("a.ok.test") | {name: value})
        assert reply.status == 422
        assert (await people.call("GET", "/allows/")).json == []


async def test_unknown_properties(people: DimailClient) -> None:
    """Properties that mean nothing here are ignored; delivery need not be there."""
    body = new_domain("a.ok.test", transport=None, colour="red")
    del body["delivery"]
    assert (await people.call("POST", "/domains/", body)).status == 201


async def test_list(admin: DimailClient, people: DimailClient, user: Client) -> None:
    """An administrator sees all domains, wherever they were made."""
    await people.host("b.ok.test")
    assert (await user.post("/api/v2/domains", {"name": "a.ok.test"})).status == 201
    listed = await admin.call("GET", "/domains/")
    assert (listed.status, [domain["name"] for domain in listed.json]) == (200, ["a.ok.test", "b.ok.test"])


async def test_who_sees_a_domain(admin: DimailClient, people: DimailClient) -> None:
    """A domain that is not there is told to everybody; one that is there, to whom it is allowed."""
    await admin.host("a.ok.test")
    reply = await people.by_token("GET", "/domains/a.ok.test")
    assert (reply.status, reply.json) == (401, {"detail": "Not authorized."})
    for client in (admin, people):
        assert (await client.by_token("GET", "/domains/b.ok.test")).status == 404
        assert (await client.by_token("GET", "/domains/nothing")).status == 404


@pytest.mark.parametrize("action", ["check", "check/", "fix", "fix/"])
async def test_checks_that_pass(people: DimailClient, action: str) -> None:
    """A good domain is ok, and so is every check."""
    await people.host("a.ok.test")
    reply = await people.call("GET", f"/domains/a.ok.test/{action}")
    assert reply.status == 200
    assert reply.json == {
        **shown("a.ok.test"),
        "delivery": "virtual",
        "transport": None,
        "state": "ok",
        "valid": True,
        **{name: PASSED | {"internal": False} for name in EXTERNAL},
        **{name: PASSED | {"internal": True} for name in INTERNAL},
    }


@pytest.mark.parametrize(("name", "failing"), [("a.dns.test", "mx"), ("a.broken.test", "cert")])
async def test_checks_that_fail(people: DimailClient, name: str, failing: str) -> None:
    """A domain of which one check fails is broken; what is wrong stands there, and fix does not hide it."""
    await people.host(name)
    for action in ("check", "fix"):
        document = (await people.call("GET", f"/domains/{name}/{action}")).json
        assert (document["state"], document["valid"]) == ("broken", False)
        assert [each for each in EXTERNAL + INTERNAL if not document[each]["ok"]] == [failing]
        assert document[failing]["errors"][0].keys() == {"code", "detail"}


async def test_checks_that_do_not_apply(people: DimailClient) -> None:
    """A domain without webmail has all checks too; the one of the webmail passes."""
    await people.host("a.ok.test", features=["mailbox"])
    document = (await people.call("GET", "/domains/a.ok.test/check")).json
    assert document["cname_webmail"] == PASSED | {"internal": False}
    assert document["state"] == "ok"


@pytest.mark.configured(domains={"fake_faults": ["check"]})
async def test_a_backend_that_refuses(people: DimailClient) -> None:
    """Where the mail servers do not answer the domain is broken, and their check says so."""
    await people.host("a.ok.test")
    document = (await people.call("GET", "/domains/a.ok.test/check")).json
    assert document["state"] == "broken"
    assert document["postfix"]["ok"] is False
    assert document["mx"]["ok"] is True


async def test_spec(people: DimailClient) -> None:
    """The spec is what to publish, as the gateway's own API says it."""
    await people.host("a.ok.test")
    reply = await people.call("GET", "/domains/a.ok.test/spec/")
    assert reply.status == 200
    assert {"target": "", "type": "mx", "value": "mx.home.example."} in reply.json
    assert {record["target"] for record in reply.json} == {"", "imap", "smtp", "webmail", "dkim._domainkey"}


@pytest.mark.configured(domains={"fake_faults": ["records"]})
async def test_spec_of_a_backend_that_refuses(people: DimailClient) -> None:
    """Where the mail servers do not say what to publish, that is told."""
    await people.host("a.ok.test")
    assert (await people.call("GET", "/domains/a.ok.test/spec/")).status == 502


async def test_the_same_domain(people: DimailClient, user: Client) -> None:
    """A domain that is made here is nobody's under /api/v2, and its name is taken there; and so the other way."""
    await people.host("a.ok.test")
    assert (await user.get("/api/v2/domains/a.ok.test")).status == 404
    assert (await user.get("/api/v2/domains")).json["total"] == 0
    assert (await user.post("/api/v2/domains", {"name": "a.ok.test"})).status == 409
    assert (await user.post("/api/v2/domains", {"name": "b.ok.test", "context": "a.ok.test"})).status == 409
    assert (await user.post("/api/v2/domains", {"name": "b.ok.test", "features": FEATURES})).status == 201
    assert (await people.host("b.ok.test")).status == 409
    assert (await people.call("GET", "/domains/b.ok.test/check/")).status == 403
    await people.call("POST", "/allows/", {"user": "la_regie", "domain": "b.ok.test"})
    assert (await people.call("GET", "/domains/b.ok.test/check/")).json["valid"] is True
    assert (await user.get("/api/v2/domains/b.ok.test")).json["status"] == "enabled"
