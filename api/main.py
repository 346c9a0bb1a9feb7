"""The composition root: builds everything from the configuration, starts it, stops it.

Nothing else sees all, but ``api/operate.py``, which uses the parts without a gateway around them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from api import app
from api.health import HealthRoutes
from api.metrics import Metrics
from api.process import bind, until_signal, url_of
from api.routing import Operation, Routes
from api.stores import Stores, at_most, open_stores
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
from gateway.config import Config, RelaySection
from gateway.connect import Connect
from gateway.discover import Discover
from gateway.erase import Erase
from gateway.fair import Fair
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.ports import Outside, system_clock
from gateway.route import Routing
from gateway.send import Send, server_of
from gateway.throttle import Throttle
from gateway.work import Worker
from protocols import registry
from protocols.network import Network

logger = logging.getLogger(__name__)

# Stopping takes less than 10 seconds, whatever hangs: the sum of these, of those in api/stores.py (1 s), of
# storage.embedded.STOP_SECONDS (4 s) and of the goodbyes to mail servers (protocols/sessions.py, 0.4 s).
_HTTP_GRACE_S = 0.5  # aiohttp waits that long twice: until a handler ends, and after it was told to
_WORK_GRACE_S = 2.0
_HAND_BACK_S = 0.5

_ERASE_POLL_S = 10.0


@dataclass(frozen=True)
class Core:
    """The use cases."""

    accounts: Accounts
    connect: Connect
    checks: Checks
    discover: Discover
    compose: Compose
    attach: Attach
    send: Send


@dataclass(frozen=True)
class Gateway:
    """A gateway at work: its application, and the use cases that the command line and the demo call directly."""

    application: web.Application
    core: Core


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Gateway, str]]:
    """Start a gateway and listen; stop it at the end. Yields it with its URL.

    Raises StartError, with everything that was started stopped again.
    """
    async with AsyncExitStack() as stack:
        listener = bind(config.server)  # before a database is started: a second gateway is told at once
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
        stack.callback(gateway.core.send.stop_waiting)  # first of all: those who wait are answered, not cut off
        url = url_of(listener)
        logger.info("ready", extra={"url": url, "data_dir": str(config.storage.data_dir.absolute())})
        yield gateway, url
        logger.info("stopping")


@asynccontextmanager
async def assembled(config: Config) -> AsyncIterator[Gateway]:
    """Build everything and set the workers to work; stop them at the end. Raises StartError."""
    async with AsyncExitStack() as stack:
        stores = await open_stores(config.storage, stack)
        metrics = Metrics()
        core = await assembled_core(config, stores, metrics, stack)
        workers = _workers(config, stores, core)
        operations = _operations(core, stores, workers, metrics)
        application = app.build(operations, core.accounts, metrics, config.server)
        stack.push_async_callback(_canceled, asyncio.create_task(stores.tokens.keep_warm()))
        for worker in workers.values():
            worker.start()
        stack.push_async_callback(at_most, _WORK_GRACE_S + _HAND_BACK_S, _stop, workers.values())
        yield Gateway(application, core)


async def assembled_core(config: Config, stores: Stores, metrics: Metrics, stack: AsyncExitStack) -> Core:
    """Return the use cases on these stores; the stack ends what they have open."""
    local_domain = config.accounts.local_domain
    network = Network(config.network)
    adapters = await stack.enter_async_context(registry.adapters(network, local_domain, config.delivery))
    routing = Routing(stores.identities, Outside(adapters, relay=_relay(config.relay)))
    throttle = Throttle(stores.attempts, system_clock)
    checks = Checks(stores.identities, stores.history, routing, system_clock, metrics)
    attach = Attach(stores.messages, stores.files, config.messages.max_bytes)
    return Core(
        accounts=Accounts(
            users=stores.users,
            tokens=stores.tokens,
            erasures=stores.erasures,
            hasher=stores.hasher,
            throttle=throttle,
            settings=config.accounts,
            clock=system_clock,
        ),
        connect=Connect(
            stores.identities,
            checks,
            stores.history,
            throttle,
            system_clock,
            allow_plaintext=config.network.allow_plaintext,
        ),
        checks=checks,
        discover=Discover(registry.finder(network, local_domain), throttle),
        compose=Compose(stores.messages, stores.identities, stores.raws, stores.files, system_clock),
        attach=attach,
        send=Send(
            messages=stores.messages,
            identities=stores.identities,
            raws=stores.raws,
            attach=attach,
            routing=routing,
            settings=config.delivery,
            clock=system_clock,
            meter=metrics,
            ordered=asyncio.Event(),
        ),
    )


def _workers(config: Config, stores: Stores, core: Core) -> Mapping[str, Worker[Any]]:
    ordered, room = core.send.ordered, asyncio.Event()
    outbox = Fair(stores.messages, core.send, host_of=server_of, per_host=config.delivery.per_host, wake=ordered)
    rounds = Fair(
        stores.identities,
        core.checks,
        host_of=lambda identity: identity.host,
        per_host=config.checks.per_host,
        wake=room,
    )
    return {
        "send": Worker(
            outbox,
            outbox,
            concurrency=config.delivery.concurrency,
            poll_s=config.delivery.poll_s,
            wake=ordered,
            clock=system_clock,
        ),
        "check": Worker(
            rounds,
            rounds,
            concurrency=config.checks.concurrency,
            poll_s=config.checks.poll_s,
            wake=room,
            clock=system_clock,
        ),
        "erase": Worker(
            stores.erasures,
            Erase(stores.erasures),
            concurrency=1,
            poll_s=_ERASE_POLL_S,
            wake=asyncio.Event(),
            clock=system_clock,
        ),
    }


def _operations(
    core: Core, stores: Stores, workers: Mapping[str, Worker[Any]], metrics: Metrics
) -> Sequence[Operation]:
    groups: list[Routes] = [
        AccountRoutes(core.accounts),
        UserRoutes(core.accounts),
        IdentityRoutes(core.connect, core.checks),
        DiscoverRoutes(core.discover),
        MessageRoutes(core.compose, core.send),
        MessageListRoutes(core.compose),
        AttachmentRoutes(core.attach),
        HealthRoutes(stores.mongo, workers, core.checks, metrics),
    ]
    return [operation for group in groups for operation in group.operations()]


def _relay(settings: RelaySection) -> Endpoint:
    sign_in = SignIn(settings.username, settings.password) if settings.username else None
    return Endpoint(settings.host, settings.port, TLSMode(settings.tls), sign_in, operators=True)


async def _stop(workers: Iterable[Worker[Any]]) -> None:
    await asyncio.gather(*(worker.stop(_WORK_GRACE_S) for worker in workers))


async def _canceled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def serve(config: Config) -> None:
    """Run a gateway until a signal. Raises as until_signal does."""
    await until_signal(running(config))
