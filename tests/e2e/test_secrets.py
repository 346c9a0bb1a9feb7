"""No secret shows anywhere: a whole life of an account at level debug, then a search of all that is left of it.

Searched are standard output and error, every answer with its headers, every file of the data directory byte by
byte, and every document of every collection as the driver reads it, the oplog included. WiredTiger's
files and journal are compressed with snappy, which replaces what came before by a reference and keeps the rest as
it is. The secrets are random, so none of their pieces has come before, and a piece of twelve characters is looked
for wherever one begins a multiple of twelve: plain, and as base64 has it at each of the three offsets. Other values
that have to be found in the same places show that the search can see.
"""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any

import aiohttp
import pytest

from api import log
from api.demo.provider import Account, Provider
from gateway.config import LogSection, NetworkSection, RelaySection, StorageSection
from gateway.errors import RemoteError
from gateway.identity import Credentials, Endpoint, SignIn, TLSMode
from gateway.ports import Envelope
from protocols.network import Network
from protocols.smtp import SmtpAdapter
from storage.embedded import EmbeddedMongod
from storage.mongo import Mongo
from tests.client import draft, remote
from tests.conftest import FRIEND, ME
from tests.content import content, let_go
from tests.e2e.conftest import Site

NewSite = Callable[..., Site]
PIECE = 12
NAMES = [
    *("password", "wrong password", "new password", "mailbox", "new mailbox", "in", "out", "relay"),
    *("access", "refresh", "misplaced"),
]
BAD_JSON = b'{"username": "someone", "password": "%s"'


def pieces(raw: bytes) -> set[bytes]:
    """Return what is looked for: pieces of the value, and of its base64 behind no, one or two other bytes."""
    # Of base64 the first characters are of what stands before as well, and the last ones of what follows.
    encoded = [b64encode(b"x" * n + raw)[n + (n > 0) : -4] for n in range(3)]
    return {form[at : at + PIECE] for form in (raw, *encoded) for at in range(0, len(form) - PIECE + 1, PIECE)}


def found(values: Mapping[str, str | bytes], data: bytes) -> list[str]:
    """Return the names of those values of which anything stands in the data."""
    raw = {name: value.encode() if isinstance(value, str) else value for name, value in values.items()}
    return [name for name, value in raw.items() if any(piece in data for piece in pieces(value))]


