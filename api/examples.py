"""The examples of the OpenAPI document, all of one small world, whose names and ids are the same everywhere.

Those of requests are written here, and the tests send them, to every operation in its turn. Those of answers are
put together from the values that their properties have in this world; only what a value by its name would spoil is
written. A schema carries its example, so that what is nested shows the one it has by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

USER_ID = "0b9d5a3e-6c1f-4d8b-9a27-51e0c4f7b812"
IDENTITY_ID = "3f6c1d90-8e2a-4b75-bd14-7a9e05c2f6d3"
MESSAGE_ID = "7c25e8b1-0f4d-4a96-8b3e-d1f60a9c7e54"
ATTACHMENT_ID = "9e41b7f2-5d08-4c3a-a6f1-28c7d0e5b93f"
RAW_ID = "c80f2a6d-71b3-4e59-9d04-f5a83b1e6c27"
DISCUSSION_ID = "d5a7930c-2e6b-5f18-8c41-0b96e7f3a2d5"
INVITATION_ID = "e17c4f05-b923-4d6a-87e0-3a5d9c2b8f16"

ACCESS_TOKEN = "an-access-token"  # noqa: S105 - nobody's
REFRESH_TOKEN = "a-refresh-token"  # noqa: S105 - nobody's
INVITATION_TOKEN = "the-token-of-the-mail"  # noqa: S105 - nobody's
PASSWORD = "correct-horse-battery"  # noqa: S105 - nobody's
ACCOUNT_PASSWORD = "the-password-there"  # noqa: S105 - nobody's

USERNAME = "newcomer"
ADDRESS = "me@example.org"
FRIEND = "friend@example.net"
DOMAIN = "community.example"
IMAP_SERVER = "imap.example.org:993"
SMTP_SERVER = "smtp.example.org:587"

_THEN = "2026-07-20T15:56:06.062Z"
_NAME = "A Newcomer"
_INFOS = {"inserver": IMAP_SERVER, "outserver": SMTP_SERVER, "pollinterval": "15"}
_MAILBOX = {"local_part": "hello", "first_name": "Ada", "last_name": "Example", "secondary_email": ADDRESS}
_MX = "mx.home.example."
_TO = {"type": "To", "address": FRIEND, "label": "A Friend"}

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "NewUser": {"username": USERNAME, "password": PASSWORD, "display_name": _NAME, "recovery_email": ADDRESS},
    "SignIn": {"username": USERNAME, "password": PASSWORD},
    "Refresh": {"refresh_token": REFRESH_TOKEN},
    "UserPatch": {"display_name": "Newcomer", "current_state": {"display_name": _NAME}},
    "Farewell": {"password": PASSWORD},
    "Address": {"identifier": ADDRESS},
    "NewRemote": {
        "protocol": "imap",
        "identifier": ADDRESS,
        "display_name": _NAME,
        "infos": _INFOS,
        "credentials": {"inusername": ADDRESS, "inpassword": ACCOUNT_PASSWORD},
    },
    "RemotePatch": {"infos": {"pollinterval": "30"}, "current_state": {"infos": {"pollinterval": "15"}}},
    "Actions": {"actions": ["check"]},
    "NewDraft": {
        "user_identities": [IDENTITY_ID],
        "subject": "Lunch",
        "body": "At noon, at the usual place?",
        "participants": [_TO],
    },
    "DraftPatch": {"subject": "Lunch on Friday", "current_state": {"subject": "Lunch"}},
    "MessageActions": {"actions": ["send"]},
    "NewDomain": {"name": DOMAIN, "features": ["mailbox", "webmail", "alias"]},
    "DomainPatch": {"features": ["mailbox", "alias"]},
    "DomainActions": {"actions": ["check"]},
    "NewAccess": {"user_id": USER_ID, "role": "viewer"},
    "AccessPatch": {"role": "administrator", "current_state": {"role": "viewer"}},
    "NewInvitation": {"email": FRIEND, "role": "viewer"},
    "Token": {"token": INVITATION_TOKEN},
    "NewMailbox": _MAILBOX,
    "MailboxPatch": {"last_name": "Sample", "current_state": {"last_name": "Example"}},
    "MailboxActions": {"actions": ["reset_password"]},
    "NewAlias": {"local_part": "hello", "destination": FRIEND},
}
"""What is sent: the name of the body's schema → a body."""

