"""A client of the dimail-compatible face, as the tests use it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from tests.client import Client, Reply

PASSWORD = "a password"
PERMS = ["new_domain", "create_users", "manage_users"]
FEATURES = ["webmail", "mailbox", "alias"]
NAMES = {"givenName": "Ada", "surName": "Grüße", "displayName": "Ada Grüße"}


@dataclass(frozen=True)
class DimailClient:
    """Speaks to the face of one gateway, by name and password and by the token that it gets for them."""

    rest: Client
    name: str = ""
    password: str = PASSWORD
    token: str = ""

    async def request(self, verb: str, path: str, authorization: str | None = None, **kwargs: Any) -> Reply:
        """Send a request with this header; ``path`` begins behind /dimail."""
        headers = {**kwargs.pop("headers", {})}
        if authorization:
            headers["Authorization"] = authorization
        return await self.rest.request(verb, f"/dimail{path}", headers=headers, **kwargs)

    @property
    def basic(self) -> str:
        """The header with name and password."""
        return aiohttp.encode_basic_auth(self.name, self.password)

    async def call(self, verb: str, path: str, body: Any = None, **kwargs: Any) -> Reply:
        """Send a request with name and password."""
        return await self.request(verb, path, self.basic, json=body, **kwargs)

    async def by_token(self, verb: str, path: str, body: Any = None, **kwargs: Any) -> Reply:
        """Send a request with the token."""
        return await self.request(verb, path, f"Bearer {self.token}", json=body, **kwargs)

    async def named(self, name: str, password: str = PASSWORD) -> DimailClient:
        """Return the client of an account that is there, with a token."""
        client = replace(self, name=name, password=password)
        reply = await client.call("GET", "/token/")
        assert reply.status == 200, reply.json
        return replace(client, token=reply.json["access_token"])

    async def register(self, name: str, *, is_admin: bool = False, perms: list[str] | None = None) -> DimailClient:
        """Make an account; return its client."""
        body = {"name": name, "password": PASSWORD, "is_admin": is_admin, "perms": perms or []}
        reply = await self.call("POST", "/users/", body)
        assert reply.status == 201, reply.json
        return await self.named(name)

    async def host(self, name: str, **changes: Any) -> Reply:
        """Host a domain."""
        return await self.call("POST", "/domains/", new_domain(name, **changes))

    async def mailbox(self, domain: str, user_name: str, **changes: Any) -> Any:
        """Create a mailbox; return the answer."""
        reply = await self.by_token("POST", f"/domains/{domain}/mailboxes/{user_name}", {**NAMES, **changes})
        assert reply.status == 201, reply.json
        return reply.json


def new_domain(name: str, **changes: Any) -> dict[str, Any]:
    """Return the body that hosts a domain, as La Suite's People sends it."""
    return {"name": name, "context_name": name, "features": FEATURES, "delivery": "virtual", **changes}
