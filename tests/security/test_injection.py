"""Injection: hostile text in every field of every operation, and what of it reaches the servers behind the gateway.

The fields come from the OpenAPI document; the servers note every byte. Whatever is not refused has to be harmless:
nothing becomes a header, a command, a recipient or a question to the DNS that nobody meant.
"""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from email.policy import compat32
from io import BytesIO
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from api import examples
from api.demo.provider import Provider
from storage.mongo import Mongo
from tests.client import Client, Reply, draft, remote
from tests.conftest import FRIEND, ME
from tests.protocols.name_server import NameServer
from tests.security.recorder import Recorder

Figures = Callable[[str, object], None]
Path = tuple[str | int, ...]

DOMAIN = "injected.ok.test"
KEY = "*"  # in a Path: the name of a property of a map
QUICK: list[Any] = [
    "a\r\nX-Injected: yes",
    "\r\n.\r\nMAIL FROM:<evil@evil.example>\r\n",
    "a\0b",
    "\ud800",
    {"$ne": None},
]
MORE: list[Any] = [
    "a\nX-Injected: yes", "a\rX-Injected: yes", "a\vX-Injected: yes", "a\x85X-Injected: yes", "\x1b[2J", "\uffff",
    "a\u2028X-Injected: yes", "a\u2029X-Injected: yes", "=?utf-8?q?a=0D=0AX-Injected:_yes?=", "%0d%0aX-Injected:a",
    '"\r\nA1 LOGOUT\r\n', '" "\\', "{5}", "a\\\r\nb", "* OK", "evil@evil.example>,<a@example.org", "a b", '"', "<",
    "../../etc/passwd", "..\\..\\x", "CON", "\u202etxt.exe", "'; rm -rf /", "$(id)", "`id`", "{0.__class__}",
    "%s%n", "$where", "a.b", "__proto__", "{code}", "{{7*7}}", "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0",
    "evil.example.", "_tcp.evil", "*.example.org", "xn--\u0430", "\U000e0001", "a" * 5_000, "e\u0301" * 99,
    "", " ", "\t", {"$gt": ""}, {"$where": "sleep(9)"}, ["a"], [], None, True, -1, 1e308, {"": {}},
]  # fmt: skip

_SMTP = re.compile(
    rb"(EHLO [\w.-]+|AUTH PLAIN [\w+/=]+|MAIL FROM:<(?P<from>[^<>\s]*)>( [A-Z0-9=]+)*|RCPT TO:<(?P<to>[^<>\s]+)>"
    rb"|DATA|RSET|NOOP|QUIT)\r\n"
)
_STRING = r'("([^"\\\r\n\0]|\\["\\])*"|[\w*]+)'
_IMAP = re.compile(
    (
        rf"[A-Z]+[0-9]+ (CAPABILITY|NOOP|LOGOUT|NAMESPACE|(LOGIN|LIST) {_STRING} {_STRING}"
        rf"|(STATUS|EXAMINE|CREATE|SUBSCRIBE) {_STRING}( \([A-Z ]+\))?"
        r'|APPEND "Sent" \(\\Seen\) "[\w :+-]+" \{[0-9]+\}|SEARCH SINCE [\w-]+ HEADER Message-ID "<[\w.@-]+>")'
        "\r\n"
    ).encode()
)
_HEADERS = {
    "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
    "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Importance", "X-Priority", "Auto-Submitted",
}  # fmt: skip
_QUESTION = re.compile(r"[\w.-]+\.? [A-Z]+", re.ASCII)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """The mail servers behind the gateway."""
    async with Recorder() as servers:
        yield servers


@pytest.fixture
async def names() -> AsyncIterator[NameServer]:
    """The name server that it asks."""
    async with NameServer() as server:
        yield server


@pytest.fixture
def settings(settings: dict[str, Any], recorder: Recorder, names: NameServer) -> dict[str, Any]:
    """The configuration of a gateway in front of the recorder."""
    settings["relay"] = {"host": recorder.host, "port": recorder.smtp_port, "tls": "none"}
    settings["network"] |= {"ports": [recorder.smtp_port, recorder.imap_port], "nameservers": [names.address]}
    settings["delivery"] |= {"give_up_after_s": 1}  # what could not be delivered at once
    return settings


