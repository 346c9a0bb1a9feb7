"""Everything of ``storage/``, opened as the configuration says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config import StorageSection
from gateway.errors import Unavailable
from gateway.ports import system_clock
from storage import (
    aliases,
    attempts,
    checks,
    dimail,
    domains,
    erasures,
    files,
    identities,
    invitations,
    leftovers,
    mailboxes,
    messages,
    notices,
    raws,
    secrets,
    tokens,
    usage,
    users,
)
from storage.aliases import MongoAliases
from storage.attempts import MongoAttempts
from storage.checks import MongoHistory
from storage.dimail import MongoApiClients
from storage.domains import MongoDomains
from storage.embedded import EmbeddedMongod
from storage.erasures import MongoErasures
from storage.fake_mail import MongoFakeMail
from storage.files import MongoFiles
from storage.identities import MongoIdentities
from storage.invitations import MongoInvitations
from storage.leftovers import MongoLeftovers
from storage.mailboxes import MongoMailboxes
from storage.messages import MongoMessages
from storage.mongo import Mongo
from storage.notices import MongoNotices
from storage.passwords import Argon2Hasher
from storage.portions import ListMemory
from storage.raws import MongoRaws
from storage.secrets import Vault
from storage.tokens import MongoTokens
from storage.usage import MongoUsage
from storage.users import MongoUsers

logger = logging.getLogger(__name__)

INDEXES = (
    aliases.INDEXES
    | attempts.INDEXES
    | dimail.INDEXES
    | domains.INDEXES
    | erasures.INDEXES
    | files.INDEXES
    | identities.INDEXES
    | invitations.INDEXES
    | leftovers.INDEXES
    | mailboxes.INDEXES
    | messages.INDEXES
    | notices.INDEXES
    | raws.INDEXES
    | secrets.INDEXES
    | tokens.INDEXES
    | users.INDEXES
)

OF_USERS = {
    identities.IDENTITIES: "user_id",
    messages.MESSAGES: "user_id",
    raws.RAWS: "user_id",
    usage.USAGE: "_id",
    checks.CHECKS: checks.OWNER,  # last: of these there are by far the most
}
"""Where what belongs to a user tells so."""

_CLOSE_S = 0.5
_PROBE_MS = 2_000


@dataclass(frozen=True)
class Stores:
    """The stores of one database."""

    mongo: Mongo
    vault: Vault
    hasher: Argon2Hasher
    identities: MongoIdentities
    users: MongoUsers
    tokens: MongoTokens
    messages: MongoMessages
    raws: MongoRaws
    files: MongoFiles
    erasures: MongoErasures
    leftovers: MongoLeftovers
    attempts: MongoAttempts
    history: MongoHistory
    domains: MongoDomains
    fake_mail: MongoFakeMail
    invitations: MongoInvitations
    mailboxes: MongoMailboxes
    aliases: MongoAliases
    notices: MongoNotices
    api_clients: MongoApiClients
    usage: MongoUsage


async def open_stores(settings: StorageSection, stack: AsyncExitStack, mongo: Mongo | None = None) -> Stores:
    """Open the database, or take ``mongo``, and all stores on it; the stack closes them. Raises StartError."""
    mongo = mongo or await database(settings, stack)
    vault = await open_vault(settings, mongo, stack)
    hasher = Argon2Hasher()
    stack.callback(hasher.close)
    of_lists = ListMemory()
    of_identities = MongoIdentities(mongo, vault, system_clock, of_lists)
    of_tokens = MongoTokens(mongo)
    of_raws = MongoRaws(mongo, vault)
    of_files = MongoFiles(mongo, files.ATTACHMENTS)
    of_domains = MongoDomains(mongo, vault)
    of_erasures = MongoErasures(mongo, OF_USERS, [of_files, of_raws.files], [of_domains.forget])
    of_notices = MongoNotices(mongo)
    history = MongoHistory(mongo)
    await history.prepare()
    of_leftovers = MongoLeftovers(mongo, of_files, of_raws)
    return Stores(
        mongo=mongo,
        vault=vault,
        hasher=hasher,
        identities=of_identities,
        users=MongoUsers(mongo, of_identities, of_tokens, of_erasures, of_domains),
        tokens=of_tokens,
        messages=MongoMessages(mongo, of_lists),
        raws=of_raws,
        files=of_files,
        erasures=of_erasures,
        leftovers=of_leftovers,
        attempts=MongoAttempts(mongo),
        history=history,
        domains=of_domains,
        fake_mail=MongoFakeMail(mongo),
        invitations=MongoInvitations(mongo, of_domains, of_notices),
        mailboxes=MongoMailboxes(mongo, of_domains, of_identities, of_notices, system_clock),
        aliases=MongoAliases(mongo),
        notices=of_notices,
        api_clients=MongoApiClients(mongo, vault),
        usage=MongoUsage(mongo),
    )


async def database(settings: StorageSection, stack: AsyncExitStack) -> Mongo:
    """Connect to the operator's database, or start the embedded one; the stack ends it. Raises StartError."""
    mongod = _embedded(settings)
    if not settings.uri:
        await mongod.start()
        stack.push_async_callback(mongod.stop)
    if settings.uri:
        return await _connected(Mongo(settings.uri, settings.database), stack)
    return await _connected(Mongo(mongod.uri, settings.database, has_room=mongod.has_room), stack)


async def database_of_others(settings: StorageSection, stack: AsyncExitStack) -> Mongo | None:
    """Return the database that gateways may be running on; None where it is the embedded one, and not running."""
    uri = settings.uri or _embedded(settings).uri
    if not settings.uri:
        probe = Mongo(uri, settings.database, operation_ms=_PROBE_MS)
        stack.callback(probe.close)
        try:
            await probe.ping()
        except Unavailable:
            return None
    return await _connected(Mongo(uri, settings.database), stack)


def _embedded(settings: StorageSection) -> EmbeddedMongod:
    binary = Path(settings.mongod) if settings.mongod else None
    return EmbeddedMongod(settings.data_dir, binary=binary, cache_gb=settings.cache_gb)


async def _connected(mongo: Mongo, stack: AsyncExitStack) -> Mongo:
    # In a thread: PyMongo takes leave of the server, and blocks for half a minute where that one hangs.
    stack.push_async_callback(at_most, _CLOSE_S, asyncio.to_thread, mongo.close)
    await mongo.check_deployment()
    await mongo.ensure_indexes(INDEXES)
    return mongo


async def open_vault(settings: StorageSection, mongo: Mongo, stack: AsyncExitStack) -> Vault:
    """Open what seals credentials in this database. Raises StartError."""
    settings_file = Path(settings.key_settings_file) if settings.key_settings_file else None
    vault = Vault(mongo, key_file(settings), settings.key_provider, settings_file)
    await vault.open()
    stack.push_async_callback(at_most, _CLOSE_S, vault.close)
    return vault


def key_file(settings: StorageSection) -> Path:
    """Return where the master key is."""
    return Path(settings.key_file) if settings.key_file else settings.data_dir / "credentials.key"


async def at_most(seconds: float, close: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Close something, and go on without it when its database hangs."""
    try:
        await asyncio.wait_for(close(*arguments), seconds)
    except TimeoutError:
        logger.warning("the database hangs; stopping without it")