@dataclass
class Visitor:
    """A client that keeps what it is answered, except the tokens in the answer that hands them out."""

    site: Site
    session: aiohttp.ClientSession
    request_id: str
    answers: bytearray = field(default_factory=bytearray)
    tokens: list[str] = field(default_factory=list)
    authorization: dict[str, str] = field(default_factory=dict)

    async def request(self, verb: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        """Send a request; return status and JSON."""
        headers = {"X-Request-ID": self.request_id, "Content-Type": "application/json", **self.authorization}
        async with self.session.request(verb, f"{self.site.url}{path}", headers=headers, **kwargs) as response:
            content = await response.read()
            body = await response.json(content_type=None) if "json" in response.content_type else None
            for token in self.new_tokens(body):
                content = content.replace(token.encode(), b"")
            self.answers += repr(response.raw_headers).encode() + content
            return response.status, body

    def new_tokens(self, body: Any) -> list[str]:
        """Return the tokens that an answer hands out; use them from now on."""
        if not isinstance(body, dict) or "tokens" not in body:
            return []
        tokens = [body["tokens"]["access_token"], body["tokens"]["refresh_token"]]
        self.tokens += tokens
        self.authorization = {"Authorization": f"Bearer {tokens[0]}"}
        return tokens

    async def expect(self, status: int, verb: str, path: str, body: Any = None) -> Any:
        """Send a request that has to be answered with this status; return the JSON of the answer."""
        got, answer = await self.request(verb, path, **({} if body is None else {"json": body}))
        assert got == status, (verb, path, got, answer)
        return answer


@asynccontextmanager
async def visiting(site: Site) -> AsyncIterator[Visitor]:
    """Be a client of the site."""
    async with aiohttp.ClientSession() as session:
        yield Visitor(site, session, token_urlsafe(30))


def smtp_echo(line: str) -> str:
    """Answer as a server that takes no sign-in, and repeats what it was sent."""
    match line.split():
        case ["EHLO", *_]:
            return "250-echo\r\n250 AUTH PLAIN LOGIN XOAUTH2\r\n"
        case ["QUIT"]:
            return "221 bye\r\n"
    return f"535 5.7.8 {line} is wrong\r\n"


def imap_echo(line: str) -> str:
    """Answer as a server that takes no sign-in, and repeats what it was sent."""
    tag, _, command = line.partition(" ")
    match command.split():
        case ["CAPABILITY"]:
            return f"* CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2\r\n{tag} OK done\r\n"
        case ["LOGOUT"]:
            return f"* BYE bye\r\n{tag} OK done\r\n"
    return f"{tag} NO [AUTHENTICATIONFAILED] {command} is wrong\r\n"


@asynccontextmanager
async def echoing(greeting: bytes, answer: Callable[[str], str]) -> AsyncIterator[int]:
    """Run a server of that kind; yields its port."""
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(greeting)
        while line := await reader.readline():
            writer.write(answer(line.decode().rstrip("\r\n")).encode())
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()


@dataclass
class Life:
    """All that a user does, once."""

    visitor: Visitor
    provider: Provider
    echo_ports: tuple[int, int]
    secrets: dict[str, str]
    subject: str

    async def lead(self) -> None:
        """From the first day to the last."""
        await self.arrive()
        working = await self.connect_working()
        await self.connect_echoing()
        await self.send(working)
        await self.stumble()
        await self.look_around(working)
        await self.change(working)
        await self.leave(working)

    async def arrive(self) -> None:
        """Register, sign in wrong and right, and renew the tokens."""
        me = {"username": "someone", "password": self.secrets["password"]}
        await self.visitor.expect(201, "POST", "/api/v1/users", me)
        await self.visitor.expect(409, "POST", "/api/v1/users", me)
        wrong = me | {"password": self.secrets["wrong password"]}
        await self.visitor.expect(401, "POST", "/api/v1/authentications", wrong)
        await self.visitor.expect(200, "POST", "/api/v1/authentications", me)
        renewal = {"refresh_token": self.visitor.tokens[-1]}
        await self.visitor.expect(200, "POST", "/api/v1/authentications/refresh", renewal)
        await self.visitor.expect(401, "POST", "/api/v1/authentications/refresh", renewal)

    async def connect_working(self) -> str:
        """Add an account that works; return its id."""
        credentials = {f"{way}username": ME.address for way in ("in", "out")}
        credentials |= {f"{way}password": self.secrets["mailbox"] for way in ("in", "out")}
        body = remote(self.provider, credentials=credentials)
        added = await self.visitor.expect(201, "POST", "/api/v2/identities/remotes?verify=true", body)
        await self.visitor.expect(409, "POST", "/api/v2/identities/remotes", body)
        identity_id: str = added["identity_id"]
        return identity_id

    async def connect_echoing(self) -> None:
        """Add accounts whose servers repeat what they were sent, check them, and send from them."""
        imap, smtp = (f"127.0.0.1:{port}" for port in self.echo_ports)
        infos = {"inserver": imap, "outserver": smtp, "intls": "none", "outtls": "none"}
        own = {"inpassword": self.secrets["in"], "outpassword": self.secrets["out"]}
        oauth = {"username": "o", "accesstoken": self.secrets["access"], "refreshtoken": self.secrets["refresh"]}
        for name, credentials in (("own", {"inusername": "me", **own}), ("oauth", oauth)):
            new = {"identifier": f"{name}@echo.example", "infos": infos, "credentials": credentials}
            body = remote(self.provider, **new)
            await self.visitor.expect(424, "POST", "/api/v2/identities/remotes?verify=true", body)
            added = await self.visitor.expect(201, "POST", "/api/v2/identities/remotes", body)
            checked = await self.visitor.expect(200, "POST", f"{added['location']}/actions", {"actions": ["check"]})
            assert "is wrong" in checked["infos"]["lastFetchError"], checked
            await self.order(424, added["identity_id"], FRIEND.address)

    async def order(self, status: int, identity_id: str, recipient: str) -> str:
        """Send a message, which ends like this; return its path."""
        body = draft(identity_id, recipient, subject=self.subject)
        path: str = (await self.visitor.expect(201, "POST", "/api/v1/messages", body))["location"]
        await self.visitor.expect(status, "POST", f"{path}/actions", {"actions": ["send"]})
        return path

    async def send(self, working: str) -> None:
        """Send what arrives, what is refused, what is put off, and what the relay takes no sign-in for."""
        sent = await self.visitor.expect(200, "GET", await self.order(200, working, FRIEND.address))
        await self.visitor.expect(200, "GET", f"/api/v1/raws/{sent['raw_msg_id']}")
        await self.order(424, working, "never@elsewhere.example")
        await self.order(202, working, "later@elsewhere.example")
        locals_ = await self.visitor.expect(200, "GET", "/api/v2/identities/locals")
        await self.order(424, locals_["local_identities"][0]["identity_id"], FRIEND.address)

    async def stumble(self) -> None:
        """Send malformed and misplaced things, with a secret in all of them."""
        secret = self.secrets["misplaced"]
        status, _ = await self.visitor.request("POST", "/api/v1/authentications", data=BAD_JSON % secret.encode())
        assert status == 400
        for path in ("/api/v1/users", "/api/v1/authentications", "/api/v2/identities/remotes", "/api/v1/messages"):
            await self.visitor.expect(400, "POST", path, secret)
            await self.visitor.expect(422, "POST", path, {"password": [secret], "credentials": secret})
        misplaced = {"username": secret, "password": secret}
        await self.visitor.expect(401, "POST", "/api/v1/authentications", misplaced)
        infos = {"inserver": secret, "outserver": f"{secret}:99999", "intls": secret, "pollinterval": secret}
        for wrong in (
            {"infos": infos},
            {"infos": {"inserver": [secret]}, "credentials": {"inpassword": {"is": secret}}},
            {"protocol": secret, "status": secret, "display_name": {"is": secret}},
            {"identifier": secret, "credentials": {"inpassword": secret}},
        ):
            await self.visitor.expect(422, "POST", "/api/v2/identities/remotes", remote(self.provider, **wrong))

    async def look_around(self, working: str) -> None:
        """Read whatever can be read."""
        for path in (
            *("/api/v1/me", "/api/v2/identities/locals", "/api/v2/identities/remotes", "/api/v2/messages"),
            *(f"/api/v2/identities/remotes/{working}", f"/api/v2/remotes/{working}", "/metrics", "/readyz"),
            *("/healthz", "/api/openapi.json"),
        ):
            await self.visitor.expect(200, "GET", path)

    async def change(self, working: str) -> None:
        """Change the credentials to ones that are refused, and the password, wrongly and rightly."""
        path = f"/api/v2/identities/remotes/{working}"
        patch = {"credentials": {"inpassword": self.secrets["new mailbox"]}, "current_state": {}}
        await self.visitor.expect(204, "PATCH", path, patch)
        await self.visitor.expect(200, "POST", f"{path}/actions", {"actions": ["check"]})
        user = (await self.visitor.expect(200, "GET", "/api/v1/me"))["user_id"]
        password = {"password": self.secrets["new password"]}
        await self.visitor.expect(422, "PATCH", f"/api/v2/users/{user}", password)
        for status, current in ((409, "wrong password"), (204, "password")):
            body = password | {"current_state": {"password": self.secrets[current]}}
            await self.visitor.expect(status, "PATCH", f"/api/v2/users/{user}", body)

    async def leave(self, working: str) -> None:
        """Delete an account, then the user, at first with a wrong password."""
        await self.visitor.expect(204, "DELETE", f"/api/v2/identities/remotes/{working}")
        user = (await self.visitor.expect(200, "GET", "/api/v1/me"))["user_id"]
        for status, name in ((403, "wrong password"), (204, "new password")):
            body = {"password": self.secrets[name]}
            await self.visitor.expect(status, "DELETE", f"/api/v2/users/{user}", body)


def configured(provider: Provider, echo_ports: tuple[int, int], relay_password: str) -> str:
    """Return configuration lines that let users reach the servers, with an echo for a relay."""
    return f"""
    [network]
    allow = ["127.0.0.0/8"]
    ports = [{provider.imap_port}, {provider.submission_port}, {echo_ports[0]}, {echo_ports[1]}]
    allow_plaintext = true
    [relay]
    host = "127.0.0.1"
    port = {echo_ports[1]}
    tls = "none"
    username = "gateway"
    password = "{relay_password}"
    """


async def stored(site: Site) -> bytes:
    """Return every document of every collection as the driver reads it, compressed nowhere."""
    documents = bytearray()
    async with EmbeddedMongod(site.data) as server:
        mongo = Mongo(server.uri, "mail_gateway")
        for name in await mongo.client.list_database_names():
            database = mongo.client[name]
            for collection in await database.list_collection_names():
                async for batch in database[collection].find_raw_batches():
                    documents += batch
        mongo.close()
    return bytes(documents)


async def test_whole_life(new_site: NewSite) -> None:
    """Passwords, tokens, stored credentials and the master key are in no output, answer, document or other file."""
    secrets = {name: token_urlsafe(36) for name in NAMES}
    subject = token_urlsafe(36)
    accounts = [Account(ME.address, secrets["mailbox"]), FRIEND]
    async with (
        Provider(accounts) as provider,
        echoing(b"* OK echo\r\n", imap_echo) as imap_port,
        echoing(b"220 echo\r\n", smtp_echo) as smtp_port,
    ):
        echo_ports = imap_port, smtp_port
        site = new_site(configured(provider, echo_ports, secrets["relay"]))
        async with site.running() as process, visiting(site) as visitor:
            await Life(visitor, provider, echo_ports, secrets, subject).lead()
            assert process.child.stdout
            await process.stop()
            output = await process.child.stdout.read() + process.log.read_bytes()
    key_file = site.data / "credentials.key"
    tokens = {f"token {n}": token for n, token in enumerate(visitor.tokens)}
    assert len(set(tokens.values())) == 4
    needles: dict[str, str | bytes] = {**secrets, **tokens, "master key": key_file.read_bytes()}
    documents = await stored(site)
    files = [path.read_bytes().strip(b"\0") for path in site.data.rglob("*") if path.is_file() and path != key_file]
    for place, control in (
        (output, visitor.request_id),
        (bytes(visitor.answers), subject),
        (documents, subject),
        (b"".join(files), subject),
    ):
        assert found({"control": control}, place)
        assert not found(needles, place)


@pytest.mark.parametrize("before", ["", "a", "ab"])
def test_the_search_can_see(before: str) -> None:
    """A value is found as it is and in base64, whatever stands before and behind it."""
    value = token_urlsafe(36)
    text = f"{before}{value}behind".encode()
    assert found({"it": value}, text)
    assert found({"it": value}, b"AUTH " + b64encode(text))
    assert not found({"it": value}, token_urlsafe(1000).encode())


SECRET = token_urlsafe(36)


@pytest.mark.parametrize(
    "carrier",
    [
        Credentials({"inpassword": SECRET}),
        SignIn("me", SECRET),
        Endpoint("host", 1, TLSMode.NONE, SignIn("me", SECRET)),
        RelaySection(password=SECRET),
        StorageSection(uri=f"mongodb://gateway:{SECRET}@host"),
        Account("me@elsewhere.example", SECRET),
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_repr(carrier: object) -> None:
    """What carries a secret does not show it."""
    assert not found({"it": SECRET}, f"{carrier!r} {carrier}".encode())


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, afterwards as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("form", ["json", "console"])
async def test_traceback(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """A traceback through an adapter whose server repeats the password shows it in no form of the log."""
    log.configure(LogSection(level="debug", format=form))
    async with echoing(b"220 echo\r\n", smtp_echo) as port:
        network = Network(NetworkSection(allow=("127.0.0.0/8",), ports=(port,), allow_plaintext=True))
        endpoint = Endpoint("127.0.0.1", port, TLSMode.NONE, SignIn("me", SECRET))
        envelope = Envelope("me@elsewhere.example", ("friend@elsewhere.example",), smtputf8=False)
        adapter = SmtpAdapter(network, "gateway.example")
        with pytest.raises(RemoteError) as raised:
            await adapter.submit(endpoint, envelope, content(b"Subject: x\r\n\r\n"), let_go)
    root_logger.error("it failed", exc_info=raised.value)
    shown = capsys.readouterr().err + "".join(traceback.format_exception(raised.value))
    assert re.search(r"it failed.*SignInRefused", shown, re.DOTALL)
    assert not found({"it": SECRET}, shown.encode())
