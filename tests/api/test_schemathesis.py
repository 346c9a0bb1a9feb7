"""Requests made up from the OpenAPI document, sent to a gateway over HTTP: it answers as the document says."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from api import examples
from api.demo.provider import Provider
from api.main import running
from gateway import config as configuration
from gateway.throttle import COSTS
from tests.api.conftest import CLOSED_PORT
from tests.api.test_attachments import attach
from tests.api.test_examples import tokens
from tests.client import PASSWORD, Client
from tests.conftest import FRIEND
from tests.protocols.name_server import NameServer

COMMAND = str(Path(sys.executable).with_name("schemathesis"))
CONFIG = Path(__file__).with_name("schemathesis.toml")
THINGS = Path(__file__).with_name("schemathesis_things.toml")
HOOKS = Path(__file__).with_name("mail_addresses.py")
ADDRESSES = [f"{name}@example.org" for name in "abcd"]  # and as many of whatever goes when it is asked for
DOMAIN, CHANGED_DOMAIN, ANOTHERS_DOMAIN = "world.ok.test", "changed.ok.test", "another.ok.test"
MAILBOX = {"first_name": "Ada", "last_name": "Example", "secondary_email": FRIEND.address}
SECOND_PATHS = r"^/api/v2/(remotes|messages/{message_id}(/actions)?$)"
EXAMPLES, STATEFUL_S = "200", "60"  # of the thorough run: for each operation and phase; of stories
Lists = dict[str, list[str]]
_COUNTED = re.compile(
    r'gateway_http_request_seconds_count{method="(\w+)",route="([^"]+)",status="(\d+)"} ([0-9.]+)'
)

pytestmark = pytest.mark.configured(
    # Nothing leaves the machine: of the servers that users name, the guard refuses the port before it asks for the
    # address, and the only name server knows no name.
    network={"allow": [], "ports": [CLOSED_PORT]},
)


@dataclass(frozen=True)
class Target:
    """A gateway with things in it. ``directory`` has schemathesis' configurations, ``outside`` completes them."""

    url: str
    directory: Path
    outside: Mapping[str, str]

    async def run(self, config: str, *options: str) -> str:
        """Let schemathesis try the gateway; return its report. Raises AssertionError where that names a fault."""
        child = await asyncio.create_subprocess_exec(
            COMMAND, "--config-file", config, "--no-color", "run", f"{self.url}/api/openapi.json", *options,
            cwd=self.directory,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], **self.outside},
        )  # fmt: skip
        report = (await child.communicate())[0].decode()
        assert child.returncode == 0, report
        return report

    async def answers(self) -> Mapping[tuple[str, str], Counter[str]]:
        """Return how often each operation of the document was answered with which status."""
        async with aiohttp.ClientSession(self.url) as http:
            async with http.get("/api/openapi.json") as response:
                paths = orjson.loads(await response.read())["paths"]
            async with http.get("/metrics") as response:
                counted = _COUNTED.findall(await response.text())
        answers = {(verb.upper(), path): Counter[str]() for path, verbs in paths.items() for verb in verbs}
        for verb, path, status, count in counted:
            if (verb, path) in answers:
                answers[verb, path][status] += int(float(count))
        return answers


@pytest.fixture
async def target(
    user: Client, provider: Provider, settings: dict[str, Any], tmp_path: Path
) -> AsyncIterator[Target]:
    """A gateway that listens, with things in it."""
    outside = await furnish(user, provider, tmp_path)
    settings["server"] = {"port": 0}
    async with NameServer() as names:
        settings["network"]["nameservers"] = [names.address]
        async with running(configuration.build(settings)) as (_, url):
            yield Target(url, tmp_path, outside)


async def test_quickly(target: Target) -> None:
    """No request that can be made up meets a server error, or an answer that the document does not have."""
    few = ("--generation-deterministic", "--max-examples", "10")
    await target.run("things.toml", *few, "--exclude-path-regex", SECOND_PATHS)


