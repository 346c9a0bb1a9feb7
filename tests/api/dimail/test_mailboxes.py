"""Mailboxes under ``/dimail``: real ones of the gateway, created at once, in the words of dimail."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from typing import Any

import pytest

from storage.mongo import Mongo
from storage.notices import NOTICES
from tests.api.conftest import CLOSED_PORT
from tests.client import Client
from tests.dimail import NAMES, DimailClient

DOMAIN = "a.dns.test"  # its checks fail: mailboxes are created all the same
BOXES = f"/domains/{DOMAIN}/mailboxes"
NOT_FOUND = (404, {"detail": "Mailbox not found"})


@pytest.fixture
async def host(people: DimailClient) -> DimailClient:
    """The account that hosts the domain."""
    assert (await people.host(DOMAIN)).status == 201
    return people


async def test_create(host: DimailClient, mongo: Mongo) -> None:
    """A mailbox is there at once, whatever the checks say, and nobody gets a mail about it; its name is taken."""
    created = await host.mailbox(DOMAIN, "Ada.Test")
    assert created.keys() == {"email", "password", "uuid"}
    assert created["email"] == f"ada.test@{DOMAIN}"
    assert len(created["password"]) > 10
    expected = {"type": "mailbox", "status": "ok", "email": created["email"], **NAMES}
    read = await host.by_token("GET", f"{BOXES}/ada.test")
    assert (read.status, read.json) == (200, expected)
    assert (await host.by_token("GET", f"{BOXES}/")).json == [expected]
    assert (await host.by_token("POST", f"{BOXES}/ada.test", NAMES)).status == 409
    assert await mongo.collection(NOTICES).count_documents({}) == 0


@pytest.mark.parametrize(
    ("given", "sur", "display"), [("", "", ""), ("Ada", "", "Ada"), ("", "Grüße", "Grüße"), ("A", "G", "A G")]
)
async def test_names_that_are_empty(host: DimailClient, given: str, sur: str, display: str) -> None:
    """A mailbox that is ordered without a display name has the two names as that, as far as they are there."""
    await host.mailbox(DOMAIN, "ada", givenName=given, surName=sur, displayName="")
    assert (await host.by_token("GET", f"{BOXES}/ada")).json["displayName"] == display


async def test_the_list_is_a_python_literal(host: DimailClient) -> None:
    """People reads the list as a Python literal: names of all kinds, and none that is null."""
    await host.mailbox(DOMAIN, "a", givenName="", surName="", displayName="")
    await host.mailbox(DOMAIN, "b", givenName="\"Ada'", surName="\\u00e9 \U0001f600", displayName="null")
    reply = await host.by_token("GET", f"{BOXES}/")
    assert ast.literal_eval(reply.content.decode()) == reply.json


async def test_the_list_of_the_second_version(host: DimailClient) -> None:
    """The second version of the list tells names apart from what a mailbox is for, and whether it is in use."""
    await host.mailbox(DOMAIN, "a")
    await host.mailbox(DOMAIN, "b")
    await host.by_token("PATCH", f"{BOXES}/b", {"active": "no"})
    reply = await host.by_token("GET", f"/v2{BOXES}/")
    ada = {"features": ["ox"], "extras": {"ox": {"given_name": "Ada", "sur_name": "Grüße"}}}
    assert (reply.status, reply.json) == (
        200,
        [{"email": f"a@{DOMAIN}", "active": "yes", **ada}, {"email": f"b@{DOMAIN}", "active": "no", **ada}],
    )


async def test_change(host: DimailClient) -> None:
    """Names are changed one by one; null and unknown properties change nothing."""
    await host.mailbox(DOMAIN, "ada")
    changed = await host.by_token("PATCH", f"{BOXES}/ada", {"displayName": "A. G.", "givenName": None, "x": 1})
    assert (changed.status, changed.json) == (
        200,
        {"type": "mailbox", "status": "ok", "email": f"ada@{DOMAIN}", **NAMES, "displayName": "A. G."},
    )
    assert (await host.by_token("PATCH", f"{BOXES}/ada", {})).json == changed.json
    assert (await host.by_token("GET", f"{BOXES}/ada")).json == changed.json


async def test_activity(host: DimailClient) -> None:
    """A mailbox is put out of use and into use again, with its names, as often as one likes."""
    await host.mailbox(DOMAIN, "ada")
    for active, body in (("no", {}), ("no", {}), ("yes", {**NAMES, "surName": "Neu"}), ("yes", {})):
        reply = await host.by_token("PATCH", f"{BOXES}/ada", {"active": active, **body})
        assert reply.status == 200
        listed = (await host.by_token("GET", f"/v2{BOXES}/")).json
        assert listed[0]["active"] == active
    assert reply.json["surName"] == "Neu"


async def test_what_cannot_be_changed(host: DimailClient) -> None:
    """A mailbox is not renamed, nor moved; what makes no sense changes nothing."""
    await host.mailbox(DOMAIN, "ada")
    before = (await host.by_token("GET", f"/v2{BOXES}/")).json
    for body in [
        {"user_name": "eve"},
        {"domain": "b.ok.test"},
        {"domain": "b.ok.test", "active": "no"},
        {"active": "perhaps"},
        {"active": True},
        {"givenName": "a\nb"},
        {"givenName": 1},
    ]:
        assert (await host.by_token("PATCH", f"{BOXES}/ada", body)).status == 422
        assert (await host.by_token("GET", f"/v2{BOXES}/")).json == before


async def test_what_is_no_mailbox(host: DimailClient) -> None:
    """A name that no mailbox can have is 422, and so are names that would break a header."""
    refused: list[tuple[str, dict[str, Any]]] = [
        ("a..b", {}),
        ("a%20b", {}),
        ("%C3%A4", {}),
        ("x" * 65, {}),
        ("ada", {"givenName": None}),
        ("ada", {"surName": "x" * 300}),
        ("ada", {"displayName": "a\r\nBcc: b@example.org"}),
    ]
    for user_name, changes in refused:
        assert (await host.by_token("POST", f"{BOXES}/{user_name}", NAMES | changes)).status == 422
        assert (await host.by_token("GET", f"{BOXES}/")).json == []


async def test_names_have_to_be_there(host: DimailClient) -> None:
    """A new mailbox takes all three names."""
    for name in NAMES:
        body = {key: value for key, value in NAMES.items() if key != name}
        assert (await host.by_token("POST", f"{BOXES}/ada", body)).status == 422


async def test_delete(host: DimailClient) -> None:
    """A deleted mailbox is gone, and its name is free."""
    await host.mailbox(DOMAIN, "ada")
    assert (await host.by_token("DELETE", f"{BOXES}/ada")).status == 204
    await expect_nothing(host, "ada")
    await host.mailbox(DOMAIN, "ada")


async def expect_nothing(host: DimailClient, user_name: str) -> None:
    """See that every route says that there is no such mailbox."""
    path = f"{BOXES}/{user_name}"
    for verb, what, body in (
        ("GET", path, None),
        ("PATCH", path, {"active": "no"}),
        ("PATCH", path, {"surName": "x"}),
        ("DELETE", path, None),
        ("POST", f"{path}/reset_password/", None),
        ("POST", f"{path}/code", {}),
    ):
        reply = await host.by_token(verb, what, body)
        assert (reply.status, reply.json) == NOT_FOUND


async def test_nothing(host: DimailClient) -> None:
    """What is not there is not found, also where it could not be."""
    for user_name in ("nobody", "a..b", "%C3%A4", "x" * 65):
        await expect_nothing(host, user_name)


async def test_without_the_feature(people: DimailClient) -> None:
    """A domain without mailboxes has none to be asked for."""
    await people.host("b.ok.test", features=["alias"], context_name=None)
    path = "/domains/b.ok.test/mailboxes"
    for verb, what, body in (
        ("GET", f"{path}/", None),
        ("GET", f"{path}/ada", None),
        ("POST", f"{path}/ada", NAMES),
        ("PATCH", f"{path}/ada", {"active": "no"}),
        ("DELETE", f"{path}/ada", None),
    ):
        assert (await people.by_token(verb, what, body)).status == 422


async def test_reset_password(host: DimailClient) -> None:
    """A mailbox gets a new password; People asks for it by name and password, others by token."""
    created = await host.mailbox(DOMAIN, "ada")
    passwords = {created["password"]}
    for ask in (host.by_token, host.call):
        reply = await ask("POST", f"{BOXES}/ada/reset_password/")
        assert (reply.status, reply.json.keys()) == (200, {"email", "password"})
        assert reply.json["email"] == created["email"]
        passwords.add(reply.json["password"])
    assert len(passwords) == 3


async def test_code(host: DimailClient) -> None:
    """A code signs in to a mailbox for a while; without a body for an hour, once."""
    await host.mailbox(DOMAIN, "ada")
    asked_at = datetime.now(UTC).timestamp()
    reply = await host.by_token("POST", f"{BOXES}/ada/code", {"expires_in": 600, "maxuse": 3})
    assert reply.status == 200
    assert reply.json["code"]
    expected = {"email": f"ada@{DOMAIN}", "expires_in": 600, "maxuse": 3, "nbuse": 0}
    assert {key: reply.json[key] for key in expected} == expected
    assert reply.json.keys() == {"code", "expires_at", *expected}
    assert reply.json["expires_at"] >= int(asked_at) + 600
    plain = (await host.by_token("POST", f"{BOXES}/ada/code/")).json
    assert (plain["expires_in"], plain["maxuse"]) == (3600, 1)
    assert plain["code"] != reply.json["code"]


async def test_codes_that_make_no_sense(host: DimailClient) -> None:
    """Life and uses of a code are bounded."""
    await host.mailbox(DOMAIN, "ada")
    for body in ({"expires_in": 0}, {"maxuse": 0}, {"maxuse": 1.5}, {"expires_in": 10**9}):
        assert (await host.by_token("POST", f"{BOXES}/ada/code", body)).status == 422


async def test_international_addresses(people: DimailClient) -> None:
    """Addresses have their domains in ASCII."""
    await people.host("bücher.ok.test")
    created = await people.mailbox("b%C3%BCcher.ok.test", "ada")
    assert created["email"] == "ada@xn--bcher-kva.ok.test"
    listed = await people.by_token("GET", "/domains/xn--bcher-kva.ok.test/mailboxes/")
    assert listed.json[0]["email"] == created["email"]


async def test_many(host: DimailClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list has everything, although it is read page by page."""
    monkeypatch.setattr("gateway.pages._AT_ONCE", 2)
    for number in range(5):
        await host.mailbox(DOMAIN, f"a{number}")
    listed = (await host.by_token("GET", f"{BOXES}/")).json
    assert [box["email"] for box in listed] == [f"a{number}@{DOMAIN}" for number in range(5)]


