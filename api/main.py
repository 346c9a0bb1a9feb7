"""The composition root: builds everything from the configuration, starts it, stops it. Nothing else sees all."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from api import app
from api.health import HealthRoutes
from api.metrics import Metrics
from api.routing import Routes
from api.v1.accounts import AccountRoutes
from api.v1.messages import MessageRoutes
from api.v2.identities import IdentityRoutes
from api.v2.messages import MessageListRoutes
from gateway.accounts import Accounts
from gateway.check import Checks
from gateway.compose import Compose
from gateway.config import Config, RelaySection, ServerSection, StorageSection
from gateway.connect import Connect
from gateway.errors import StartError
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.message import Message
from gateway.ports import Outside, system_clock
from gateway.route import Routing
from gateway.send import Send
from gateway.work import Worker
from protocols import registry
from protocols.network import Network
from storage import identities, messages, secrets, tokens, users
from storage.embedded import EmbeddedMongod
from storage.identities import MongoIdentities
from storage.messages import MongoMessages
from storage.mongo import Mongo
from storage.passwords import Argon2Hasher
from storage.raws import MongoRaws
from storage.secrets import Vault
from storage.tokens import MongoTokens
from storage.users import MongoUsers

logger = logging.getLogger(__name__)

INDEXES = users.INDEXES | tokens.INDEXES | identities.INDEXES | messages.INDEXES | secrets.INDEXES

# Stopping takes 10 seconds at the most: these two, and what mongod needs to close its files.
_HTTP_GRACE_S = 2.0
_WORK_GRACE_S = 4.0


@dataclass(frozen=True)
class Gateway:
    """A gateway at work: its application, and the use cases that the command line and the demo call directly."""

    application: web.Application
    accounts: Accounts
    connect: Connect


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Gateway, str]]:
    """Start a gateway and listen; stop it at the end. Yields it with its URL.

    Raises StartError, with everything that was started stopped again.
    """
    async with AsyncExitStack() as stack:
        listener = _bind(config.server)  # before a database is started: a second gateway is told at once
        stack.callback(listener.close)
        gateway = await stack.enter_async_context(assembled(config))
        runner = web.AppRunner(gateway.application, access_log=None, shutdown_timeout=_HTTP_GRACE_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener).start()
        url = _url(listener)
        logger.info("ready", extra={"url": url})
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
        stored_messages = MongoMessages(mongo)
        raws = MongoRaws(mongo)
        adapters = registry.adapters(Network(config.network), config.accounts.local_domain)
        routing = Routing(stored_identities, Outside(adapters, relay=_relay(config.relay)))

        accounts = Accounts(
            users=MongoUsers(mongo, stored_identities),
            tokens=MongoTokens(mongo),
            hasher=hasher,
            settings=config.accounts,
            clock=system_clock,
        )
        connect = Connect(stored_identities, allow_plaintext=config.network.allow_plaintext)
        compose = Compose(stored_messages, stored_identities, raws, system_clock)
        checks = Checks(stored_identities, routing, system_clock, metrics)
        ordered = asyncio.Event()
        send = Send(
            messages=stored_messages,
            identities=stored_identities,
            raws=raws,
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

        groups: list[Routes] = [
            AccountRoutes(accounts),
            IdentityRoutes(connect, checks),
            MessageRoutes(compose, send),
            MessageListRoutes(compose),
            HealthRoutes(mongo, {"send": lambda: sender.alive}, metrics),
        ]
        operations = [operation for group in groups for operation in group.operations()]
        application = app.build(operations, accounts, metrics, max_body_bytes=config.server.max_body_bytes)

        sender.start()
        stack.push_async_callback(sender.stop, _WORK_GRACE_S)
        yield Gateway(application, accounts, connect)


async def serve(config: Config) -> None:
    """Run a gateway until SIGINT or SIGTERM. Raises StartError."""
    stop = stop_event()
    async with running(config):
        await stop.wait()


def stop_event() -> asyncio.Event:
    """Return an event that SIGINT (Ctrl-C) and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _bind(settings: ServerSection) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.port), family=_family(settings.host))
    except OSError as error:
        raise StartError(
            f"Cannot listen on {settings.host} port {settings.port}: {_reason(error)}. Stop what uses it, or set"
            " server.port (GATEWAY_SERVER__PORT) to another."
        ) from error


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _database(settings: StorageSection, stack: AsyncExitStack) -> Mongo:
    uri = settings.uri
    if not uri:
        binary = Path(settings.mongod) if settings.mongod else None
        mongod = EmbeddedMongod(settings.data_dir, binary=binary, cache_gb=settings.cache_gb)
        await mongod.start()
        stack.push_async_callback(mongod.stop)
        uri = mongod.uri
    mongo = Mongo(uri, settings.database)
    stack.callback(mongo.close)
    await mongo.check_deployment()
    await mongo.ensure_indexes(INDEXES)
    return mongo


async def _vault(settings: StorageSection, mongo: Mongo, stack: AsyncExitStack) -> Vault:
    key_file = Path(settings.key_file) if settings.key_file else settings.data_dir / "credentials.key"
    vault = Vault(mongo, key_file)
    await vault.open()
    stack.push_async_callback(vault.close)
    return vault


def _relay(settings: RelaySection) -> Endpoint:
    sign_in = SignIn(settings.username, settings.password) if settings.username else None
    return Endpoint(settings.host, settings.port, TLSMode(settings.tls), sign_in, operators=True)
