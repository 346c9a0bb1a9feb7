"""The composition root: builds everything from the configuration, starts it, stops it.

Nothing else sees all, but ``api/operate.py``, which uses the parts without a gateway around them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiohttp import web

from api import app
from api.connection import Clients
from api.dimail.accounts import DimailAccountRoutes
from api.dimail.aliases import DimailAliasRoutes
from api.dimail.domains import DimailDomainRoutes
from api.dimail.mailboxes import DimailMailboxRoutes
from api.dimail.routing import DimailFace, DimailRoutes
from api.dimail.tokens import JwtTokens
from api.health import HealthRoutes
from api.metrics import Metrics
from api.process import bind, open_files, until_signal, url_of
from api.routing import Operation, Routes
from api.stores import Stores, at_most, open_stores
from api.v1.accounts import AccountRoutes
from api.v1.messages import MessageRoutes
from api.v2.accesses import AccessRoutes
from api.v2.accounts import UserRoutes
from api.v2.aliases import AliasRoutes
from api.v2.attachments import AttachmentRoutes
from api.v2.discover import DiscoverRoutes
from api.v2.domains import DomainRoutes
from api.v2.identities import IdentityRoutes
from api.v2.invitations import InvitationRoutes
from api.v2.mailboxes import MailboxRoutes
from api.v2.messages import MessageListRoutes
from gateway.access import Access
from gateway.accounts import Accounts
from gateway.address import normalise_identifier
from gateway.attach import Attach
from gateway.check import Checks
from gateway.compose import Compose
from gateway.config import Config, RelaySection
from gateway.connect import Connect
from gateway.dimail import Dimail
from gateway.discover import Discover
from gateway.erase import Erase
from gateway.examine import Examine
from gateway.fair import Fair
from gateway.forward import Forward
from gateway.host import Host
from gateway.identity import Endpoint, SignIn, TLSMode
from gateway.invite import Invite
from gateway.mail_hosts import Hosts
from gateway.manage import Manage
from gateway.notice import sender
from gateway.notify import Notify
from gateway.populate import Populate
from gateway.ports import Outside, system_clock
from gateway.postmaster import Postmaster
from gateway.proven import Proven
from gateway.provision import Provision
from gateway.quota import Quota
from gateway.route import Routing
from gateway.send import Send, server_of
from gateway.sweep import Sweep
from gateway.throttle import Throttle
from gateway.user import RESERVED_NAMES
from gateway.work import Worker
from protocols import dkim, registry
from protocols.domain_probe import DnsProbe
from protocols.network import Network

logger = logging.getLogger(__name__)

# Stopping takes less than 10 seconds, whatever hangs: the sum of these, of those in api/stores.py (1 s), of
# storage.embedded.STOP_SECONDS (4 s) and of the goodbyes to mail servers (protocols/sessions.py, 0.4 s).
_HTTP_GRACE_S = 0.5  # aiohttp waits that long twice: until a handler ends, and after it was told to
_WORK_GRACE_S = 2.0
_HAND_BACK_S = 0.5

_ERASE_POLL_S = 10.0
_SWEEP_POLL_S = 10.0
_CHECKS_PAUSE_S = 0.04  # nobody waits for a check, and one takes several times that
_DOMAIN_CHECKS = 10  # at once
_NOTICES = 10  # at once
_CREATIONS = 10  # at once


class Role(StrEnum):
    """What a process does: it answers requests, works on what is due, or both."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


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
    host: Host
    examine: Examine
    manage: Manage
    invite: Invite
    notify: Notify
    provision: Provision
    forward: Forward
    postmaster: Postmaster
    dimail: Dimail
    populate: Populate


@dataclass(frozen=True)
class Gateway:
    """A gateway at work: its application, and the use cases that the command line and the demo call directly."""

    application: web.Application
    core: Core
    metrics: Metrics


@asynccontextmanager
async def running(config: Config, role: Role = Role.ALL) -> AsyncIterator[tuple[Gateway, str]]:
    """Start a gateway and listen; stop it at the end. Yields it with its URL.

    Raises StartError, with everything that was started stopped again.
    """
    async with AsyncExitStack() as stack:
        files = open_files()  # before a database is started, which inherits that
        listener = bind(config.server)  # before a database is started: a second gateway is told at once
        stack.callback(listener.close)
        gateway = await stack.enter_async_context(assembled(config, role))
        clients = Clients(gateway.metrics, config, files)
        await stack.enter_async_context(clients.served(gateway.application, listener, _HTTP_GRACE_S))
        stack.callback(gateway.core.send.stop_waiting)  # first of all: those who wait are answered, not cut off
        url = url_of(listener)
        logger.info("ready", extra={"url": url, "data_dir": str(config.storage.data_dir.absolute())})
        yield gateway, url
        logger.info("stopping")


