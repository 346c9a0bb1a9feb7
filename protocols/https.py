"""Fetching a small document by HTTPS from a host that comes from outside, by the same rules as mail servers.

Redirects are followed here and not by aiohttp, so that each is held against the rules: HTTPS, its own port, and an
address that the guard allows. Certificates are always verified. There is no plain HTTP: whoever sits on the path
could answer with mail servers of his own, to which the user would then send a password.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.errors import HostRefused, Refused, Unreachable
from protocols.network import Network

PORT = 443
_TIMEOUT_S = 5.0
_MAX_REDIRECTS = 3
_MAX_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 8 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)  # RFC 9110 §15.4
_OK = 200


class Https:
    """Fetches documents through the guard.

    ``port`` is the only one to which it connects; ``timeout`` in seconds holds for a document with all redirects.
    """

    def __init__(self, network: Network, port: int = PORT, timeout: float = _TIMEOUT_S) -> None:
        self._network = network
        self._port = port
        self._timeout = timeout

    async def get(self, host: str, path: str) -> bytes:
        """Return the document at ``https://host/path``. Raises RemoteError."""
        try:
            url = URL.build(scheme="https", host=host, port=self._port, path=path)
            async with asyncio.timeout(self._timeout), self._session() as session:
                for _ in range(1 + _MAX_REDIRECTS):
                    answer = await self._get_once(session, url)
                    if isinstance(answer, bytes):
                        return answer
                    url = answer
        except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:  # ValueError: of a malformed URL
            raise Unreachable(f"https://{host}{path} cannot be fetched.") from error
        raise Refused(f"https://{host}{path} leads on and on.")

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=_GuardedResolver(self._network),
            use_dns_cache=False,
            ssl=self._network.tls,
            force_close=True,
            # aiohttp does not resolve hosts that are addresses: what is refused here is not connected to at all.
            socket_factory=self._socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a small body could become a very large one
            headers={"Accept-Encoding": "identity", "User-Agent": "mail-identity-gateway"},
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, where = info
        if not self._network.is_allowed(where[0]):
            raise HostRefused(f"Connections to {where[0]} are not allowed here.")
        return socket.socket(family, kind, protocol)

    async def _get_once(self, session: aiohttp.ClientSession, url: URL) -> bytes | URL:
        """Return the document, or where it is instead."""
        if url.scheme != "https" or url.port != self._port or url.user is not None:
            raise HostRefused(f"A redirect to {url.scheme} on port {url.port} is not followed.")
        async with session.get(url, allow_redirects=False) as response:
            if response.status in _REDIRECTS:
                return url.join(URL(response.headers.get("Location", "")))
            if response.status != _OK or response.headers.get("Content-Encoding", "identity") != "identity":
                raise Refused(f"{url.host} has no such document.")
            return await _read(response)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    try:
        await response.content.readexactly(_MAX_BYTES + 1)
    except asyncio.IncompleteReadError as error:
        return error.partial
    raise Refused("The document is too large.")


class _GuardedResolver(AbstractResolver):
    """Lets aiohttp know those addresses only to which a connection is allowed."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp's
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, where in await self._network.resolve(host, port)
        ]

    async def close(self) -> None:
        """Nothing is held open."""
