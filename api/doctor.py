"""A look at an installation: is everything there that a gateway needs, and what is to be done where it is not.

It mends nothing: keys and an embedded database that are not there yet are left for the first start to make.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib.metadata import version
from ipaddress import ip_address, ip_network
from pathlib import Path
from platform import python_version

from api.main import relay
from api.stores import database, database_of_others, key_file, open_vault
from gateway.config import Config, NetworkSection, ServerSection, StorageSection
from gateway.errors import GatewayError, StartError, Unreachable
from gateway.identity import TLSMode
from gateway.ports import system_clock
from protocols import registry
from protocols.network import Network
from storage.condition import Condition, Database
from storage.keyring import LOCAL, read_key_file
from storage.mongo import Mongo

_PACKAGES = ("aiohttp", "aioimaplib", "aiosmtplib", "cryptography", "motor", "pymongo", "pymongocrypt")
_OLDEST_DATABASE = (6, 0)
_PATIENCE_MS = 3_000
_GIB = 2**30
_LITTLE_SPACE, _NO_SPACE = 2 * _GIB, _GIB // 2  # mongod writes journals of 100 MB each
_SKEW, _TOO_MUCH_SKEW = timedelta(seconds=1), timedelta(seconds=20)  # a lease is renewed every 20 s of its 60


class Verdict(StrEnum):
    """How something is: a problem keeps the gateway from its work, a warning does not."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Observation:
    """What was found about one thing, and what to do about it."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


def _ok(what: str, found: str) -> Observation:
    return Observation(what, Verdict.OK, found)


def _warning(what: str, found: str, advice: str) -> Observation:
    return Observation(what, Verdict.WARNING, found, advice)


def _problem(what: str, found: str, advice: str) -> Observation:
    return Observation(what, Verdict.PROBLEM, found, advice)


async def examine(config: Config, path: Path | None) -> AsyncIterator[Observation]:
    """Look at everything, one thing after the other. ``path`` is the configuration's file."""
    yield _versions()
    for each in smells(config, path):
        yield each
    async for each in _storage(config.storage):
        yield each
    try:
        network = Network(config.network)
    except StartError as error:
        yield _problem("network", str(error), "Correct network.ca_file.")
        return
    yield await _relay(config, network)
    yield await _dns(config.accounts.local_domain, network)


def _versions() -> Observation:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return _ok("versions", f"gateway {version('mail-identity-gateway')}, Python {python_version()}, {packages}")


# -- the configuration -------------------------------------------------------------------------------------------


def smells(config: Config, path: Path | None) -> Iterator[Observation]:
    """Yield what is allowed in a configuration and seldom meant."""
    yield from open_secrets(config, path)
    yield from _smells_of_server(config.server)
    yield from _smells_of_network(config.network)
    if config.relay.tls == TLSMode.NONE and not _is_here(config.relay.host):
        yield _warning(
            "relay.tls",
            "Mail goes to the relay unencrypted.",
            "Set relay.tls to starttls or implicit.",
        )
    if config.domains.backend == "fake":
        yield _warning(
            "domains.backend",
            "Domains are simulated: mailboxes made here keep no mail.",
            "Set domains.backend to dimail, or let nobody use domains.",
        )


def open_secrets(config: Config, path: Path | None) -> Iterator[Observation]:
    """Yield the files with passwords that everybody on this machine can read."""
    secrets = (
        (config.storage.uri, config.storage.uri_file),
        (config.relay.password, config.relay.password_file),
        (config.dimail.password, config.dimail.password_file),
    )
    files = [path] if path and any(secret and not file for secret, file in secrets) else []
    for each in [*files, *(Path(file) for _, file in secrets if file)]:
        if stat.S_IMODE(each.stat().st_mode) & stat.S_IROTH:
            yield _warning(
                "configuration", f"Others can read {each}, and it may hold passwords.", f"chmod 640 {each}"
            )


def _smells_of_server(server: ServerSection) -> Iterator[Observation]:
    if not _is_here(server.host):
        yield _warning(
            "server.host",
            f"{server.host} is reached from other machines, by plain HTTP.",
            "Let only the proxy with TLS reach it, by a firewall or a network of their own.",
        )
    if any(ip_network(each).prefixlen == 0 for each in server.trusted_proxies):
        yield _problem(
            "server.trusted_proxies",
            "Everybody is believed about where a request comes from: passwords can be guessed without limit.",
            "Name the proxies only.",
        )
    if not server.public_url:
        yield _warning(
            "server.public_url",
            "Mails name tokens without links.",
            "Set the URL at which people reach it.",
        )


def _smells_of_network(network: NetworkSection) -> Iterator[Observation]:
    inside = [each for each in network.allow if _reaches_this_machine(each)]
    if inside:
        yield _warning(
            "network.allow",
            f"Users can have the gateway connect to this machine: {', '.join(inside)}.",
            "Name only the networks of mail servers.",
        )
    if network.allow_plaintext:
        yield _warning(
            "network.allow_plaintext",
            "Users can send their passwords unencrypted.",
            "Leave it false, but in a test.",
        )