@pytest.mark.torture
async def test_thoroughly(
    target: Target, figures: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, with other requests in every run; every operation is also done, and not only refused."""
    for what in ("probe", "credentials"):
        monkeypatch.setitem(COSTS, what, (100_000, timedelta(seconds=1)))
    report = await target.run("things.toml", "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES)
    answers = await target.answers()
    assert [" ".join(each) for each, statuses in answers.items() if not any(map(is_success, statuses))] == []
    stories = ("--phases", "stateful", "--max-examples", EXAMPLES, "--max-time", STATEFUL_S)
    report += await target.run("nothing.toml", *stories)
    answers = await target.answers()
    figures("OpenAPI operations tried, each of them done at least once", len(answers))
    figures("OpenAPI examples an operation", EXAMPLES)
    figures("OpenAPI seeds", ", ".join(re.findall(r"^Seed: (\d+)", report, re.MULTILINE)))
    figures("OpenAPI requests answered", sum(map(Counter.total, answers.values())))
    for kind in "2345":
        count = sum(n for each in answers.values() for status, n in each.items() if status.startswith(kind))
        figures(f"OpenAPI answers {kind}xx", count)


def is_success(status: str) -> bool:
    """True for an answer to what was done."""
    return status.startswith("2")


# -- things to ask for -------------------------------------------------------------------------------------------


async def furnish(user: Client, provider: Provider, directory: Path) -> Mapping[str, str]:
    """Make things that can be asked for; return what the configurations take from outside."""
    await user.call("PATCH", f"/api/v2/users/{user.user_id}", examples.REQUESTS["UserPatch"]["current_state"])
    await user.post("/api/v1/users", examples.REQUESTS["NewUser"])
    doomed = await user.sign_in(examples.USERNAME, examples.PASSWORD)
    another = await user.register("another")
    last = await another.sign_in("another")
    people = {"me": user, "another": another}
    auth = [{"name": name, "fixedHeaders": [authorization(each)]} for name, each in people.items()]
    directory.joinpath("people.json").write_bytes(orjson.dumps({"auth": auth}))
    lists, named = await writing(user, another, provider)
    lists |= await hosting(user, another) | {"invitation_tokens": await invitations(another, provider)}
    refresh_tokens = [await refresh_token(user) for _ in ADDRESSES]
    lists |= {"usernames": ["another"], "passwords": [PASSWORD], "refresh_tokens": refresh_tokens}
    for name, words in lists.items():
        directory.joinpath(f"{name}.txt").write_text("".join(f'"{word}"\n' for word in words))
    directory.joinpath("nothing.toml").write_text(CONFIG.read_text())
    directory.joinpath("things.toml").write_text(CONFIG.read_text() + THINGS.read_text())
    return named | {
        "HOOKS": str(HOOKS),
        "DOMAIN": DOMAIN,
        "CHANGED_DOMAIN": CHANGED_DOMAIN,
        "ANOTHERS_DOMAIN": ANOTHERS_DOMAIN,
        "LOCAL_PART": "hello",
        "MANAGER_ID": lists["managers"][0],
        "ANOTHER_TOKEN": another.access_token,
        "DOOMED_ID": doomed.user_id,
        "DOOMED_TOKEN": doomed.access_token,
        "LAST_TOKEN": last.access_token,
        "USER_ID": user.user_id,
    }


def authorization(user: Client) -> Mapping[str, str]:
    """Return the header that says who asks."""
    return {"name": "Authorization", "value": f"Bearer {user.access_token}"}


async def writing(user: Client, another: Client, provider: Provider) -> tuple[Lists, dict[str, str]]:
    """Make identities and messages; return those that go by being asked for, and those that stay."""
    mine, others = [(await each.local_identity())["identity_id"] for each in (user, another)]
    sent, draft, ordered, filed = [await user.draft(mine) for _ in range(4)]
    anothers_draft = await another.draft(others)
    lists = {
        "identities": [await another.add_remote(provider, identifier=f"1{each}") for each in ADDRESSES],
        "more_identities": [await another.add_remote(provider, identifier=f"2{each}") for each in ADDRESSES],
        "drafts": [await another.draft(others) for _ in ADDRESSES],
        "more_drafts": [await another.draft(others) for _ in ADDRESSES],
        "files": [await attach(another, anothers_draft) for _ in ADDRESSES],
        "senders": [mine],
    }
    return lists, {
        "LOCAL_ID": mine,
        "IDENTITY_ID": await user.add_remote(provider),
        "MESSAGE_ID": sent,
        "RAW_MSG_ID": (await user.send(sent)).json["raw_msg_id"],
        "DRAFT_ID": draft,
        "ORDERED_DRAFT_ID": ordered,
        "FILED_DRAFT_ID": filed,
        "FILE_ID": await attach(user, filed),
        "ANOTHERS_DRAFT_ID": anothers_draft,
    }


async def hosting(user: Client, another: Client) -> Lists:
    """Make domains and what is in them."""
    for client, name in ((user, DOMAIN), (user, CHANGED_DOMAIN), (another, ANOTHERS_DOMAIN)):
        await made(client, "", {"name": name})
        await made(client, f"/{name}/actions", {"actions": ["check"]})
    people = [(await user.register(f"somebody-{name[0]}")).user_id for name in ADDRESSES]
    await made(user, f"/{DOMAIN}/mailboxes", {"local_part": "hello", **MAILBOX})
    await made(user, f"/{DOMAIN}/accesses", {"user_id": people[0], "role": "viewer"})
    there = f"/{ANOTHERS_DOMAIN}"
    for address in ADDRESSES:
        await made(another, f"{there}/mailboxes", {"local_part": address[0], **MAILBOX})
        await made(another, f"{there}/aliases", {"local_part": "hello", "destination": address})
    for user_id in people:
        await made(another, f"{there}/accesses", {"user_id": user_id, "role": "viewer"})
    invited = [await made(another, f"{there}/invitations", {"email": each, "role": "viewer"}) for each in ADDRESSES]
    return {
        "addresses": ADDRESSES,
        "invitations": [each["id"] for each in invited],
        "local_parts": [address[0] for address in ADDRESSES],
        "managers": people,
        "people": people[1:],
    }


async def made(client: Client, path: str, body: Mapping[str, Any]) -> Any:
    """Make something in a domain; return it."""
    reply = await client.post(f"/api/v2/domains{path}", body)
    assert reply.status in (200, 201), reply.json
    return reply.json


async def invitations(another: Client, provider: Provider) -> list[str]:
    """Have somebody invited to domains; return the tokens that arrive."""
    names = [f"{name}.another.ok.test" for name in "abc"]
    for name in names:
        await made(another, "", {"name": name})
        await made(another, f"/{name}/invitations", {"email": FRIEND.address, "role": "viewer"})
    found: list[str] = []
    async with asyncio.timeout(20):
        while len(found) < len(names):
            await asyncio.sleep(0.02)
            found = [token for mail in provider.inbox(FRIEND.address) for token in tokens(mail)]
    return found


async def refresh_token(user: Client) -> str:
    """Return the refresh token of a new session."""
    reply = await user.post("/api/v1/authentications", {"username": "another", "password": PASSWORD})
    token: str = reply.json["tokens"]["refresh_token"]
    return token