# -- the same mailboxes under /api/v2 ------------------------------------------------------------------------------


async def test_the_same_mailbox(people: DimailClient, user: Client) -> None:
    """Who has a role on the domain sees what is made here; what is made there is seen here."""
    await user.post("/api/v2/domains", {"name": "b.ok.test"})
    await user.post("/api/v2/domains/b.ok.test/actions", {"actions": ["check"]})
    await people.call("POST", "/allows/", {"user": "la_regie", "domain": "b.ok.test"})
    await people.mailbox("b.ok.test", "ada")
    mailboxes = "/api/v2/domains/b.ok.test/mailboxes"
    seen = (await user.get(f"{mailboxes}/ada")).json
    assert (seen["status"], seen["first_name"], seen["last_name"]) == ("enabled", "Ada", "Grüße")
    await user.post(mailboxes, {"local_part": "bob", "first_name": "Bob", "last_name": "B"})
    assert (await people.by_token("GET", "/domains/b.ok.test/mailboxes/bob")).json["status"] == "ok"
    assert (await people.by_token("POST", "/domains/b.ok.test/mailboxes/bob", NAMES)).status == 409


async def test_one_that_waits(people: DimailClient, user: Client) -> None:
    """A mailbox that waits for its domain is there, and not good yet."""
    await user.post("/api/v2/domains", {"name": "b.dns.test"})
    await user.post("/api/v2/domains/b.dns.test/actions", {"actions": ["check"]})
    body = {"local_part": "bob", "first_name": "Bob", "last_name": "B"}
    await user.post("/api/v2/domains/b.dns.test/mailboxes", body)
    await people.call("POST", "/allows/", {"user": "la_regie", "domain": "b.dns.test"})
    path = "/domains/b.dns.test/mailboxes"
    assert (await people.by_token("GET", f"{path}/bob")).json["status"] == "broken"
    assert (await people.by_token("GET", f"/v2{path}")).json[0]["active"] == "no"
    assert (await people.by_token("POST", f"{path}/bob/reset_password/")).status == 409