def _reaches_this_machine(text: str) -> bool:
    network = ip_network(text)
    return any(ip_address(each) in network for each in ("127.0.0.1", "::1", "169.254.169.254"))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# -- the database and its keys -----------------------------------------------------------------------------------


async def _storage(storage: StorageSection) -> AsyncIterator[Observation]:
    directory = _data_dir(storage)
    yield directory
    if directory.verdict is Verdict.PROBLEM:
        return
    async with AsyncExitStack() as stack:
        try:
            mongo = await _open(storage, stack)
            condition = await Database(mongo, system_clock).condition() if mongo else None
        except GatewayError as error:
            yield _problem("database", str(error), "The keys can be looked at when it answers.")
            return
        if mongo is None or condition is None:
            yield _ok("database", "The embedded database and its key will be made at the first start.")
            return
        yield of_database(condition)
        yield of_clock(condition)
        yield await _keys(storage, mongo, condition, stack)


async def _open(storage: StorageSection, stack: AsyncExitStack) -> Mongo | None:
    """Return the database, None where the embedded one has not been made yet. Raises StartError."""
    if not storage.uri:
        if not (storage.data_dir / "mongodb").exists():
            return None
        return await database_of_others(storage, stack) or await database(storage, stack)
    mongo = Mongo(storage.uri, storage.database, operation_ms=_PATIENCE_MS)
    stack.callback(mongo.close)
    await mongo.check_deployment()
    return mongo


def _data_dir(storage: StorageSection) -> Observation:
    what, path = "data directory", storage.data_dir.absolute()
    if not path.exists():
        return _ok(what, f"{path} will be made at the first start.")
    owner = path.stat().st_uid
    if owner != os.geteuid():
        name = _user(owner)
        return _problem(what, f"{path} belongs to {name}.", "Run gateway and doctor as that user.")
    if stat.S_IMODE(path.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        return _problem(what, f"Others can write to {path}, and replace the key.", f"chmod 700 {path}")
    free = shutil.disk_usage(path).free
    found = f"{path}, {free / _GIB:.1f} GiB free"
    if free < _NO_SPACE and not storage.uri:
        return _problem(what, found, "Make room: a database without any stops.")
    if free < _LITTLE_SPACE and not storage.uri:
        return _warning(what, found, "Make room.")
    return _ok(what, found)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in containers
        return f"user {uid}"


def of_database(condition: Condition) -> Observation:
    """Judge version and kind of the database."""
    what, number = "database", ".".join(map(str, condition.version))
    if condition.version < _OLDEST_DATABASE:
        return _problem(what, f"MongoDB {number} is too old.", "Upgrade it to 6.0 or newer.")
    members = condition.members
    return _ok(what, f"MongoDB {number}, " + (f"replica set of {members}" if members else "sharded cluster"))


def of_clock(condition: Condition) -> Observation:
    """Judge the difference of the clocks."""
    what, seconds = "clock", condition.ahead.total_seconds()
    found = f"The database's is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} this machine's."
    advice = "Let both take the time from NTP: work is shared by due times."
    if abs(condition.ahead) > _TOO_MUCH_SKEW:
        return _problem(what, found, advice)
    return _warning(what, found, advice) if abs(condition.ahead) > _SKEW else _ok(what, found)


async def _keys(storage: StorageSection, mongo: Mongo, condition: Condition, stack: AsyncExitStack) -> Observation:
    what, path = "keys", key_file(storage)
    try:
        if condition.has_keys:
            await open_vault(storage, mongo, stack)
        elif path.exists():
            read_key_file(path)
    except StartError as error:
        return _problem(what, str(error), "See docs/keys.md.")
    if not condition.has_keys:
        return _ok(what, "The database has none yet: they will be made at the first start.")
    where = str(path) if storage.key_provider == LOCAL else f"The key management service {storage.key_provider}"
    return _ok(what, f"{where} fits the database.")


# -- the outside -------------------------------------------------------------------------------------------------


async def _relay(config: Config, network: Network) -> Observation:
    server = relay(config.relay)
    where = f"{server.host} port {server.port}"
    async with registry.adapters(network, config.accounts.local_domain, config.delivery) as adapters:
        try:
            await adapters["smtp"].submitter.probe(server)
        except GatewayError as error:
            return _problem("relay", str(error), "Correct [relay]. Until then mail of local identities waits.")
    return _ok("relay", f"{where} answers, {'and takes the sign-in' if server.sign_in else 'without a sign-in'}.")


async def _dns(domain: str, network: Network) -> Observation:
    try:
        hosts = await network.dns.exchangers(domain)
    except Unreachable as error:
        return _problem("DNS", str(error), "Correct network.nameservers or /etc/resolv.conf.")
    if not hosts:
        return _warning(
            "DNS",
            f"{domain} has no MX record: replies to local identities go nowhere.",
            "Publish one, or correct accounts.local_domain.",
        )
    return _ok("DNS", f"Mail for {domain} goes to {', '.join(hosts)}.")
