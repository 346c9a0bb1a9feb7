"""Identities from the database to a file, and from a file to the database.

Importing a line: 1. hold it against the rules of the REST API; 2. find its user; 3. add the account; 4. where the
user has one of that identifier and protocol already, leave it alone or, if so told, change what differs. Each line
is one write. Lines are taken side by side, so no two of a file may name the same account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TextIO

from api.main import Core
from api.operate import in_words, opened, pages, user_id_of
from api.records import Format, Line, Record, Writer, read
from api.routing import validated
from api.stores import Stores
from api.v2.identities import NewRemoteSchema, new_remote
from gateway.address import normalise_identifier
from gateway.config import Config
from gateway.errors import Invalid, NotFound, RequestError, Unavailable
from gateway.identity import WORKER_KEYS, Credentials, IdentityStatus, IdentityType, UserIdentity
from gateway.patch import Change, merge
from gateway.ports import Page
from gateway.progress import Progress, Report

_AT_ONCE = 20
_PART = "identities"


def record_of(name: str, identity: UserIdentity, credentials: Credentials | None) -> Record:
    """Return an identity as a record, as its user made it.

    What workers manage is left out, their verdict that it is inactive too.
    """
    status = IdentityStatus.ACTIVE if "inactivereason" in identity.infos else identity.status
    record = {
        "username": name,
        "protocol": identity.protocol,
        "identifier": identity.identifier,
        "display_name": identity.display_name,
        "status": status.value,
        "infos": {key: value for key, value in identity.infos.items() if key not in WORKER_KEYS},
    }
    return record if credentials is None else {**record, "credentials": dict(credentials.values)}


# -- export ------------------------------------------------------------------------------------------------------


async def export_identities(
    config: Config, username: str | None, file: TextIO, form: Format, report: Report, *, with_credentials: bool
) -> int:
    """Write all remote identities, or those of a user; return how many.

    Raises StartError, NotFound, Unavailable (credentials that no key opens, too).
    """
    writer = Writer(file, form, ["infos", "credentials"] if with_credentials else ["infos"])
    looked_at = written = 0
    async with opened(config) as (stores, core):
        user_id = await user_id_of(core, username)
        total = await stores.identities.count(user_id, None)
        async for page in pages(stores, user_id):
            remotes = [each for each in page if each[1].type is IdentityType.REMOTE]
            records = [_record(stores, *each, with_credentials=with_credentials) for each in remotes]
            for record in filter(None, await asyncio.gather(*records)):
                writer.write(record)
                written += 1
            looked_at += len(page)
            report(Progress(_PART, looked_at, max(total, looked_at, 1)))
    report(Progress(_PART, 1, 1))  # some may have gone meanwhile
    return written


async def _record(stores: Stores, name: str, identity: UserIdentity, *, with_credentials: bool) -> Record | None:
    """Return the record, None where the identity was deleted meanwhile."""
    if not with_credentials:
        return record_of(name, identity, None)
    try:
        return record_of(name, *await stores.identities.with_credentials(identity.user_id, identity.identity_id))
    except NotFound:
        return None
    except Unavailable as error:
        raise Unavailable(f"{identity.identity_id} ({identity.identifier}): {error}") from error


# -- import ------------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What became of a line."""

    ADDED = "added"
    UPDATED = "updated"
    THERE = "there already"
    REFUSED = "refused"


@dataclass
class Imported:
    """What became of all lines. ``faults`` are (number of the line, its account, reason)."""

    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    faults: list[tuple[int, str, str]] = field(default_factory=list)

    def refuse(self, line: Line, fault: str) -> None:
        """Note that a line is refused."""
        self.counts[Outcome.REFUSED] += 1
        names = [line.record.get(key) for key in ("username", "identifier")]
        self.faults.append((line.number, ", ".join(name for name in names if isinstance(name, str)), fault))

    def summary(self) -> str:
        """Return how many lines became what."""
        return ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())


