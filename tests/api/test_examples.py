"""The examples of the OpenAPI document: each is sent, in the story of one user, and does what the document says."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import FormData
from jsonschema import Draft202012Validator

from api import examples
from api.demo.provider import Provider
from tests.client import Client
from tests.conftest import FRIEND, ME
from tests.protocols.name_server import NameServer

ID_OF = {**examples.VALUES, "id": examples.INVITATION_ID}
LEARNT = ("user_id", "identity_id", "message_id", "discussion_id", "raw_msg_id", "temp_id", "id", "refresh_token")


@pytest.fixture
async def provider(server_tls: ssl.SSLContext) -> AsyncIterator[Provider]:
    """Another provider, which wants STARTTLS as those outside do."""
    async with Provider([ME, FRIEND], tls=server_tls) as servers:
        yield servers


@pytest.fixture
async def settings(settings: dict[str, Any], ca_file: Path) -> AsyncIterator[dict[str, Any]]:
    """The configuration, with trust in that provider, and a DNS server that knows no name."""
    async with NameServer() as names:
        settings["network"] |= {"ca_file": str(ca_file), "nameservers": [names.address]}
        yield settings


@dataclass
class Story:
    """Sends examples. ``meant``: what the values in them stand for here, where servers and ids are others."""

    client: Client
    meant: dict[str, str]
    told: set[str] = field(default_factory=set)

    async def tell(self, *operation_ids: str) -> Any:
        """Send the examples of these operations, which all succeed; return the last answer, if it is JSON."""
        answer: Any = None
        for operation_id in operation_ids:
            answer = await self._send(operation_id)
            self.told.add(operation_id)
        return answer

    async def _send(self, operation_id: str) -> Any:
        verb, path, operation = operations(self.client)[operation_id]
        client = self.client if operation.get("security") != [] else replace(self.client, access_token="")
        values = {
            (each["in"], each["name"]): self._here(each["example"])
            for each in operation["parameters"]
            if "example" in each
        }
        for (place, name), value in values.items():
            if place == "path":
                path = path.replace(f"{{{name}}}", quote(value, safe=""))
        query = {name: text(value) for (place, name), value in values.items() if place == "query"}
        reply = await client.call(verb, path, params=query, **self._body(operation))
        assert reply.status < 300, (operation_id, reply.content)
        if reply.headers.get("Content-Type") != "application/json":
            return None
        self._learn(reply.json)
        return reply.json

    def _body(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        content = operation.get("requestBody", {}).get("content", {})
        if "multipart/form-data" in content:
            form = FormData()
            form.add_field("attachment", b"%PDF", filename="menu.pdf", content_type="application/pdf")
            return {"data": form}
        if not content:
            return {}
        (example,) = resolved(self.client, content["application/json"]["schema"])["examples"]
        return {"body": self._here(example)}

    def _here(self, example: Any) -> Any:
        """Return an example as it reads in this story."""
        if isinstance(example, dict):
            return {key: self._here(value) for key, value in example.items()}
        if isinstance(example, list):
            return [self._here(value) for value in example]
        return self.meant.get(example, example) if isinstance(example, str) else example

    def _learn(self, answer: Mapping[str, Any]) -> None:
        """See what the ids and tokens of the examples stand for."""
        tokens = answer.get("tokens", {})
        for name, value in {**answer, **tokens}.items():
            if name in LEARNT and value:
                self.meant[ID_OF[name]] = value
        if tokens:
            self.client = replace(self.client, user_id=answer["user_id"], access_token=tokens["access_token"])


def text(value: Any) -> str:
    """Return a value as it is written in a query."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def operations(client: Client) -> dict[str, tuple[str, str, Any]]:
    """Return verb, path and description of every operation of the document, by its id."""
    return {
        operation["operationId"]: (verb.upper(), path, operation)
        for path, verbs in client.contract.document["paths"].items()
        for verb, operation in verbs.items()
    }


def resolved(client: Client, schema: Mapping[str, Any]) -> Any:
    """Return the schema that a reference names."""
    return client.contract.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]


async def test_every_example(api: Client, provider: Provider) -> None:
    """Every operation succeeds with its example, and its answer is as the document says."""
    story = Story(
        api,
        {
            examples.ADDRESS: ME.address,
            examples.ACCOUNT_PASSWORD: ME.password,
            examples.IMAP_SERVER: f"{provider.host}:{provider.imap_port}",
            examples.SMTP_SERVER: f"{provider.host}:{provider.submission_port}",
            examples.FRIEND: FRIEND.address,
            examples.DOMAIN: "community.ok.test",
        },
    )
    await arrive(story)
    await connect(story)
    await write(story)
    await host(story, provider)
    await story.tell("get_healthz", "get_readyz", "get_metrics", "get_openapi_json")
    await leave(story)
    assert story.told == set(operations(api))


async def arrive(story: Story) -> None:
    """Register, sign in, look at oneself."""
    await story.tell(
        "get_v2_username_isAvailable",
        "post_v1_users",
        "post_v1_authentications",
        "post_v1_authentications_refresh",
        "get_v1_me",
        "get_v2_users_user_id",
        "patch_v2_users_user_id",
    )


