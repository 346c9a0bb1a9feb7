"""Whose request it is: HTTP Basic with user_id and access token, or Bearer with the access token alone."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.accounts import Accounts
from gateway.errors import NotAuthenticated

IPNetwork = IPv4Network | IPv6Network

_MISSING = "Sign in: send 'Authorization: Basic' with user_id and access_token, or 'Bearer' with the access_token."


async def authenticate(accounts: Accounts, header: str | None) -> tuple[str, str]:
    """Return the user_id behind an Authorization header (RFC 7617, RFC 6750), and the access token.

    Raises NotAuthenticated.
    """
    scheme, _, value = (header or "").partition(" ")
    match scheme.lower():
        case "bearer":
            token = value.strip()
            return await accounts.authenticate(token), token
        case "basic":
            user_id, token = basic_credentials(value.strip())
            return await accounts.authenticate(token, user_id), token
    raise NotAuthenticated(_MISSING)


def basic_credentials(value: str) -> tuple[str, str]:
    """Return user name and password of a Basic header (RFC 7617 §2). Raises NotAuthenticated."""
    try:
        decoded = base64.b64decode(value, validate=True).decode("utf-8")
    except ValueError as error:  # no base64, not even ASCII, or no UTF-8 in it
        raise NotAuthenticated(_MISSING) from error
    user_id, separator, token = decoded.partition(":")
    if not separator:
        raise NotAuthenticated(_MISSING)
    return user_id, token


def source_of(peer: str, forwarded_for: Sequence[str], proxies: Sequence[IPNetwork]) -> str:
    """Return the address that a request comes from, as far as it can be believed.

    ``peer`` is the other end of the connection, ``forwarded_for`` are the values of X-Forwarded-For. Each proxy
    adds there where its request came from: from the right, the first address that is no proxy of ours is it. What
    stands further left, anybody may have written.
    """
    hops = [hop.strip() for hop in ",".join(forwarded_for).split(",")]
    source = peer
    while hops and _is_one_of(source, proxies) and (address := _address(hops.pop())):
        source = str(address)
    return source


def is_from_here(peer: str, headers: Mapping[str, str]) -> bool:
    """True where a request comes from this machine, and not through a proxy on it, as far as that one tells.

    A proxy is to tell by Forwarded (RFC 7239), by Via (RFC 9110 §7.6.3), or as most do by X-Forwarded-For.
    """
    address = _address(peer)
    forwarded = any(name in headers for name in ("Forwarded", "Via", "X-Forwarded-For"))
    return address is not None and address.is_loopback and not forwarded


def _is_one_of(text: str, proxies: Sequence[IPNetwork]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in proxies)


@lru_cache(maxsize=1024)  # of few clients come many requests
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):  # a zone (RFC 4007 §11) may be any text, and means nothing elsewhere
        return address.ipv4_mapped or IPv6Address(int(address))
    return address
