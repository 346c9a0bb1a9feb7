"""Telling a mail backend all that the gateway knows, as when it is new or has lost its state.

What is there already stays, and gets the names and the state that it has here; so it may be done again at any time.
1. The domains; 2. the mailboxes that a backend had before, each with a password that nobody knows; 3. the aliases.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.domain import Domain
from gateway.errors import Refused
from gateway.mailbox import Alias, Mailbox, MailboxStatus
from gateway.pages import every
from gateway.ports import Aliases, Domains, MailBackend, Mailboxes, Page
from gateway.progress import Progress, Report

_AT_ONCE = 10

Item = TypeVar("Item", Domain, Mailbox, Alias)


@dataclass(frozen=True)
class Populate:
    """Creates at the backend what is here."""

    domains: Domains
    mailboxes: Mailboxes
    aliases: Aliases
    backend: MailBackend

    async def run(self, report: Report) -> Sequence[str]:
        """Return what the backend refused, a sentence each. Raises RemoteError where it does not serve at all."""
        domains = [domain async for domain in every(functools.partial(self.domains.list, None))]
        return [
            *await _each("domains", len(domains), _of(domains), self.backend.add_domain, report),
            *await self._those_of(domains, "mailboxes", self.mailboxes.list, self._put_mailbox, report),
            *await self._those_of(domains, "aliases", self.aliases.list, self.backend.add_alias, report),
        ]

    async def _those_of(
        self,
        domains: Sequence[Domain],
        part: str,
        read: Callable[[str, Page], Awaitable[tuple[int, Sequence[Item]]]],
        create: Callable[[Item], Awaitable[None]],
        report: Report,
    ) -> Sequence[str]:
        total = sum([(await read(domain.name, Page(limit=1)))[0] for domain in domains])
        items = (item for domain in domains async for item in every(functools.partial(read, domain.name)))
        return await _each(part, total, items, create, report)

    async def _put_mailbox(self, mailbox: Mailbox) -> None:
        if not mailbox.hosted:
            return
        password = await self.backend.add_mailbox(mailbox)
        if password is None or mailbox.status is not MailboxStatus.ENABLED:
            await self.backend.change_mailbox(mailbox)


async def _of(items: Sequence[Item]) -> AsyncIterator[Item]:
    for item in items:
        yield item


async def _each(
    part: str,
    total: int,
    items: AsyncIterator[Item],
    create: Callable[[Item], Awaitable[None]],
    report: Report,
) -> Sequence[str]:
    """Create some at a time, and report how far that is; return what was refused."""
    faults: list[str] = []
    done, turn = 0, asyncio.Lock()

    async def go_through() -> None:
        nonlocal done
        while True:
            async with turn:
                item = await anext(items, None)
            if item is None:
                return
            try:
                await create(item)
            except Refused as error:
                faults.append(f"{part}: {error}")
            done += 1
            report(Progress(part, done, max(done, total)))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(go_through())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return faults
