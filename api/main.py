"""The composition root: builds everything from the configuration, starts it, stops it. Nothing else sees all."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from api import app
from api.health import HealthRoutes
from api.metrics import Metrics
from api.routing import Routes
from api.v1.accounts import AccountRoutes
from api.v1.messages import MessageRoutes
from api.v2.accounts import UserRoutes
from api.v2.attachments import AttachmentRoutes
from api.v2.discover import DiscoverRoutes
from api.v2.identities import IdentityRoutes
from api.v2.messages import MessageListRoutes
from gateway.accounts import Accounts
from gateway.attach import Attach
from gateway.check import Checks
from gateway.compose import Compose
from gateway.config import Config, RelaySection, ServerSection, StorageSection
from gateway.connect import Connect
from gateway.discover import Discover
from gateway.erase import Erase
from gateway.errors import StartError, Unavailable
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.message import Message
from gateway.ports import Erasure, Outside, system_clock
from gateway.route import Routing
from gateway.send import Send
from gateway.throttle import Throttle
from gateway.work import Worker
from protocols import registry
from protocols.network import Network
from storage import attempts, erasures, files, identities, messages, raws, secrets, tokens, users
from storage.attempts import MongoAttempts
from storage.embedded import EmbeddedMongod
from storage.erasures import MongoErasures
from storage.files import MongoFiles
from storage.identities import MongoIdentities
from storage.keyring import prepare_next_key
from storage.messages import MongoMessages
from storage.mongo import Mongo
from storage.passwords import Argon2Hasher
from storage.raws import MongoRaws
from storage.rotation import GRACE_S, Progress, Rotation
from storage.secrets import Vault
from storage.tokens import MongoTokens
from storage.users import MongoUsers

logger = logging.getLogger(__name__)

INDEXES = (
    attempts.INDEXES
    | erasures.INDEXES
    | files.INDEXES
    | identities.INDEXES
    | messages.INDEXES
    | raws.INDEXES
    | secrets.INDEXES
    | tokens.INDEXES
    | users.INDEXES
)

Started = TypeVar("Started")

# Stopping takes less than 10 seconds, whatever hangs: the sum of these and of storage.embedded.STOP_SECONDS (4 s).
_HTTP_GRACE_S = 0.5  # aiohttp waits that long twice: until a handler ends, and after it was told to
_WORK_GRACE_S = 2.0
_HAND_BACK_S = 0.5
_CLOSE_S = 0.5
_LAST_RESORT_S = 9

_ERASE_POLL_S = 10.0
_PROBE_MS = 2_000

_ADVICE = {
    errno.EADDRINUSE: "Stop what uses it, or set server.port (GATEWAY_SERVER__PORT) to another.",
    errno.EACCES: "This user may not take that port: set server.port (GATEWAY_SERVER__PORT) to one above 1023.",
}
_OTHER_ADVICE = "Set server.host (GATEWAY_SERVER__HOST) to an address of this machine."


@dataclass(frozen=True)
class Gateway:
    """A gateway at work: its application, and the use cases that the command line and the demo call directly."""

    application: web.Application
    accounts: Accounts
    connect: Connect
    send: Send


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Gateway, str]]:
    """Start a gateway and listen; stop it at the end. Yields it with its URL.

    Raises StartError, with everything that was started stopped again.
    """
    async with AsyncExitStack() as stack:
        listener = _bind(config.server)  # before a database is started: a second gateway is told at once
        stack.callback(listener.close)
        gateway = await stack.enter_async_context(assembled(config))
        runner = web.AppRunner(
            gateway.application,
            access_log=None,
            shutdown_timeout=_HTTP_GRACE_S,
            auto_decompress=False,  # content codings are refused, see api/routing.py
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener).start()
        stack.callback(gateway.send.stop_waiting)  # first of all: those who wait are answered, not cut off
        url = _url(listener)
        logger.info("ready", extra={"url": url, "data_dir": str(config.storage.data_dir.absolute())})
        yield gateway, url
        logger.info("stopping")


@asynccontextmanager
async def assembled(config: Config) -> AsyncIterator[Gateway]:
    """Build everything and set the workers to work; stop them at the end. Raises StartError."""
    async with AsyncExitStack() as stack:
        mongo = await _database(config.storage, stack)
        vault = await _vault(config.storage, mongo, stack)
        hasher = Argon2Hasher()
        stack.callback(hasher.close)
        metrics = Metrics()
        stored_identities = MongoIdentities(mongo, vault, system_clock)
        stored_tokens = MongoTokens(mongo)
        stored_messages = MongoMessages(mongo)
        stored_raws = MongoRaws(mongo)
        stored_files = MongoFiles(mongo, files.ATTACHMENTS)
        stored_erasures = MongoErasures(
            mongo,
            [identities.IDENTITIES, messages.MESSAGES, raws.RAWS],
            [stored_files, stored_raws.files],
        )
        network = Network(config.network)
        adapters = registry.adapters(network, config.accounts.local_domain)
        routing = Routing(stored_identities, Outside(adapters, relay=_relay(config.relay)))

        accounts = Accounts(
            users=MongoUsers(mongo, stored_identities, stored_tokens, stored_erasures),
            tokens=stored_tokens,
            erasures=stored_erasures,
            hasher=hasher,
            throttle=Throttle(MongoAttempts(mongo), system_clock),
            settings=config.accounts,
            clock=system_clock,
        )
        checks = Checks(stored_identities, routing, system_clock, metrics)
        discover = Discover(registry.finder(network, config.accounts.local_domain))
        connect = Connect(stored_identities, checks, allow_plaintext=config.network.allow_plaintext)
        compose = Compose(stored_messages, stored_identities, stored_raws, stored_files, system_clock)
        attach = Attach(stored_messages, stored_files, config.messages.max_bytes)
        ordered = asyncio.Event()
        send = Send(
            messages=stored_messages,
            identities=stored_identities,
            raws=stored_raws,
            attach=attach,
            routing=routing,
            settings=config.delivery,
            clock=system_clock,
            meter=metrics,
            ordered=ordered,
        )
        sender: Worker[Message] = Worker(
            stored_messages,
            send,
            concurrency=config.delivery.concurrency,
            poll_s=config.delivery.poll_s,
            wake=ordered,
            clock=system_clock,
        )

        eraser: Worker[Erasure] = Worker(
            stored_erasures,
            Erase(stored_erasures),
            concurrency=1,
            poll_s=_ERASE_POLL_S,
            wake=asyncio.Event(),
            clock=system_clock,
        )

        groups: list[Routes] = [
            AccountRoutes(accounts),
            UserRoutes(accounts),
            IdentityRoutes(connect, checks),
            DiscoverRoutes(discover),
            MessageRoutes(compose, send),
            MessageListRoutes(compose),
            AttachmentRoutes(attach),
            HealthRoutes(mongo, {"send": lambda: sender.alive, "erase": lambda: eraser.alive}, metrics),
        ]
        operations = [operation for group in groups for operation in group.operations()]
        application = app.build(operations, accounts, metrics, config.server)

        stack.push_async_callback(_canceled, asyncio.create_task(stored_tokens.keep_warm()))
        for worker in (sender, eraser):
            worker.start()
        stack.push_async_callback(_at_most, _WORK_GRACE_S + _HAND_BACK_S, _stop, [sender, eraser])
        yield Gateway(application, accounts, connect, send)


async def serve(config: Config) -> None:
    """Run a gateway until a signal. Raises as until_signal does."""
    await until_signal(running(config))


async def until_signal(
    service: AbstractAsyncContextManager[Started], ready: Callable[[Started], None] = lambda _: None
) -> None:
    """Start the service, call ``ready``, and stop it at SIGINT (Ctrl-C), SIGTERM or SIGHUP.

    Raises StartError; CancelledError when the signal came during the start. Then nothing is left running.
    """
    stop = _stop_event()
    async with AsyncExitStack() as stack:
        start = asyncio.create_task(stack.enter_async_context(service))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([start, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            start.cancel()
        ready(await start)
        await stopping


async def rotate_keys(config: Config, report: Callable[[Progress], None]) -> None:
    """Rotate the keys of the database, in which gateways may be at work. Raises StartError, Unavailable."""
    async with AsyncExitStack() as stack:
        shared = await _database_of_others(config.storage, stack)
        mongo = shared or await _database(config.storage, stack)
        vault = await _vault(config.storage, mongo, stack)
        # Who has the embedded database has nobody to wait for.
        async for progress in Rotation(mongo, vault, grace_s=GRACE_S if shared else 0).run():
            report(progress)


def prepare_keys(config: Config) -> Path:
    """Add the next master key to the key file; return its path. Raises StartError."""
    path = _key_file(config.storage)
    prepare_next_key(path)
    return path


def _stop_event() -> asyncio.Event:
    """Return an event that the first signal sets; a second one ends the process at once."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else nohup(1) wants it ignored
        numbers.append(signal.SIGHUP)

    def stop() -> None:
        event.set()
        # PyMongo's threads are waited for at the exit, and one that asks a hung server of the operator's can take
        # 10 s and more: then SIGALRM ends the process. What it would have said, leases return.
        signal.alarm(_LAST_RESORT_S)
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, stop)
    return event


