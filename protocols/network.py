"""The one way out: where connections may go is decided here, and those to mail servers are opened here.

A server that a user named is resolved once, its addresses are held against the rules, and the connection goes to an
address that was checked: a DNS answer that changes in between changes nothing. Certificates are always verified.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import aiohappyeyeballs

from gateway.config import NetworkSection
from gateway.errors import HostRefused, RemoteError, StartError, Unreachable, Untrusted
from gateway.identity import Endpoint, TLSMode
from protocols.dns import Resolver

# As socket.getaddrinfo() returns it; the last item is the socket address.
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
Address = IPv4Address | IPv6Address

_HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 §5
_MAX_ADDRESSES = 8  # of one name; a name with hundreds would make us knock at hundreds of doors
_GLOBAL_UNICAST = ip_network("2000::/3")  # RFC 4291 §2.4 and IANA: all other public IPv6 space is unassigned
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052 §2.1
# RFC 6890 §2.2.2 and RFC 7526: protocol assignments and 6to4 relays; Python 3.11 takes them for global.
_NO_HOSTS = (ip_network("192.0.0.0/24"), ip_network("192.88.99.0/24"))


class Network:
    """Opens connections, as the configuration allows."""

    def __init__(self, settings: NetworkSection) -> None:
        """Raises StartError when the file of certificate authorities cannot be used."""
        self._settings = settings
        self._allowed = [ip_network(network) for network in settings.allow]
        self.command_timeout = settings.command_timeout_s
        self.dns = Resolver(settings.nameservers)
        self.tls = ssl.create_default_context()
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996; some systems' OpenSSL would take less
        if settings.ca_file:
            try:
                self.tls.load_verify_locations(settings.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise StartError(
                    f"network.ca_file: {settings.ca_file} cannot be read as PEM certificates."
                ) from error

    @asynccontextmanager
    async def connect(self, endpoint: Endpoint) -> AsyncIterator[socket.socket]:
        """Yield a connected, non-blocking TCP socket, for a transport to take over and to close.

        Raises HostRefused (the rules forbid it), Unreachable (no such host, no answer in time).
        """
        if not endpoint.operators:
            self._check(endpoint)
        sock = await self._open(endpoint)
        try:
            yield sock
        finally:
            # When the server resets the connection before create_connection() is done, uvloop has closed the
            # descriptor and forgets to tell the socket, which at its end would close that number again, by then
            # perhaps another connection's. close() closes what no transport has taken, detach() forgets the rest.
            sock.close()
            sock.detach()

    async def _open(self, endpoint: Endpoint) -> socket.socket:
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                if endpoint.operators:
                    addresses = await _ask_system(endpoint.host, endpoint.port)
                else:
                    addresses = await self.resolve(endpoint.host, endpoint.port)
                return await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_S
                )
        # UnicodeError: a name that has no DNS form; RuntimeError: uvloop, of a socket that is gone.
        except (OSError, UnicodeError, RuntimeError) as error:
            raise explain(error, endpoint) from error

    def permits(self, endpoint: Endpoint) -> bool:
        """True when the rules allow port and TLS mode of a server that a user named; its host is another matter."""
        try:
            self._check(endpoint)
        except HostRefused:
            return False
        return True

    def _check(self, endpoint: Endpoint) -> None:
        if endpoint.port not in self._settings.ports:
            raise HostRefused(
                f"Port {endpoint.port} of {endpoint.host} is not one that mail servers use; connections to it are"
                " not allowed here."
            )
        if endpoint.tls is TLSMode.NONE and not self._settings.allow_plaintext:
            raise HostRefused(f"Connections without TLS, as to {endpoint.host}, are not allowed here.")

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        """Return the addresses of a host that a user named to which a connection is allowed.

        Raises HostRefused, Unreachable, OSError, UnicodeError.
        """
        found = _numeric(host, port) or await self._look_up(host, port)
        usable = [each for each in found if self.is_allowed(str(each[4][0]))]
        if not usable:
            raise HostRefused(
                f"{host} has no public address; connections to private networks are not allowed here."
            )
        return usable[:_MAX_ADDRESSES]

    async def _look_up(self, host: str, port: int) -> Sequence[AddressInfo]:
        if "." not in host:  # localhost, or a neighbour among containers: /etc/hosts and the like know it, not DNS
            return await _ask_system(host, port)
        return [info for address in await self.dns.addresses(host) for info in _numeric(address, port)]

    def is_allowed(self, text: str) -> bool:
        """True when a connection to this address is allowed."""
        address = ip_address(text.partition("%")[0])
        return all(any(end in network for network in self._allowed) or _is_public(end) for end in _ends(address))


async def _ask_system(host: str, port: int) -> Sequence[AddressInfo]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return found[:_MAX_ADDRESSES]


def _numeric(host: str, port: int) -> Sequence[AddressInfo]:
    """Return the address that a host is, in all spellings of inet_aton(3) (127.1, 0x7f000001); nobody is asked."""
    with suppress(socket.gaierror):
        flags = socket.AI_NUMERICHOST
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags)
    return []


def _is_public(address: Address) -> bool:
    if address.is_multicast or address.is_reserved or any(address in network for network in _NO_HOSTS):
        return False
    return address.is_global and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST)


def _ends(address: Address) -> Sequence[Address]:
    """Return where packets to this address may end: itself, or the IPv4 host that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:  # RFC 4291 §2.5.5.2
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFF_FFFF)]
    if address.sixtofour:  # RFC 3056
        return [address.sixtofour]
    return [address, *(address.teredo or ())]  # RFC 4380


def explain(error: BaseException, endpoint: Endpoint) -> RemoteError:
    """Return what an error of the network or of TLS means, in words for the user."""
    where = f"{endpoint.host} port {endpoint.port}"
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                why = getattr(cause, "verify_message", "") or "it does not verify"
                return Untrusted(f"The certificate of {where} is not trusted: {why}.")
            case ssl.SSLError():
                return Unreachable(f"No TLS connection to {where}. Is the TLS mode right for this port?")
            case socket.gaierror() | UnicodeError():
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