_WRITTEN: Mapping[str, Mapping[str, Any]] = {
    **REQUESTS,
    "CreatedUser": {"location": f"/api/v2/users/{USER_ID}", "user_id": USER_ID},
    "Locals": {
        "total": 1,
        "local_identities": [
            {
                "identity_id": IDENTITY_ID,
                "user_id": USER_ID,
                "type": "local",
                "protocol": "smtp",
                "identifier": f"{USERNAME}@home.example",
                "display_name": _NAME,
                "status": "active",
                "infos": {},
                "last_check": None,
            }
        ],
    },
    "CreatedRemote": {
        "location": f"/api/v2/identities/remotes/{IDENTITY_ID}",
        "identity_id": IDENTITY_ID,
        "remote_id": IDENTITY_ID,
    },
    "CreatedMessage": {"location": f"/api/v1/messages/{MESSAGE_ID}", "message_id": MESSAGE_ID},
    "ExternalReferences": {"message_id": "178456776606.1@example.org", "parent_id": None, "ancestors_ids": []},
    "Recipient": {"state": "accepted", "smtp_code": 250, "smtp_reply": "2.0.0 OK"},
    "Domain": {
        "name": DOMAIN,
        "context": DOMAIN,
        "features": ["mailbox", "webmail", "alias"],
        "status": "action_required",
        "last_check": _THEN,
        "checks": {
            "mx": {
                "ok": False,
                "internal": False,
                "errors": [{"code": "no_mx", "detail": f'{DOMAIN} has no MX record: publish "MX 10 {_MX}".'}],
            },
            "spf": {"ok": True, "internal": False, "errors": []},
        },
        "expected_config": [{"target": "", "type": "mx", "value": _MX}],
        "role": "owner",
    },
    "Invitation": {
        "id": INVITATION_ID,
        "email": FRIEND,
        "role": "viewer",
        "expires_at": "2026-07-27T15:56:06.062Z",
    },
    "Alias": {"local_part": "hello", "destination": FRIEND},
    "Status": {"status": "ok"},
    "Ready": {"status": "ready", "warnings": []},
    "Problem": {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "The request breaks a rule: subjct.",
        "errors": {"subjct": ["There is no such property."]},
    },
}

VALUES: Mapping[str, Any] = {
    # ids
    "user_id": USER_ID,
    "identity_id": IDENTITY_ID,
    "message_id": MESSAGE_ID,
    "temp_id": ATTACHMENT_ID,
    "raw_msg_id": RAW_ID,
    "discussion_id": DISCUSSION_ID,
    "invitation_id": INVITATION_ID,
    "user_identities": [IDENTITY_ID],
    "contact_ids": [],
    "parent_id": None,
    # queries
    "limit": 20,
    "offset": 0,
    "since": "2026-07-01T00:00:00.000Z",
    "verify": True,
    # users
    "username": USERNAME,
    "available": True,
    "display_name": _NAME,
    "recovery_email": ADDRESS,
    "access_token": ACCESS_TOKEN,
    "refresh_token": REFRESH_TOKEN,
    "expires_in": 3600,
    # identities
    "type": "remote",
    "protocol": "imap",
    "identifier": ADDRESS,
    "infos": _INFOS,
    "inusername": ADDRESS,
    "outusername": ADDRESS,
    "source": "srv",
    "ok": True,
    "ms": 412,
    "server": None,
    "error": None,
    # messages
    "subject": "Lunch",
    "body": "At noon, at the usual place?",
    "body_is_plain": True,
    "excerpt": "At noon, at the usual place?",
    "participants": [
        {"type": kind, "address": address, "label": label, "protocol": "email", "contact_ids": []}
        for kind, address, label in (("From", ADDRESS, _NAME), ("To", FRIEND, "A Friend"))
    ],
    "importance_level": 0,
    "is_draft": False,
    "file_name": "menu.pdf",
    "content_type": "application/pdf",
    "size": 48213,
    "state": "sent",
    "next_attempt_at": None,
    "send_at": None,
    "last_error": None,
    "recipients": {FRIEND: _WRITTEN["Recipient"]},
    # domains
    "name": DOMAIN,
    "domain": DOMAIN,
    "role": "owner",
    "email": f"hello@{DOMAIN}",
    "destination": FRIEND,
    "status": "enabled",
    **_MAILBOX,
}
"""What a parameter or a property of an answer of this name has for a value, where its schema lets it."""

_BY_FORMAT = {"date-time": _THEN}
_BY_TYPE: Mapping[str, Any] = {"boolean": False, "integer": 1, "string": "text"}


def add(document: Mapping[str, Any]) -> None:
    """Give their examples to the parameters, bodies and answers of an OpenAPI document."""
    schemas: Mapping[str, Any] = document["components"]["schemas"]
    for operation in (each for verbs in document["paths"].values() for each in verbs.values()):
        for parameter in operation["parameters"]:
            if parameter["in"] != "header":
                parameter["example"] = _value(parameter["name"], parameter["schema"], schemas)
    for name in REQUESTS.keys() | _answered(document):
        schemas[name]["examples"] = [_example({"$ref": f"/{name}"}, schemas)]


def _answered(document: Mapping[str, Any]) -> set[str]:
    """Return the names of the schemas of answers."""
    operations = (each for verbs in document["paths"].values() for each in verbs.values())
    responses = (response for each in operations for response in each["responses"].values())
    shared = document["components"]["responses"].values()
    return {name for response in (*responses, *shared) for name in _named(response)}


def _named(response: Mapping[str, Any]) -> Iterator[str]:
    for content in response.get("content", {}).values():
        if "schema" in content:
            yield content["schema"]["$ref"].rpartition("/")[2]


def _example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Return an example of a schema: the one that is written for it, or one made of its properties' values."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _WRITTEN.get(name) or _example(schemas[name], schemas)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], schemas)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: _value(name, each, schemas) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [_example(schema["items"], schemas)]
        case [kind, *_] | kind:
            return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE[kind])


def _value(name: str, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Return the value that a thing of this name has, where the schema lets it."""
    if name in VALUES and VALUES[name] in schema.get("enum", [VALUES[name]]):
        return VALUES[name]
    return _example(schema, schemas)