async def test_a_disabled_domain(people: DimailClient, user: Client) -> None:
    """A domain that its owner has disabled gets no mailboxes from here either."""
    await user.post("/api/v2/domains", {"name": "b.ok.test"})
    await user.call("PATCH", "/api/v2/domains/b.ok.test", {"status": "disabled"})
    await people.call("POST", "/allows/", {"user": "la_regie", "domain": "b.ok.test"})
    assert (await people.by_token("POST", "/domains/b.ok.test/mailboxes/ada", NAMES)).status == 403


# -- mail servers that do not do what they should ------------------------------------------------------------------


@pytest.mark.configured(domains={"fake_faults": ["add_mailbox"]})
async def test_a_refused_mailbox(host: DimailClient) -> None:
    """What the mail servers refuse is told as 502, and nothing is stored."""
    assert (await host.by_token("POST", f"{BOXES}/ada", NAMES)).status == 502
    assert (await host.by_token("GET", f"{BOXES}/")).json == []


@pytest.mark.configured(
    domains={"fake_faults": ["change_mailbox", "reset_password", "sign_in_code", "delete_mailbox"]}
)
async def test_refused_changes(host: DimailClient) -> None:
    """A change that the mail servers refuse is no change."""
    await host.mailbox(DOMAIN, "ada")
    before = (await host.by_token("GET", f"/v2{BOXES}/")).json
    for verb, path, body in (
        ("PATCH", "ada", {"active": "no"}),
        ("PATCH", "ada", {"surName": "x"}),
        ("DELETE", "ada", None),
        ("POST", "ada/reset_password/", None),
        ("POST", "ada/code", {}),
    ):
        assert (await host.by_token(verb, f"{BOXES}/{path}", body)).status == 502
    assert (await host.by_token("GET", f"/v2{BOXES}/")).json == before


@pytest.mark.configured(
    domains={"backend": "dimail"},
    dimail={"url": f"http://127.0.0.1:{CLOSED_PORT}", "username": "gateway", "password": "a password"},
)
async def test_mail_servers_that_are_away(host: DimailClient) -> None:
    """Where the mail servers do not answer that is told; the mailbox is created when they do."""
    reply = await host.by_token("POST", f"{BOXES}/ada", NAMES)
    assert reply.status == 502
    assert f"ada@{DOMAIN}" in reply.json["detail"]
    assert (await host.by_token("GET", f"{BOXES}/ada")).json["status"] == "broken"
    assert (await host.by_token("POST", f"{BOXES}/ada", NAMES)).status == 409