@asynccontextmanager
async def assembled(config: Config, role: Role = Role.ALL) -> AsyncIterator[Gateway]:
    """Build everything and set the workers to work; stop them at the end. Raises StartError."""
    async with AsyncExitStack() as stack:
        stores = await open_stores(config.storage, stack)
        metrics = Metrics()
        core = await assembled_core(config, stores, metrics, stack)
        await _introduce_sender(config, stores)
        workers = {} if role is Role.API else _workers(config, stores, core)
        health = HealthRoutes(stores.mongo, workers, core.checks, metrics).operations()
        if role is Role.WORKER:
            application = app.bare(health, core.accounts, metrics, config.server)
        else:
            operations = [*_operations(core), *health]
            application = app.build(operations, _dimail_face(core), core.accounts, metrics, config.server)
        stack.push_async_callback(_canceled, asyncio.create_task(stores.tokens.keep_warm()))
        for worker in workers.values():
            worker.start()
        stack.push_async_callback(at_most, _WORK_GRACE_S + _HAND_BACK_S, _stop, workers.values())
        yield Gateway(application, core, metrics)


async def assembled_core(config: Config, stores: Stores, metrics: Metrics, stack: AsyncExitStack) -> Core:
    """Return the use cases on these stores; the stack ends what they have open."""
    local_domain = config.accounts.local_domain
    network = Network(config.network)
    adapters = await stack.enter_async_context(registry.adapters(network, local_domain, config.delivery))
    routing = Routing(stores.identities, Outside(adapters, relay=relay(config.relay)))
    throttle = Throttle(stores.attempts, system_clock)
    checks = Checks(stores.identities, stores.history, routing, system_clock, metrics)
    quota = Quota(stores.usage, config.limits, system_clock)
    attach = Attach(stores.messages, stores.files, quota, config.messages.max_bytes)
    compose = Compose(stores.messages, stores.identities, stores.raws, stores.files, quota, system_clock)
    send = Send(
        messages=stores.messages,
        identities=stores.identities,
        raws=stores.raws,
        attach=attach,
        quota=quota,
        routing=routing,
        settings=config.delivery,
        clock=system_clock,
        meter=metrics,
        ordered=asyncio.Event(),
    )
    backend, probe = await stack.enter_async_context(
        registry.mail_backend(config, network, DnsProbe(network), stores.fake_mail, system_clock)
    )
    access = Access(stores.domains, stores.identities, stores.invitations, system_clock)
    hosts = Hosts.of(config.domains, local_domain)
    noticed = asyncio.Event()
    examine = Examine(stores.domains, backend, probe, system_clock, metrics)
    provision = Provision(stores.domains, stores.mailboxes, stores.users, backend, system_clock, noticed)
    forward = Forward(stores.domains, stores.aliases, backend, system_clock)
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
            quota,
            system_clock,
            allow_plaintext=config.network.allow_plaintext,
        ),
        checks=checks,
        discover=Discover(registry.finder(network, local_domain), throttle),
        compose=compose,
        attach=attach,
        send=send,
        host=Host(
            domains=stores.domains,
            access=access,
            examine=examine,
            make_key=dkim.make_key,
            throttle=throttle,
            quota=quota,
            local_domain=local_domain,
            clock=system_clock,
            wake=asyncio.Event(),
        ),
        examine=examine,
        manage=Manage(stores.domains, access, stores.users),
        invite=Invite(stores.invitations, stores.identities, access, throttle, system_clock, noticed),
        notify=Notify(
            notices=stores.notices,
            invitations=stores.invitations,
            mailboxes=stores.mailboxes,
            backend=backend,
            users=stores.users,
            compose=compose,
            send=send,
            throttle=throttle,
            public_url=config.server.public_url,
            sign_in_url=config.domains.sign_in_url or f"https://{hosts.webmail}/login/{{code}}",
            clock=system_clock,
            noticed=noticed,
        ),
        provision=provision,
        forward=forward,
        postmaster=Postmaster(access, provision, forward, throttle, quota),
        dimail=Dimail(
            clients=stores.api_clients,
            domains=stores.domains,
            hasher=stores.hasher,
            tokens=JwtTokens(stores.api_clients.signing_key),
            throttle=throttle,
            proven=Proven(system_clock),
            clock=system_clock,
        ),
        populate=Populate(stores.domains, stores.mailboxes, stores.aliases, backend),
    )


