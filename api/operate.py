"""What operators do by the command line to a database, on which gateways may be at work meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from api.main import Core, assembled_core
from api.metrics import Metrics
from api.stores import Stores, database, database_of_others, key_file, open_stores, open_vault
from gateway.config import Config
from gateway.errors import NotFound
from gateway.identity import UserIdentity
from gateway.progress import Report
from gateway.rounds import check_all
from storage.keyring import prepare_next_key
from storage.rotation import GRACE_S, Rotation


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[Stores, Core]]:
    """Open the database and all use cases on it, until the end of the block. Raises StartError."""
    async with AsyncExitStack() as stack:
        shared = await database_of_others(config.storage, stack)
        stores = await open_stores(config.storage, stack, shared)
        yield stores, await assembled_core(config, stores, Metrics(), stack)


async def rotate_keys(config: Config, report: Report) -> None:
    """Rotate the keys of the database, in which gateways may be at work. Raises StartError, Unavailable."""
    async with AsyncExitStack() as stack:
        shared = await database_of_others(config.storage, stack)
        mongo = shared or await database(config.storage, stack)
        vault = await open_vault(config.storage, mongo, stack)
        # Who has the embedded database has nobody to wait for.
        async for progress in Rotation(mongo, vault, grace_s=GRACE_S if shared else 0).run():
            report(progress)


def prepare_keys(config: Config) -> Path:
    """Add the next master key to the key file; return its path. Raises StartError."""
    path = key_file(config.storage)
    prepare_next_key(path)
    return path


async def check_identities(
    config: Config, username: str | None, identity_id: str | None, report: Callable[[UserIdentity, int], None]
) -> None:
    """Check all identities, those of one user, or one; ``report`` gets each that was checked, and of how many.

    Gateways may be at work on the database. Raises StartError, NotFound (no such user, no identity), Unavailable.
    """
    async with opened(config) as (stores, core):
        user_id = None if username is None else await _user_id(stores, username)
        total = await stores.identities.count(user_id, identity_id)
        if not total:
            raise NotFound("There is no such identity.")
        await check_all(
            core.checks,
            stores.identities.walk(user_id, identity_id),
            lambda identity: report(identity, total),
            concurrency=config.checks.concurrency,
            per_host=config.checks.per_host,
        )


async def _user_id(stores: Stores, username: str) -> str:
    found = await stores.users.find(username)
    if found is None:
        raise NotFound(f"There is no user {username}.")
    return found[0].user_id