@dataclass
class Attack:
    """Sends hostile requests as a user, for whom the names and ids in ``meant`` stand for those of the examples."""

    client: Client
    mongo: Mongo
    meant: dict[str, Any]
    counts: dict[int, int] = field(default_factory=dict)

    async def send(self, verb: str, path: str, body: Any = None, **kwargs: Any) -> Reply:
        """Send a request, of which lone surrogates may be part; it does not end in a failure of ours."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        reply = await self.client.call(verb, path, data=data, headers=headers, **kwargs)
        assert reply.status < 500, (verb, path, body, reply.content)
        self.counts[reply.status] = self.counts.get(reply.status, 0) + 1
        return reply

    def here(self, example: Any) -> Any:
        """Return an example with the names and ids of here."""
        if isinstance(example, dict):
            return {key: self.here(value) for key, value in example.items()}
        if isinstance(example, list):
            return [self.here(value) for value in example]
        return self.meant.get(example, example) if isinstance(example, str) else example

    async def run(self, values: Sequence[Any]) -> None:
        """Put every value into every field of every body, every query and every path."""
        for path, verbs in self.client.contract.document["paths"].items():
            for verb, operation in verbs.items():
                await self.mongo.collection("attempts").delete_many({})  # nobody is to be too often here
                for value in values:
                    await self._bodies(verb.upper(), path, operation, value)
                    await self._parameters(verb.upper(), path, operation, value)

    async def _bodies(self, verb: str, path: str, operation: Mapping[str, Any], value: Any) -> None:
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if not content:
            return
        schemas = self.client.contract.document["components"]["schemas"]
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        for place in places(schema, schemas):
            body = put(self.here(schema["examples"][0]), place, value)
            reply = await self.send(verb, self._filled(path, operation), fresh(body, place))
            if reply.status == 201:
                await self._follow(reply.json)

    async def _follow(self, created: Any) -> None:
        """Use what was created: send the draft, or send from the account."""
        identity_id, message_id = created.get("identity_id"), created.get("message_id")
        if identity_id and "identifier" not in created:
            own = await self.send("POST", "/api/v1/messages", draft(identity_id))
            message_id = own.json["message_id"]
        if message_id:
            await self.send("POST", f"/api/v1/messages/{message_id}/actions", {"actions": ["send"]})
        if identity_id:
            await self.send("GET", f"/api/v2/identities/remotes/{identity_id}")
            await self.send("DELETE", f"/api/v2/identities/remotes/{identity_id}")

    async def _parameters(self, verb: str, path: str, operation: Mapping[str, Any], value: Any) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        encoded = quote(text.encode("utf-8", "surrogatepass"), safe="")
        for each in operation["parameters"]:
            name = each["name"]
            if each["in"] == "query":
                for query in (f"{name}={encoded}", f"{name}[$ne]=1", f"{encoded}=1"):
                    await self.send(verb, f"{self._filled(path, operation)}?{query}")
            elif each["in"] == "path" and encoded not in ("", "."):
                await self.send(verb, self._filled(path.replace(f"{{{name}}}", encoded), operation))

    async def rest(self, recorder: Recorder) -> None:
        """Wait until all is sent and filed, and a mail of the gateway's own is among it."""
        due = {"delivery.due_at": {"$exists": True}}
        async with asyncio.timeout(60):
            while await self.mongo.collection("messages").find_one(due) or not any(
                b"Your new mailbox" in message for message in recorder.messages
            ):
                await asyncio.sleep(0.05)

    def _filled(self, path: str, operation: Mapping[str, Any]) -> str:
        for each in operation["parameters"]:
            if each["in"] == "path":
                path = path.replace(f"{{{each['name']}}}", quote(self.here(each["example"]), safe=""))
        return path