async def _stop(workers: Sequence[Worker[Any]]) -> None:
    await asyncio.gather(*(worker.stop(_WORK_GRACE_S) for worker in workers))


async def _canceled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _at_most(seconds: float, close: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Close something, and go on without it when its database hangs."""
    try:
        await asyncio.wait_for(close(*arguments), seconds)
    except TimeoutError:
        logger.warning("the database hangs; stopping without it")


def _bind(settings: ServerSection) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        found = socket.getaddrinfo(settings.host, settings.port, family=family, type=socket.SOCK_STREAM)
        return socket.create_server(found[0][4], family=family)
    except socket.gaierror as error:
        raise _cannot_listen(settings, error.strerror or "it does not resolve", _OTHER_ADVICE) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise _cannot_listen(settings, reason, _ADVICE.get(error.errno or 0, _OTHER_ADVICE)) from error
    except ValueError as error:  # a NUL, or a label that IDNA does not know
        raise _cannot_listen(settings, "not a host name", _OTHER_ADVICE) from error


def _cannot_listen(settings: ServerSection, reason: str, advice: str) -> StartError:
    return StartError(f"Cannot listen on {settings.host} port {settings.port}: {reason}. {advice}")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _database(settings: StorageSection, stack: AsyncExitStack) -> Mongo:
    mongod = _embedded(settings)
    if not settings.uri:
        await mongod.start()
        stack.push_async_callback(mongod.stop)
    return await _connected(settings.uri or mongod.uri, settings, stack)


async def _database_of_others(settings: StorageSection, stack: AsyncExitStack) -> Mongo | None:
    """Return the database that gateways may be running on; None where it is the embedded one, and not running."""
    uri = settings.uri or _embedded(settings).uri
    if not settings.uri:
        probe = Mongo(uri, settings.database, operation_ms=_PROBE_MS)
        stack.callback(probe.close)
        try:
            await probe.ping()
        except Unavailable:
            return None
    return await _connected(uri, settings, stack)


def _embedded(settings: StorageSection) -> EmbeddedMongod:
    binary = Path(settings.mongod) if settings.mongod else None
    return EmbeddedMongod(settings.data_dir, binary=binary, cache_gb=settings.cache_gb)


async def _connected(uri: str, settings: StorageSection, stack: AsyncExitStack) -> Mongo:
    mongo = Mongo(uri, settings.database)
    # In a thread: PyMongo takes leave of the server, and blocks for half a minute where that one hangs.
    stack.push_async_callback(_at_most, _CLOSE_S, asyncio.to_thread, mongo.close)
    await mongo.check_deployment()
    await mongo.ensure_indexes(INDEXES)
    return mongo


async def _vault(settings: StorageSection, mongo: Mongo, stack: AsyncExitStack) -> Vault:
    settings_file = Path(settings.key_settings_file) if settings.key_settings_file else None
    vault = Vault(mongo, _key_file(settings), settings.key_provider, settings_file)
    await vault.open()
    stack.push_async_callback(_at_most, _CLOSE_S, vault.close)
    return vault


def _key_file(settings: StorageSection) -> Path:
    return Path(settings.key_file) if settings.key_file else settings.data_dir / "credentials.key"


def _relay(settings: RelaySection) -> Endpoint:
    sign_in = SignIn(settings.username, settings.password) if settings.username else None
    return Endpoint(settings.host, settings.port, TLSMode(settings.tls), sign_in, operators=True)
