"""The demo: starts everything, prints who may sign in and a walk of curl commands through the main job."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import orjson

from api import log
from api.demo.provider import Account, Provider
from api.main import running
from api.process import until_signal
from gateway import config as configuration
from gateway.config import Config
from gateway.connect import NewRemote
from gateway.identity import Credentials

_USERNAME, _PASSWORD = "demo", "demo-password"
_ME = Account("me@elsewhere.example", "mailbox-password")
_FRIEND = Account("friend@elsewhere.example", "friend-password")


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo."""

    url: str
    provider: Provider
    user_id: str
    access_token: str
    identity_id: str

    @property
    def walk(self) -> list[tuple[str, str]]:
        """The main job, from the sign-in to the copy in Sent: what each step does, and one line of shell."""
        draft = str(uuid4())
        remote = f"/api/v2/identities/remotes/{self.identity_id}"
        message = f"/api/v1/messages/{draft}"
        sign_in = {"username": _USERNAME, "password": _PASSWORD}
        return [
            (
                "Sign in (this gives a new pair of tokens; the commands below use the one made at the start)",
                self._curl("/api/v1/authentications", sign_in, public=True),
            ),
            ("List the identities at other providers", self._curl("/api/v2/identities/remotes")),
            (
                "Create a draft on behalf of that identity",
                self._curl("/api/v1/messages", _draft(draft, self.identity_id)),
            ),
            ("Send it", self._curl(f"{message}/actions", {"actions": ["send"]})),
            ("See it delivered: what the server said of each recipient", self._curl(message)),
            ("Read it in the friend's INBOX, over IMAP", self._imap(_FRIEND, "INBOX")),
            ("Read the copy in one's own Sent, over IMAP", self._imap(_ME, "Sent")),
            (
                "Check the account: connect and sign in at both of its servers",
                self._curl(f"{remote}/actions", {"actions": ["check"]}),
            ),
            ("See when it was last checked", self._curl(remote)),
        ]

    def _curl(self, path: str, body: dict[str, Any] | None = None, *, public: bool = False) -> str:
        words = ["curl", "-sS", "--fail-with-body", "-w", r"\n"]
        if not public:
            words += ["-u", f"{self.user_id}:{self.access_token}"]
        words.append(f"{self.url}{path}")
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", orjson.dumps(body).decode()]
        return shlex.join(words)

    def _imap(self, account: Account, folder: str) -> str:
        url = f"imap://{self.provider.host}:{self.provider.imap_port}/{folder};MAILINDEX=1"
        return shlex.join(["curl", "-sS", "-u", f"{account.address}:{account.password}", url])


def _draft(message_id: str, identity_id: str) -> dict[str, Any]:
    return {
        "message_id": message_id,
        "user_identities": [identity_id],
        "subject": "Hello from the gateway",
        "body": "Sent on behalf of my account elsewhere.",
        "participants": [{"type": "To", "address": _FRIEND.address, "label": "A friend"}],
    }


async def run_demo(port: int) -> None:
    """Run the demo until a signal. Raises as until_signal does."""
    await until_signal(demonstration(port), lambda demo: click.echo(text(demo)))


@asynccontextmanager
async def demonstration(port: int) -> AsyncIterator[Demo]:
    """Start a gateway, another provider and a demo user; stop and forget them at the end. Raises StartError."""
    with tempfile.TemporaryDirectory(prefix="mail-gateway-demo-") as directory:
        async with Provider([_ME, _FRIEND]) as provider:
            settings = _configuration(Path(directory), port, provider)
            log.configure(settings.log)
            async with running(settings) as (gateway, url):
                user = await gateway.core.accounts.register(_USERNAME, _PASSWORD, "Demo user", None, source="")
                _, tokens = await gateway.core.accounts.sign_in(_USERNAME, _PASSWORD, source="")
                identity = await gateway.core.connect.add_remote(user.user_id, _remote(provider))
                yield Demo(url, provider, user.user_id, tokens.access_token, identity.identity_id)


def _configuration(directory: Path, port: int, provider: Provider) -> Config:
    return configuration.build(
        {
            "server": {"port": port},
            "log": {"level": "warning"},
            "storage": {"data_dir": str(directory / "gateway")},
            "accounts": {"local_domain": "home.example"},
            "relay": {"host": provider.host, "port": provider.relay_port, "tls": "none"},
            "network": {
                "allow": [f"{provider.host}/32"],
                "ports": [provider.submission_port, provider.imap_port],
                "allow_plaintext": True,
            },
        }
    )


def _remote(provider: Provider) -> NewRemote:
    return NewRemote(
        protocol="imap",
        identifier=_ME.address,
        display_name="My account elsewhere",
        infos={
            "inserver": f"{provider.host}:{provider.imap_port}",
            "outserver": f"{provider.host}:{provider.submission_port}",
            "intls": "none",
            "outtls": "none",
        },
        credentials=Credentials({"inusername": _ME.address, "inpassword": _ME.password}),
    )


def text(demo: Demo) -> str:
    """Return what the demo prints."""
    steps = [f"{number}. {title}:\n\n   {command}\n" for number, (title, command) in enumerate(demo.walk, start=1)]
    return "\n".join(
        [
            f"The gateway runs at {demo.url} (open it in a browser for the console).",
            f"Sign in as {_USERNAME} with the password {_PASSWORD}.",
            f"Another provider runs beside it on {demo.provider.host}:",
            f"SMTP on port {demo.provider.submission_port}, IMAP on port {demo.provider.imap_port}.",
            "",
            "A walk through the main job; copy each command into another terminal:",
            "",
            *steps,
            "Ctrl-C stops everything; nothing is kept.",
        ]
    )