async def connect(story: Story) -> None:
    """Look at the local identity; add an account, and once more on the second path."""
    locals_ = await story.tell("get_v2_identities_locals")
    story.meant[examples.IDENTITY_ID] = locals_["local_identities"][0]["identity_id"]
    await story.tell(
        "get_v2_identities_locals_identity_id",
        "get_v2_identities_locals_identity_id_checks",
        "post_v2_identities_discover",
    )
    for path in ("v2_identities_remotes", "v2_remotes"):
        await story.tell(
            f"post_{path}",
            f"get_{path}",
            f"get_{path}_identity_id",
            f"patch_{path}_identity_id",
            f"post_{path}_identity_id_actions",
            f"get_{path}_identity_id_checks",
            f"delete_{path}_identity_id",
        )


async def write(story: Story) -> None:
    """Write a message, put a file on it and take it off, send it, look at it, delete it; once on either path."""
    await story.tell("post_v2_identities_remotes")
    for path in ("v1_messages_message_id", "v2_messages_message_id"):
        await story.tell(
            "post_v1_messages",
            f"get_{path}",
            f"patch_{path}",
            "get_v2_messages",
            "post_v2_messages_message_id_attachments",
            "get_v2_messages_message_id_attachments_temp_id",
            "delete_v2_messages_message_id_attachments_temp_id",
        )
        sent = await story.tell(f"post_{path}_actions")
        assert sent["delivery"]["state"] == "sent"
        await story.tell("get_v1_raws_raw_msg_id", f"delete_{path}")


async def host(story: Story, provider: Provider) -> None:
    """Host a domain, manage it with somebody, create a mailbox and an alias there."""
    await story.tell("post_v2_domains", "get_v2_domains", "get_v2_domains_name")
    await story.tell("post_v2_domains_name_actions", "patch_v2_domains_name")
    one = "v2_domains_name_mailboxes_local_part"
    await story.tell(
        "post_v2_domains_name_mailboxes", "get_v2_domains_name_mailboxes", f"get_{one}", f"patch_{one}"
    )
    await story.tell("post_v2_domains_name_aliases", "get_v2_domains_name_aliases")
    await story.tell("delete_v2_domains_name_aliases_local_part_destination")
    await story.tell(f"post_{one}_actions", f"delete_{one}")
    await story.tell("post_v2_domains_name_invitations", "get_v2_domains_name_invitations")
    story.meant[examples.INVITATION_TOKEN] = await token(provider)
    await story.tell("post_v2_invitations_accept", "post_v2_domains_name_invitations")
    await story.tell("delete_v2_domains_name_invitations_invitation_id")
    story.meant[examples.USER_ID] = (await story.client.register("another")).user_id
    for verb in ("post", "get"):
        await story.tell(f"{verb}_v2_domains_name_accesses")
    for verb in ("patch", "delete"):
        await story.tell(f"{verb}_v2_domains_name_accesses_user_id")


async def token(provider: Provider) -> str:
    """Return the token of the first invitation that arrives."""
    async with asyncio.timeout(20):
        while not (found := [token for mail in provider.inbox(FRIEND.address) for token in tokens(mail)]):
            await asyncio.sleep(0.02)
    return found[0]


def tokens(mail: bytes) -> list[str]:
    """Return what stands in a line of its own and looks like a token."""
    return re.findall(r"^([\w-]{43})\r?$", mail.decode(), re.MULTILINE)


async def leave(story: Story) -> None:
    """Leave the domain to another owner, sign out, come back, and delete the account."""
    other = {"user_id": story.meant[examples.USER_ID], "role": "owner"}
    reply = await story.client.post("/api/v2/domains/community.ok.test/accesses", other)
    assert reply.status == 201
    await story.tell("delete_v1_authentications", "post_v1_authentications", "delete_v2_users_user_id")


async def test_problem(user: Client) -> None:
    """The example of a problem is what is answered to a misspelt property."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    reply = await user.call("PATCH", f"/api/v1/messages/{message_id}", {"subjct": "Lunch"})
    assert reply.json == resolved(user, {"$ref": "/Problem"})["examples"][0]


async def test_whole(api: Client) -> None:
    """All that can be asked has an example, and so has all that is answered as JSON."""
    for operation_id, (_, _, operation) in operations(api).items():
        assert all("example" in each for each in operation["parameters"] if each["in"] != "header"), operation_id
        for schema in schemas(operation):
            assert len(resolved(api, schema)["examples"]) == 1, operation_id


def schemas(operation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas of an operation's JSON bodies."""
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        for media_type, content in body.get("content", {}).items():
            if media_type != "multipart/form-data" and "schema" in content:
                yield content["schema"]


async def test_valid(api: Client) -> None:
    """An example follows its schema."""
    document = api.contract.document
    checker = Draft202012Validator.FORMAT_CHECKER
    parameters = [each for _, _, operation in operations(api).values() for each in operation["parameters"]]
    shown = [(each["schema"], each["example"]) for each in parameters if "example" in each]
    shown += [
        (schema, each)
        for schema in document["components"]["schemas"].values()
        for each in schema.get("examples", ())
    ]
    for schema, example in shown:
        Draft202012Validator({**schema, "components": document["components"]}, format_checker=checker).validate(
            example
        )