async def import_identities(
    config: Config, content: bytes, form: Format, report: Report, *, update: bool
) -> Imported:
    """Add the accounts of a file. Raises StartError; Invalid (it is no such file); Unavailable, amid the work."""
    total = sum(1 for _ in read(content, form))
    imported = Imported()
    async with opened(config) as (stores, core):
        intake = _Intake(stores, core, update=update)
        lines = _distinct(read(content, form), imported)

        async def take_turns() -> None:
            for line in lines:
                try:
                    imported.counts[await intake.take(line.record)] += 1
                except RequestError as error:
                    imported.refuse(line, in_words(error))
                report(Progress(_PART, sum(imported.counts.values()), total))

        turns = [asyncio.create_task(take_turns()) for _ in range(_AT_ONCE)]
        try:
            await asyncio.gather(*turns)
        finally:
            for turn in turns:
                turn.cancel()
            await asyncio.gather(*turns, return_exceptions=True)
    return imported


def _distinct(lines: Iterator[Line], imported: Imported) -> Iterator[Line]:
    """Yield what is a record, and names an account that no line before it has named."""
    seen: dict[tuple[str, str, str], int] = {}
    for line in lines:
        fault, account = line.fault, _account(line.record)
        if account and (first := seen.setdefault(account, line.number)) != line.number:
            fault = f"names the same account as line {first}"
        if fault:
            imported.refuse(line, fault)
        else:
            yield line


def _account(record: Record) -> tuple[str, str, str] | None:
    match record:
        case {"username": str(username), "protocol": str(protocol), "identifier": str(identifier)}:
            with suppress(ValueError):  # malformed: that is told later
                identifier = normalise_identifier(identifier)
            return username.lower(), protocol, identifier
    return None


class _Intake:
    """Takes records in, one at a time."""

    def __init__(self, stores: Stores, core: Core, *, update: bool) -> None:
        self._stores = stores
        self._core = core
        self._update = update
        self._schema = NewRemoteSchema()

    async def take(self, record: Record) -> Outcome:
        """Add or change one account. Raises RequestError, with nothing changed; Unavailable."""
        name = record.get("username")
        if not isinstance(name, str):
            raise Invalid("Every line has to name a user.", {"username": ["Missing data for required field."]})
        body = validated(self._schema, {key: value for key, value in record.items() if key != "username"})
        user_id = (await self._core.accounts.named(name)).user_id
        there = await self._find(user_id, body)
        if there is None:
            await self._core.connect.add_remote(user_id, new_remote(body))
            return Outcome.ADDED
        said = {key: body[key] for key in ("display_name", "status", "infos", "credentials") if record.get(key)}
        if self._update and await self._change(name, there, said):
            return Outcome.UPDATED
        return Outcome.THERE

    async def _find(self, user_id: str, body: Mapping[str, Any]) -> UserIdentity | None:
        try:
            identifier = normalise_identifier(body["identifier"])
        except ValueError:  # add_remote() tells
            return None
        where = {"protocol": body["protocol"], "identifier": identifier}
        _, found = await self._core.connect.list(user_id, IdentityType.REMOTE, where, Page(1))
        there = [each async for each in found]
        return there[0] if there else None

    async def _change(self, name: str, identity: UserIdentity, said: dict[str, Any]) -> bool:
        """Change what is said otherwise; True if anything was. What is not said stays."""
        infos = {key: value for key, value in said.get("infos", {}).items() if key not in WORKER_KEYS}
        patch = {**said, "infos": infos}
        key = identity.user_id, identity.identity_id
        stored = record_of(name, *await self._stores.identities.with_credentials(*key))
        if merge(stored, patch) == stored:
            return False
        if "inactivereason" in identity.infos:  # a worker's verdict, on what was before
            patch.setdefault("status", IdentityStatus.ACTIVE.value)
        await self._core.connect.change_remote(*key, Change(patch))
        return True
