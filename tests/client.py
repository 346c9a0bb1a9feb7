"""A client of the REST API, as the tests use it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import orjson
from aiohttp.test_utils import TestClient

from api.demo.provider import Provider
from tests.conftest import FRIEND, ME
from tests.contract import Contract

PASSWORD = "a good password"


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Any
    content: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.content)


@dataclass(frozen=True)
class Client:
    """Speaks to one gateway; signed in where it has credentials. Every answer is held against the contract."""

    http: TestClient[Any, Any]
    contract: Contract
    user_id: str = ""
    access_token: str = ""

    async def request(self, verb: str, path: str, **kwargs: Any) -> Reply:
        """Send a request as it is."""
        async with self.http.request(verb, path, **kwargs) as response:
            reply = Reply(response.status, response.headers.copy(), await response.read())
            self.contract.check(verb, response.url.raw_path, reply)
            check_for_browsers(reply)
            return reply

    async def call(self, verb: str, path: str, body: Any = None, **kwargs: Any) -> Reply:
        """Send a request with the client's credentials and a JSON body."""
        if self.access_token:
            basic = aiohttp.encode_basic_auth(self.user_id, self.access_token)
            kwargs["headers"] = {"Authorization": basic, **kwargs.get("headers", {})}
        if body is not None:
            kwargs["json"] = body
        return await self.request(verb, path, **kwargs)

    async def get(self, path: str, **kwargs: Any) -> Reply:
        """GET, signed in."""
        return await self.call("GET", path, **kwargs)

    async def post(self, path: str, body: Any, **kwargs: Any) -> Reply:
        """POST, signed in."""
        return await self.call("POST", path, body, **kwargs)

    async def register(self, username: str) -> Client:
        """Return a client that is signed in as a new user."""
        created = await self.post("/api/v1/users", {"username": username, "password": PASSWORD})
        assert created.status == 201, created.json
        return await self.sign_in(username)

    async def sign_in(self, username: str, password: str = PASSWORD) -> Client:
        """Return a client that is signed in."""
        reply = await self.post("/api/v1/authentications", {"username": username, "password": password})
        assert reply.status == 200, reply.json
        return replace(self, user_id=reply.json["user_id"], access_token=reply.json["tokens"]["access_token"])

    async def local_identity(self) -> dict[str, Any]:
        """Return the user's first local identity."""
        reply = await self.get("/api/v2/identities/locals")
        identity: dict[str, Any] = reply.json["local_identities"][0]
        return identity

    async def add_remote(self, provider: Provider, **changes: Any) -> str:
        """Add the account ME at the provider; return its identity_id."""
        reply = await self.post("/api/v2/identities/remotes", remote(provider, **changes))
        assert reply.status == 201, reply.json
        identity_id: str = reply.json["identity_id"]
        return identity_id

    async def draft(self, identity_id: str, *recipients: str, **changes: Any) -> str:
        """Create a draft; return its message_id."""
        reply = await self.post("/api/v1/messages", draft(identity_id, *recipients, **changes))
        assert reply.status == 201, reply.json
        message_id: str = reply.json["message_id"]
        return message_id

    async def send(self, message_id: str, **params: Any) -> Reply:
        """Order the sending."""
        body = {"actions": ["send"], "params": params}
        return await self.post(f"/api/v1/messages/{message_id}/actions", body)


def check_for_browsers(reply: Reply) -> None:
    """See that no answer gives a page of others a hold: no cookie to act with, nothing to frame or to guess."""
    assert "Set-Cookie" not in reply.headers
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]


def remote(provider: Provider, **changes: Any) -> dict[str, Any]:
    """Return the body that adds the account ME at the provider."""
    return {
        "protocol": "imap",
        "identifier": ME.address,
        "infos": {
            "inserver": f"{provider.host}:{provider.imap_port}",
            "outserver": f"{provider.host}:{provider.submission_port}",
            "intls": "none",
            "outtls": "none",
        },
        "credentials": {"inusername": ME.address, "inpassword": ME.password},
        **changes,
    }


def draft(identity_id: str, *recipients: str, **changes: Any) -> dict[str, Any]:
    """Return the body that creates a draft to the recipients, FRIEND where none is given."""
    return {
        "user_identities": [identity_id],
        "subject": "A subject",
        "body": "A body.",
        "participants": [{"type": "To", "address": address} for address in recipients or (FRIEND.address,)],
        **changes,
    }
