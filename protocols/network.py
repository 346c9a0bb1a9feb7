"""The one way out: every connection to a mail server is opened here.

A server that a user named is resolved once, its addresses are held against the rules, and the connection goes to an
address that was checked: a DNS answer that changes in between changes nothing. Certificates are always verified.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import aiohappyeyeballs

from gateway.config import NetworkSection
from gateway.errors import HostRefused, RemoteError, StartError, Unreachable, Untrusted
from gateway.identity import Endpoint

# As socket.getaddrinfo() returns it; the last item is the socket address.
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
Address = IPv4Address | IPv6Address

_HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 §5
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052 §2.1


class Network:
    """Opens connections, as the configuration allows."""

    def __init__(self, settings: NetworkSection) -> None:
        """Raises StartError when the file of certificate authorities cannot be used."""
        self._settings = settings
        self._allowed = [ip_network(network) for network in settings.allow]
        self.command_timeout = settings.command_timeout_s
        self.tls = ssl.create_default_context()
        if settings.ca_file:
            try:
                self.tls.load_verify_locations(settings.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise StartError(
                    f"network.ca_file: {settings.ca_file} cannot be read as PEM certificates."
                ) from error

    async def connect(self, endpoint: Endpoint) -> socket.socket:
        """Return a connected, non-blocking TCP socket.

        Raises HostRefused (the rules forbid it), Unreachable (no such host, no answer in time).
        """
        if not endpoint.operators and endpoint.port not in self._settings.ports:
            raise HostRefused(
                f"Port {endpoint.port} of {endpoint.host} is not one that mail servers use; connections to it are"
                " not allowed here."
            )
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                addresses = await self._resolve(endpoint)
                return await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_S
                )
        except (OSError, TimeoutError) as error:
            raise explain(error, endpoint) from error

    async def _resolve(self, endpoint: Endpoint) -> list[AddressInfo]:
        """Return the addresses of the host to which a connection is allowed. Raises HostRefused, OSError."""
        found = await asyncio.get_running_loop().getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        usable: list[AddressInfo] = [
            (family, kind, proto, name, where)
            for family, kind, proto, name, where in found
            if endpoint.operators or self._is_allowed(str(where[0]))
        ]
        if not usable:
            raise HostRefused(
                f"{endpoint.host} has no public address; connections to private networks are not allowed here."
            )
        return usable

    def _is_allowed(self, text: str) -> bool:
        address = ip_address(text.partition("%")[0])
        if any(address in network for network in self._allowed):
            return True
        return all(_is_public(each) for each in (address, *_embedded(address)))


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: Address) -> Iterator[Address]:
    """Yield the IPv4 addresses to which an IPv6 address may be translated on its way."""
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)


def explain(error: BaseException, endpoint: Endpoint) -> RemoteError:
    """Return what an error of the network or of TLS means, in words for the user."""
    where = f"{endpoint.host} port {endpoint.port}"
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return Untrusted(
                    f"The certificate of {where} is not trusted: {cause.verify_message or 'it does not verify'}."
                )
            case ssl.SSLError():
                return Unreachable(f"No TLS connection to {where}. Is the TLS mode right for this port?")
            case socket.gaierror():
                return Unreachable(f"The host name {endpoint.host} cannot be resolved. Is it spelled right?")
            case ConnectionRefusedError():
                return Unreachable(f"{where} refuses connections. Are host and port right?")
            case TimeoutError():
                return Unreachable(f"{where} did not answer in time.")
    return Unreachable(f"The connection to {where} failed or was closed by the server.")


def _causes(error: BaseException) -> Sequence[BaseException]:
    """Return an error and what caused it, outermost last: the innermost says most."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.insert(0, cause)
        cause = cause.__cause__ or cause.__context__
    return chain