def places(schema: Mapping[str, Any], schemas: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    """Yield where a body of a schema may hold text, and each map once more for the names of its properties."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        yield from places(choice, schemas, path)
    kinds = schema.get("type", ())
    if "string" in kinds:
        yield path
    if "array" in kinds:
        yield from places(schema["items"], schemas, (*path, 0))
    if "object" in kinds:
        for name, each in schema.get("properties", {}).items():
            yield from places(each, schemas, (*path, name))
        yield from ((*path, KEY), (*path, "another")) if schema.get("additionalProperties") else [(*path, KEY)]


def put(thing: Any, place: Path, value: Any) -> Any:
    """Return a body, or a part of it, with a value in that place."""
    if not place:
        return value
    step, *rest = place
    if isinstance(step, int):
        return [put(thing[0] if thing else None, tuple(rest), value)]
    if step == KEY:
        return {**(thing or {}), value if isinstance(value, str) else json.dumps(value): "a"}
    return {**(thing or {}), step: put((thing or {}).get(step), tuple(rest), value)}


def fresh(body: Any, place: Path) -> Any:
    """Return a body that is taken but for the value: of something new, a change of whatever is there."""
    if place[0] != "current_state":
        body.pop("current_state", None)
    name = f"a{uuid4().hex[:20]}"
    new = {"identifier": f"{name}@elsewhere.example", "username": name, "local_part": name}
    body |= {key: value for key, value in new.items() if key in body and key != place[0]}
    if isinstance(body.get("infos"), dict):
        body["infos"] = {"intls": "none", "outtls": "none", **body["infos"]}
    return body


@pytest.fixture
async def attack(user: Client, recorder: Recorder, mongo: Mongo, figures: Figures) -> AsyncIterator[Attack]:
    """A user with one of each thing, so that every operation has something to work on."""
    meant = {
        examples.IMAP_SERVER: f"{recorder.host}:{recorder.imap_port}",
        examples.SMTP_SERVER: f"{recorder.host}:{recorder.smtp_port}",
        examples.DOMAIN: DOMAIN,
        examples.FRIEND: FRIEND.address,
    }
    attack = Attack(user, mongo, meant)
    infos = {"inserver": meant[examples.IMAP_SERVER], "outserver": meant[examples.SMTP_SERVER]}
    infos |= {"intls": "none", "outtls": "none"}
    credentials = {"inusername": ME.address, "inpassword": ME.password}
    account = {"protocol": "imap", "identifier": ME.address, "infos": infos, "credentials": credentials}
    added = await attack.send("POST", "/api/v2/identities/remotes", account)
    meant[examples.IDENTITY_ID] = added.json["identity_id"]
    sent = (await attack.send("POST", "/api/v1/messages", draft(meant[examples.IDENTITY_ID]))).json["message_id"]
    actions = {"actions": ["send"]}
    meant[examples.RAW_ID] = (await attack.send("POST", f"/api/v1/messages/{sent}/actions", actions)).json[
        "raw_msg_id"
    ]
    written = await attack.send("POST", "/api/v1/messages", draft(meant[examples.IDENTITY_ID]))
    meant[examples.MESSAGE_ID] = written.json["message_id"]
    meant[examples.USER_ID] = user.user_id
    await attack.send("POST", "/api/v2/domains", {"name": DOMAIN})
    domain = await attack.send("POST", f"/api/v2/domains/{DOMAIN}/actions", {"actions": ["check"]})
    assert domain.json["status"] == "enabled", domain.json
    mailbox = {**examples.REQUESTS["NewMailbox"], "secondary_email": FRIEND.address}
    assert (await attack.send("POST", f"/api/v2/domains/{DOMAIN}/mailboxes", mailbox)).status == 201
    yield attack
    by_status = ", ".join(f"{count} {status}" for status, count in sorted(attack.counts.items()))
    figures("hostile requests, by status", by_status)
    figures("messages that came of them", len(recorder.messages))


def check_smtp(lines: Sequence[bytes]) -> None:
    """Every line is a command as the gateway makes them, with an address of those that were meant."""
    for line in lines:
        command = _SMTP.fullmatch(line)
        assert command, line
        assert b"evil" not in (command["to"] or b"") + (command["from"] or b""), line
        if line.startswith(b"AUTH"):
            assert b64decode(line.split()[2]).count(b"\0") == 2, line


def check_message(raw: bytes) -> None:
    """A message has the header that the gateway writes and no other field, and lines that end with CRLF."""
    head, _, body = raw.partition(b"\r\n\r\n")
    parsed = BytesHeaderParser(policy=compat32).parsebytes(head)
    assert not parsed.defects, raw
    assert set(parsed.keys()) <= _HEADERS, raw
    assert len(set(parsed.keys())) == len(parsed.keys()), raw
    assert body, raw
    assert b"\0" not in raw
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw), raw
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("values", [QUICK, pytest.param(MORE, marks=pytest.mark.torture)], ids=["quick", "all"])
async def test_every_field(attack: Attack, recorder: Recorder, names: NameServer, values: list[Any]) -> None:
    """What is put into any field is refused or harmless: to SMTP, to IMAP, to the DNS and to the database."""
    await attack.run(values)
    await attack.rest(recorder)
    for path in ("messages", "identities/remotes", f"domains/{DOMAIN}/mailboxes", f"domains/{DOMAIN}/invitations"):
        assert (await attack.send("GET", f"/api/v2/{path}?limit=200")).status == 200
    check_smtp(recorder.smtp)
    assert [line for line in recorder.imap if not _IMAP.fullmatch(line)] == []
    for message in (*recorder.messages, *recorder.copies):
        check_message(message)
    assert [question for question in names.asked if not _QUESTION.fullmatch(question)] == []
    assert len(recorder.messages) > 10
    assert len(recorder.copies) > 10


HOSTILE_KEYS = [
    "$where",
    "$set.x",
    "a.b",
    ".",
    "a..b",
    "a.",
    "0",
    "__proto__",
    "credentials.inpassword",
    "\u202e",
    "_id",
]


async def test_names_of_properties(user: Client, provider: Provider) -> None:
    """A property of a name that MongoDB would take for an operator or a path is kept like any other."""
    extra = {key: f"value of {key}" for key in HOSTILE_KEYS}
    identity_id = await user.add_remote(provider, infos={**remote(provider)["infos"], **extra})
    path = f"/api/v2/identities/remotes/{identity_id}"
    for key in HOSTILE_KEYS:
        patch = {"infos": {key: "changed"}, "current_state": {"infos": {key: extra[key]}}}
        assert (await user.call("PATCH", path, patch)).status == 204
        extra[key] = "changed"
        infos = (await user.get(path)).json["infos"]
        assert {name: infos[name] for name in extra} == extra
    assert (await user.call("PATCH", path, {"infos": dict.fromkeys(HOSTILE_KEYS)})).status == 204
    assert not (await user.get(path)).json["infos"].keys() & set(HOSTILE_KEYS)


FILE_NAMES = [
    "../../etc/passwd", "..\\..\\boot.ini", "..%2f..%2fx", "..\uff0f..\uff0fx", "%0d%0aX-Injected: yes", "CON",
    "a%22; filename=evil.exe; x=%22", "a%00b.txt", "\u202etxt.exe", "a;b=c.txt", "a\x85b\u2028c", "a\tb",
    "\U0001f4a3" * 300,
]  # fmt: skip
_DISPOSITION = re.compile(
    r"""attachment; filename="([ !#-.0-\[\]-~]|\\")+"(; filename\*=UTF-8''[\w.%~-]+)?""", re.ASCII
)


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
async def test_names_of_files(user: Client) -> None:
    """A file is downloaded under a name without a path, as one parameter of one header."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    for name in FILE_NAMES:
        await check_file(user, f"/api/v2/messages/{message_id}/attachments", name)


async def check_file(user: Client, path: str, name: str) -> None:
    """Upload a file of that name, and download it again."""
    form = (
        f'--b\r\nContent-Disposition: form-data; name="attachment"; filename="{name}"\r\n\r\n<script>\r\n--b--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    added = await user.call("POST", path, data=form.encode(), headers=headers)
    assert added.status == 201, added.json
    answer = await user.get(f"{path}/{added.json['temp_id']}")
    assert _DISPOSITION.fullmatch(answer.headers["Content-Disposition"]), answer.headers["Content-Disposition"]
    assert not re.search(r"%2f|%5c|%00|%0[ad]|%e2%80%ae", answer.headers["Content-Disposition"], re.IGNORECASE)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Injected" not in answer.headers


BOUNDARIES = 1000


_FORM = "multipart/form-data; boundary=b"
BOMBS: Mapping[str, tuple[str, bytes]] = {
    "nested": (_FORM, b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 1000),
    "headers": (_FORM, b"--b\r\n" + b"X: y\r\n" * 10_000 + b"\r\n\r\n--b--\r\n"),
    "parts": (_FORM, b"--b\r\n\r\n\r\n" * 10_000 + b"--b--\r\n"),
    "boundary": (_FORM + "b" * 7_000, b"--b\r\n\r\n--b--\r\n"),
    "parameters": (f"{_FORM}; " * 100, b"--b\r\n\r\n--b--\r\n"),
    "objects": ("application/json", b'{"subject":' * 90_000),
    "arrays": ("application/json", b"[" * 1_000_000),
    "digits": ("application/json", b'{"subject": ' + b"9" * 1_000_000 + b"}"),
}


async def test_bombs(user: Client) -> None:
    """A body that is nested, split or repeated without end is refused, and is no work."""
    message_id = await user.draft((await user.local_identity())["identity_id"])
    path = f"/api/v2/messages/{message_id}"
    for name, (content_type, body) in BOMBS.items():
        verb, where = ("POST", f"{path}/attachments") if content_type.startswith(_FORM) else ("PATCH", path)
        headers = {"Content-Type": content_type}
        answer = await user.call(verb, where, data=BytesIO(body), headers=headers)
        assert answer.status in (400, 413, 422), (name, answer.content)
