"""What operators do by the command line to a database, on which gateways may be at work meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from api.main import Core, assembled_core
from api.metrics import Metrics
from api.stores import Stores, database, database_of_others, key_file, open_stores, open_vault
from gateway.config import Config
from gateway.errors import GatewayError, Invalid, NotFound
from gateway.identity import UserIdentity
from gateway.progress import Report
from gateway.rounds import check_all
from gateway.user import User
from storage.keyring import prepare_next_key
from storage.rotation import GRACE_S, Rotation

_PAGE = 200


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[Stores, Core]]:
    """Open the database and all use cases on it, until the end of the block. Raises StartError."""
    async with AsyncExitStack() as stack:
        shared = await database_of_others(config.storage, stack)
        stores = await open_stores(config.storage, stack, shared)
        yield stores, await assembled_core(config, stores, Metrics(), stack)


# -- keys --------------------------------------------------------------------------------------------------------


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


# -- users -------------------------------------------------------------------------------------------------------


async def list_users(config: Config, show: Callable[[User], None]) -> None:
    """Let ``show`` have every user. Raises StartError, Unavailable."""
    async with opened(config) as (stores, _):
        async for user in stores.users.walk():
            show(user)


async def show_user(config: Config, username: str) -> tuple[User, Sequence[UserIdentity]]:
    """Return a user with all identities. Raises StartError, NotFound, Unavailable."""
    async with opened(config) as (stores, core):
        user = await core.accounts.named(username)
        return user, [identity async for identity in stores.identities.walk(user.user_id, None)]


async def add_user(
    config: Config, username: str, password: str, display_name: str | None, recovery_email: str | None
) -> User:
    """Register a user. Raises StartError, Invalid, Conflict, TooOften, Unavailable."""
    async with opened(config) as (_, core):
        return await core.accounts.register(
            username, password, display_name, recovery_email, source="", by_operator=True
        )


async def set_password(config: Config, username: str, password: str) -> None:
    """Give a user another password. Raises StartError, NotFound, Invalid, Conflict, Unavailable."""
    async with opened(config) as (_, core):
        await core.accounts.set_password(username, password)


async def delete_user(config: Config, username: str) -> None:
    """Delete a user. Raises StartError, NotFound, Conflict (last owner of a domain), Unavailable."""
    async with opened(config) as (_, core):
        await core.accounts.remove(username)


# -- identities --------------------------------------------------------------------------------------------------


async def list_identities(config: Config, username: str | None, show: Callable[[str, UserIdentity], None]) -> None:
    """Let ``show`` have every identity, or those of a user, each with the user's name.

    Raises StartError, NotFound, Unavailable.
    """
    async with opened(config) as (stores, core):
        user_id = await user_id_of(core, username)
        async for page in pages(stores, user_id):
            for name, identity in page:
                show(name, identity)


async def check_identities(
    config: Config, username: str | None, identity_id: str | None, report: Callable[[UserIdentity, int], None]
) -> None:
    """Check all identities, those of one user, or one; ``report`` gets each that was checked, and of how many.

    Gateways may be at work on the database. Raises StartError, NotFound (no such user, no identity), Unavailable.
    """
    async with opened(config) as (stores, core):
        user_id = await user_id_of(core, username)
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


async def pages(stores: Stores, user_id: str | None) -> AsyncIterator[Sequence[tuple[str, UserIdentity]]]:
    """Yield identities, all or those of a user, some at a time, each with its user's name. Raises Unavailable."""
    page: list[UserIdentity] = []
    async for identity in stores.identities.walk(user_id, None):
        page.append(identity)
        if len(page) == _PAGE:
            yield await _with_names(stores, page)
            page = []
    yield await _with_names(stores, page)


async def _with_names(stores: Stores, page: Sequence[UserIdentity]) -> Sequence[tuple[str, UserIdentity]]:
    names = await stores.users.names({each.user_id for each in page})
    return [(names[each.user_id], each) for each in page if each.user_id in names]


def in_words(error: GatewayError) -> str:
    """Return what an error says, or all its faults."""
    faults = error.errors.items() if isinstance(error, Invalid) else ()
    return "; ".join(f"{path}: {' '.join(messages)}" for path, messages in faults) or str(error)


async def user_id_of(core: Core, username: str | None) -> str | None:
    """Return whose name that is; None for none. Raises NotFound."""
    return None if username is None else (await core.accounts.named(username)).user_id
