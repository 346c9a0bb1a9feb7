"""All that La Suite's People does, by an account as it has it: no administrator's, with three perms."""

from __future__ import annotations

import ast
import json
from typing import Any

from tests.client import Client
from tests.dimail import PERMS, DimailClient

DOMAIN = "commune.ok.test"
SUB = "5b1e3a1c-3f0e-4b6a-9d55-6a1c7f8f2a10"


def parsed_error(content: bytes) -> Any:
    """Read an error as People does: with every apostrophe made a quotation mark."""
    return json.loads(content.decode().replace("'", '"'))["detail"]


async def test_setting_up(nobody: DimailClient) -> None:
    """Its command that fills an empty dimail: an administrator, its own account, a domain, a user, an allow."""
    body = {"name": "admin", "password": "admin", "is_admin": True, "perms": []}
    assert (await nobody.request("POST", "/users/", "Basic Tm9uZTpOb25l", json=body)).status == 201
    admin = await nobody.named("admin", "admin")
    body = {"name": "la_regie", "password": "password", "is_admin": False, "perms": PERMS}
    assert (await admin.call("POST", "/users/", body)).status == 201
    people = await nobody.named("la_regie", "password")
    assert (await people.host(DOMAIN, context_name="context")).status == 201
    body = {"name": SUB, "password": "no", "is_admin": False, "perms": []}
    assert (await people.call("POST", "/users/", body)).status == 201
    assert (await people.call("POST", "/allows/", {"domain": DOMAIN, "user": SUB})).status == 201
    again = await people.host(DOMAIN, context_name="context")
    assert (again.status, bool(parsed_error(again.content))) == (409, True)


async def test_a_domain_and_its_mailboxes(people: DimailClient) -> None:
    """A domain is made, shared, checked; then its mailboxes are made, and seen by an import."""
    created = await people.host(DOMAIN, features=["webmail", "mailbox", "alias"])
    assert created.status == 201
    user = {"name": SUB, "password": "no", "is_admin": "false", "perms": []}
    assert [(await people.call("POST", "/users/", user)).status for _ in range(2)] == [201, 409]
    allow = {"user": SUB, "domain": DOMAIN}
    assert [(await people.call("POST", "/allows/", allow)).status for _ in range(2)] == [201, 409]
    checked = (await people.call("GET", f"/domains/{DOMAIN}/check/")).json
    assert checked["state"] == "ok"
    assert {key for key, value in checked.items() if isinstance(value, dict) and value["internal"] is True} == {
        "postfix",
        "ox",
        "cert",
    }
    spec = (await people.call("GET", f"/domains/{DOMAIN}/spec/")).json
    assert all(record.keys() == {"target", "type", "value"} for record in spec)
    names = {"givenName": "Jean-Marie", "surName": "L'Hermite", "displayName": "Jean-Marie L'Hermite"}
    created = await people.by_token("POST", f"/domains/{DOMAIN}/mailboxes/jm", names)
    assert (created.status, created.json["email"]) == (201, f"jm@{DOMAIN}")
    listed = ast.literal_eval((await people.by_token("GET", f"/domains/{DOMAIN}/mailboxes/")).content.decode())
    assert [(box["email"], box["givenName"], box["surName"]) for box in listed] == [
        (f"jm@{DOMAIN}", "Jean-Marie", "L'Hermite")
    ]


async def test_a_mailbox_through_its_life(people: DimailClient) -> None:
    """A mailbox is put out of use, into use with its names, gets a new password, a code, an alias."""
    await people.host(DOMAIN)
    await people.mailbox(DOMAIN, "jm")
    path = f"/domains/{DOMAIN}/mailboxes/jm"
    names = {"givenName": "J", "surName": "M", "displayName": "J M"}
    assert (await people.by_token("PATCH", path, {"active": "no"})).status == 200
    assert (await people.by_token("PATCH", path, {"active": "yes", **names})).status == 200
    assert (await people.call("POST", f"{path}/reset_password/")).json.keys() == {"email", "password"}
    code = (await people.by_token("POST", f"{path}/code/", {"expires_in": 3600, "maxuse": 5})).json
    assert (code["maxuse"], code["nbuse"], isinstance(code["expires_at"], int)) == (5, 0, True)
    aliases = f"/domains/{DOMAIN}/aliases/"
    alias = {"user_name": "contact", "destination": f"jm@{DOMAIN}"}
    assert [(await people.by_token("POST", aliases, alias)).status for _ in range(2)] == [201, 409]
    assert len((await people.by_token("GET", aliases)).json) == 1
    assert (await people.by_token("DELETE", f"{aliases}contact/jm@{DOMAIN}/")).status == 204
    gone = await people.by_token("DELETE", f"{aliases}contact/all/")
    assert (gone.status, bool(parsed_error(gone.content))) == (404, True)


async def test_a_broken_domain(people: DimailClient) -> None:
    """A domain with an internal fault is broken by its internal checks alone, also after a fix."""
    await people.host("commune.broken.test")
    for action in ("check", "fix"):
        document = (await people.call("GET", f"/domains/commune.broken.test/{action}/")).json
        checks = [value for value in document.values() if isinstance(value, dict)]
        assert document["state"] == "broken"
        assert all(check["ok"] for check in checks if check["internal"] is False)
        assert not all(check["ok"] for check in checks if check["internal"] is True)


async def test_a_domain_of_a_user(people: DimailClient, user: Client) -> None:
    """A domain that a user of the gateway owns is managed from People as soon as that is allowed there."""
    await user.post("/api/v2/domains", {"name": DOMAIN})
    assert (await people.host(DOMAIN)).status == 409
    assert (await people.call("POST", "/allows/", {"user": "la_regie", "domain": DOMAIN})).status == 201
    assert (await people.mailbox(DOMAIN, "jm"))["email"] == f"jm@{DOMAIN}"