def _workers(config: Config, stores: Stores, core: Core) -> Mapping[str, Worker[Any]]:
    ordered, room = core.send.ordered, asyncio.Event()
    outbox = Fair(
        stores.messages,
        core.send,
        hosts_of=lambda message: [server_of(message)],
        per_host=config.delivery.per_host,
        wake=ordered,
    )
    rounds = Fair(
        stores.identities,
        core.checks,
        hosts_of=lambda identity: identity.hosts,
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
            claim_pause_s=_CHECKS_PAUSE_S,
        ),
        "domains": Worker(
            stores.domains,
            core.examine,
            concurrency=_DOMAIN_CHECKS,
            poll_s=config.checks.poll_s,
            wake=core.host.wake,
            clock=system_clock,
        ),
        "notify": Worker(
            stores.notices,
            core.notify,
            concurrency=_NOTICES,
            poll_s=config.delivery.poll_s,
            wake=core.notify.noticed,
            clock=system_clock,
        ),
        "provision": Worker(
            stores.mailboxes,
            core.provision,
            concurrency=_CREATIONS,
            poll_s=config.delivery.poll_s,
            wake=asyncio.Event(),
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
        "sweep": Worker(
            stores.leftovers,
            Sweep(stores.leftovers, system_clock),
            concurrency=1,
            poll_s=_SWEEP_POLL_S,
            wake=asyncio.Event(),
            clock=system_clock,
        ),
    }


def _operations(core: Core) -> Sequence[Operation]:
    groups: list[Routes] = [
        AccountRoutes(core.accounts),
        UserRoutes(core.accounts),
        IdentityRoutes(core.connect, core.checks),
        DiscoverRoutes(core.discover),
        MessageRoutes(core.compose, core.send),
        MessageListRoutes(core.compose),
        AttachmentRoutes(core.attach),
        DomainRoutes(core.host),
        AccessRoutes(core.manage),
        InvitationRoutes(core.invite),
        MailboxRoutes(core.postmaster),
        AliasRoutes(core.postmaster),
    ]
    return [operation for group in groups for operation in group.operations()]


def _dimail_face(core: Core) -> DimailFace:
    groups: list[DimailRoutes] = [
        DimailAccountRoutes(core.dimail),
        DimailDomainRoutes(core.dimail, core.host, core.examine),
        DimailMailboxRoutes(core.dimail, core.provision),
        DimailAliasRoutes(core.dimail, core.provision, core.forward),
    ]
    return DimailFace(core.dimail, groups)


async def _introduce_sender(config: Config, stores: Stores) -> None:
    """Let the gateway's own mails come from the configured address, and keep people from such addresses."""
    local_domain = config.accounts.local_domain
    identity = sender(config.domains.sender or f"no-reply@{local_domain}")
    await stores.identities.put(identity)
    names = set(RESERVED_NAMES)
    local_part = identity.identifier.rpartition("@")[0]
    if identity.identifier == normalise_identifier(f"{local_part}@{local_domain}"):
        names.add(local_part)
    for name in sorted(names):
        if not await stores.users.reserve(name):
            logger.warning("a user has a name that should be the operator's", extra={"username": name})


def relay(settings: RelaySection) -> Endpoint:
    """Return the server that takes the mail of local identities."""
    sign_in = SignIn(settings.username, settings.password) if settings.username else None
    return Endpoint(settings.host, settings.port, TLSMode(settings.tls), sign_in, operators=True)


async def _stop(workers: Iterable[Worker[Any]]) -> None:
    await asyncio.gather(*(worker.stop(_WORK_GRACE_S) for worker in workers))


async def _canceled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def serve(config: Config, role: Role = Role.ALL) -> None:
    """Run a gateway until a signal. Raises as until_signal does."""
    gc.collect()
    gc.freeze()  # what was imported stays: to look at it again and again would take tens of milliseconds each time
    await until_signal(running(config, role))
