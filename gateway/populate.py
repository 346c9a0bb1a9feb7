"""Telling a mail backend all that the gateway knows, as when it is new or has lost its state.

It may be done again at any time. 1. The domains; 2. the mailboxes that a backend had before, each with a password
that nobody knows; 3. the aliases. A mailbox that is there already gets the names and the state that it has here, if
the backend knows that it is this one; else it may be somebody else's, is left as it is, and named.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.domain import Domain
from gateway.errors import Conflict, Refused
from gateway.examine import put_domain
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
        """Return what the backend refused, or has already, a sentence each.

        Raises RemoteError where it does not serve at all.
        """
        domains = [domain async for domain in every(functools.partial(self.domains.list, None))]
        return [
            *await _each("domains", len(domains), _of(domains), self._put_domain, report),
            *await self._those_of(domains, "mailboxes", self.mailboxes.list, self._put_mailbox, report),
            *await self._those_of(domains, "aliases", self.aliases.list, self.backend.add_alias, report),
        ]

    async def _those_of(
        self,
        domains: Sequence[Domain],
        part: str,
        read: Callable[[str, Page], Awaitable[tuple[int, Sequence[Item]]]],
        create: Callable[[Item], Awaitable[object]],
        report: Report,
    ) -> Sequence[str]:
        total = sum([(await read(domain.name, Page(limit=1)))[0] for domain in domains])
        items = (item for domain in domains async for item in every(functools.partial(read, domain.name)))
        return await _each(part, total, items, create, report)

    async def _put_domain(self, domain: Domain) -> None:
        await put_domain(self.domains, self.backend, domain)

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
    create: Callable[[Item], Awaitable[object]],
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
            except (Refused, Conflict) as error:
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
