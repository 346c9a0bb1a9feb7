"""No secret of the hosted domains shows anywhere: a second life, of domains, mailboxes, invitations, API clients.

The search is that of test_secrets.py, and it also looks at what commands print, at command lines and environments,
at the console and the documentation, and at the modes of files.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import aiohttp

import api
from api.demo.provider import Provider
from tests.conftest import FRIEND, ME
from tests.e2e.conftest import COMMAND, Process, Site, mail_gateway
from tests.e2e.test_secrets import Visitor, found, stored, visiting

NewSite = Callable[..., Site]
DOMAIN = "hosted.ok.test"
BOX = f"/api/v2/domains/{DOMAIN}/mailboxes/ada"
_TOKEN = re.compile(rb"^([\w-]{43})\r$", re.MULTILINE)
_LINK = re.compile(rb"https://webmail\.home\.example/login/(\S+)\r")


def _files(package: str) -> list[str]:
    directory = Path(api.__file__).parent / package
    return [
        str(path.relative_to(directory)) for kind in ("js", "css", "svg") for path in directory.rglob(f"*.{kind}")
    ]


@dataclass
class Life:
    """All that happens to a domain, once; ``secrets`` are what it hands out, and what was configured."""

    visitor: Visitor
    provider: Provider
    secrets: dict[str, str]
    last_name: str
    one_time: dict[str, str] = field(default_factory=dict)

    async def lead(self) -> None:
        """From the first day to the last."""
        await self.register("someone")
        await self.host()
        await self.invite()
        await self.be_a_dimail()
        await self.look_around()

    async def look_around(self) -> None:
        """Read whatever can be read, the files of the console and of the documentation included."""
        domain = f"/api/v2/domains/{DOMAIN}"
        for path in (
            *("/metrics", "/readyz", "/api/openapi.json", domain, f"{domain}/mailboxes", f"{domain}/accesses"),
            *(f"/console/{path}" for path in _files("console")),
            *(f"/api/docs/{path}" for path in _files("docs")),
            *("/", "/api/docs"),
        ):
            await self.visitor.expect(200, "GET", path)

    async def register(self, name: str) -> None:
        """Be a new user."""
        user = {"username": name, "password": self.secrets["password"]}
        await self.visitor.expect(201, "POST", "/api/v1/users", user)
        await self.visitor.expect(200, "POST", "/api/v1/authentications", user)

    async def host(self) -> None:
        """Host a domain with a mailbox, whose owner gets one link after the other."""
        await self.visitor.expect(201, "POST", "/api/v2/domains", {"name": DOMAIN})
        await self.visitor.expect(200, "POST", f"/api/v2/domains/{DOMAIN}/actions", {"actions": ["check"]})
        names = {"local_part": "ada", "first_name": "Ada", "last_name": self.last_name}
        box = names | {"secondary_email": FRIEND.address}
        await self.visitor.expect(201, "POST", f"/api/v2/domains/{DOMAIN}/mailboxes", box)
        self.one_time["first link"] = await self.mailed(_LINK)
        await self.visitor.expect(200, "POST", f"{BOX}/actions", {"actions": ["send_login_link"]})
        self.one_time["second link"] = await self.mailed(_LINK)
        await self.visitor.expect(200, "POST", f"{BOX}/actions", {"actions": ["reset_password"]})

    async def invite(self) -> None:
        """Invite somebody who mistypes the token at first."""
        body = {"email": ME.address, "role": "viewer"}
        await self.visitor.expect(201, "POST", f"/api/v2/domains/{DOMAIN}/invitations", body)
        self.one_time["token"] = await self.mailed(_TOKEN)
        await self.register("another")
        for status, token in (
            (404, self.secrets["wrong"]),
            (200, self.one_time["token"]),
            (404, self.one_time["token"]),
        ):
            await self.visitor.expect(status, "POST", "/api/v2/invitations/accept", {"token": token})

    async def mailed(self, secret: re.Pattern[bytes]) -> str:
        """Return the newest secret that was mailed, as soon as there is one that is new."""
        async with asyncio.timeout(30):
            while True:
                for each in self.provider.received:
                    for text in secret.findall(each.data.replace(b"=\r\n", b"")):
                        if text.decode() not in self.one_time.values():
                            return str(text.decode())
                await asyncio.sleep(0.05)

    async def be_a_dimail(self) -> None:
        """Be used as a dimail server: rightly, wrongly, and with a secret in what is malformed."""
        name, password = "people", self.secrets["client"]
        await self.dimail(201, "POST", "/users/", {"name": name, "password": password, "is_admin": True})
        basic = aiohttp.encode_basic_auth(name, password)
        await self.dimail(
            403, "GET", "/token/", authorization=aiohttp.encode_basic_auth(name, self.secrets["wrong"])
        )
        token = (await self.dimail(200, "GET", "/token/", authorization=basic))["access_token"]
        self.secrets["signature"] = token.rpartition(".")[2]
        bearer = f"Bearer {token}"
        await self.dimail(422, "POST", "/users/", {"name": [password], "password": [password]}, basic)
        boxes = f"/domains/{DOMAIN}/mailboxes"
        names = {"givenName": "Grace", "surName": "Example", "displayName": "Grace"}
        made = await self.dimail(201, "POST", f"{boxes}/grace", names, bearer)
        self.secrets["mailbox"] = made["password"]
        reset = await self.dimail(200, "POST", f"{boxes}/grace/reset_password/", {}, bearer)
        self.secrets["new mailbox"] = reset["password"]
        code = await self.dimail(200, "POST", f"{boxes}/grace/code", {"expires_in": 60, "maxuse": 1}, bearer)
        self.secrets["code"] = code["code"]

    async def dimail(self, status: int, verb: str, path: str, body: Any = None, authorization: str = "") -> Any:
        """Ask that face, whose answers hand out secrets on purpose: they are not searched, their errors are."""
        headers = {"Authorization": authorization} if authorization else {}
        url = f"{self.visitor.site.url}/dimail{path}"
        async with self.visitor.session.request(verb, url, json=body, headers=headers) as response:
            assert response.status == status, await response.text()
            if status >= 400:
                self.visitor.answers += await response.read()
            return await response.json()


@asynccontextmanager
async def serving(site: Site, password: str) -> AsyncIterator[Process]:
    """Run the gateway, with a password in its environment."""
    log, config = site.directory / "log", str(site.directory / "config.toml")
    async with mail_gateway("serve", "--config", config, log=log, GATEWAY_DIMAIL__PASSWORD=password) as process:
        await site.wait_until_ready(process)
        yield process


async def printed(site: Site, *arguments: str) -> bytes:
    """Return what a command prints, on both outputs."""
    config = str(site.directory / "config.toml")
    child = await asyncio.create_subprocess_exec(
        *(COMMAND, *arguments, "--config", config),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"]},
    )
    output, _ = await child.communicate()
    assert b"Traceback" not in output
    return output


def processes(site: Site, gateway: int) -> bytes:
    """Return the command lines of gateway and mongod, and the environment of mongod, as other programs see them."""
    (mongod,) = Path(f"/proc/{gateway}/task/{gateway}/children").read_text().split()
    read = [Path(f"/proc/{gateway}/cmdline"), Path(f"/proc/{mongod}/cmdline"), Path(f"/proc/{mongod}/environ")]
    return b"".join(each.read_bytes() for each in read)


async def test_life_of_a_domain(new_site: NewSite) -> None:
    """Passwords, tokens and links of domains, mailboxes and API clients are in nothing that is kept or shown."""
    secrets = {name: token_urlsafe(36) for name in ("password", "wrong", "client", "relay", "dimail")}
    control = token_urlsafe(36)
    async with Provider([ME, FRIEND]) as provider:
        site = new_site(
            f'[relay]\nhost = "{provider.host}"\nport = {provider.relay_port}\ntls = "none"\n'
            f'password = "{secrets["relay"]}"'
        )
        before = os.umask(0)
        try:
            async with serving(site, secrets["dimail"]) as process, visiting(site) as visitor:
                life = Life(visitor, provider, secrets, control)
                await life.lead()
                shown = [await printed(site, "doctor"), await printed(site, "identities", "export")]
                shown.append(processes(site, process.child.pid))
                assert process.child.stdout
                await process.stop()
                shown += [await process.child.stdout.read(), process.log.read_bytes()]
        finally:
            os.umask(before)
    tokens = {f"token {n}": token for n, token in enumerate(visitor.tokens)}
    documents = await stored(site)
    files = b"".join(path.read_bytes().strip(b"\0") for path in site.data.rglob("*") if path.is_file())
    for place in (*shown, bytes(visitor.answers), documents, files):
        assert found({**secrets, **tokens, **life.one_time}, place) == []
    for place in (bytes(visitor.answers), documents, files):
        assert found({"control": control}, place)
    assert found({"control": visitor.request_id}, process.log.read_bytes())
    assert b"Others can read" in process.log.read_bytes()  # the configuration, with the relay's password in it
    check_modes(site)


def check_modes(site: Site) -> None:
    """Whatever the umask, nobody else may read the data, and the key file is the owner's alone."""
    key = site.data / "credentials.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((site.data / "mongodb").stat().st_mode) == 0o700
