"""The mailboxes of hosted domains: create, change, disable, delete. Who may do that: gateway/postmaster.py.

Creating one: 1. see that its name and its user can be had; 2. store it, while nobody changes its domain; of two at
once one gets the name; 3. if the domain is enabled, create it at the mail backend; 4. store the outcome, with the
identity that its user gets and the mail that is to go to its secondary address, all or nothing. On a domain that is
not enabled yet, a worker does 3 and 4 when it is.

Whoever begins 3 holds the mailbox, and the attempt is counted before it is made; one that certainly came to nothing
is taken back. Who dies before 4, or gets no answer, leaves a mailbox that a worker takes up. Where the backend has
one of that address by then, the backend knows whether it is this one, made by an earlier attempt; if not, or if it
cannot tell, it may be somebody else's: then this one has failed, and that one is neither given to anybody nor
removed, unless the operator hands it over, see adopt().

Everything else is done at the backend first, then stored, if nobody has changed the mailbox since it was read; else
all again. Where that is cut off in between, asking for it again mends it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from gateway import retry
from gateway.address import normalise_identifier
from gateway.domain import Domain, DomainStatus, Feature, require_ours
from gateway.errors import (
    Conflict,
    Forbidden,
    GatewayError,
    Invalid,
    NotFound,
    RemoteError,
    SignInRefused,
    Unreachable,
)
from gateway.mailbox import (
    Mailbox,
    MailboxStatus,
    begun,
    created,
    not_created,
    parse_local_part,
    postponed,
    settled,
    taken,
)
from gateway.notice import Notice, NoticeKind
from gateway.patch import Change
from gateway.ports import Clock, Domains, MailBackend, Mailboxes, Page, SignInCode, Users
from gateway.work import LEASE

logger = logging.getLogger(__name__)

_TRIES = 100  # of a change that others come before, each time
_DEADLINE_S = 40.0  # of a creation; less than a lease


Permit = Callable[[Mailbox], None]
"""Raises Forbidden where whoever asks may not do that to the mailbox."""


def anybody(_: Mailbox) -> None:
    """Permit everything: who asks was asked before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMailbox:
    """What is asked for. Without a ``display_name`` it is the two names."""

    local_part: str
    first_name: str
    last_name: str
    display_name: str | None = None
    secondary_email: str | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class Provision:
    """The mailboxes, and the worker's Runner that creates those that are due.

    Domains are named by the one spelling of their names. ``noticed`` wakes the worker that writes the mails.
    """

    domains: Domains
    mailboxes: Mailboxes
    users: Users
    backend: MailBackend
    clock: Clock
    noticed: asyncio.Event
    chance: Callable[[], float] = random.random

    async def create(
        self,
        domain: str,
        new: NewMailbox,
        permit: Permit = anybody,
        *,
        at_once: bool = False,
        most: int = sys.maxsize,
    ) -> tuple[Mailbox, str | None]:
        """Create a mailbox; return it, with its password where it was created at the backend now.

        It stays pending until its domain is enabled; ``at_once``: only where the backend does not answer, then it
        is tried again. Raises NotFound (no such domain), Invalid, Forbidden (not permitted; a disabled domain),
        Conflict (the name is taken), Full (the domain has ``most`` mailboxes), RemoteError (the backend refuses it
        for good), and then nothing is stored.
        """
        wanted = self._described(domain, new)
        await self._check(wanted)

        def admit(host: Domain) -> Mailbox:
            _refuse_without_mailboxes(host)
            permit(wanted)
            _refuse_disabled(host)
            now = at_once or host.status is DomainStatus.ENABLED
            return begun(wanted, self.clock() + LEASE) if now else wanted

        mailbox = await self.mailboxes.add(domain, admit, most=most)
        if not mailbox.held:
            return mailbox, None
        try:
            return await self._attempt(mailbox)
        except (RemoteError, Conflict):
            await self.mailboxes.delete(mailbox)
            raise

    def _described(self, domain: str, new: NewMailbox) -> Mailbox:
        try:
            local_part = parse_local_part(new.local_part)
        except ValueError as error:
            raise Invalid("This is no name for a mailbox.", {"local_part": [f"This {error}."]}) from error
        return Mailbox(
            mailbox_id=str(uuid4()),
            domain=domain,
            local_part=local_part,
            first_name=new.first_name,
            last_name=new.last_name,
            display_name=new.display_name or _full_name(new.first_name, new.last_name),
            secondary_email=new.secondary_email,
            user_id=new.user_id,
            status=MailboxStatus.PENDING,
            date_insert=self.clock(),
        )

    async def _check(self, mailbox: Mailbox) -> None:
        """Raise Invalid where it is its own secondary address, or that of a user who does not exist."""
        errors = {}
        if mailbox.secondary_email and normalise_identifier(mailbox.secondary_email) == mailbox.email:
            errors["secondary_email"] = ["Must be another mailbox than this one."]
        if mailbox.user_id and not await self._is_user(mailbox.user_id):
            errors["user_id"] = ["There is no such user."]
        if errors:
            raise Invalid("The mailbox cannot be so.", errors)

    async def _is_user(self, user_id: str) -> bool:
        try:
            await self.users.get(user_id)
        except NotFound:
            return False
        return True

    # -- creation at the backend -----------------------------------------------------------------------------------

    async def run(self, _: str, mailbox: Mailbox, /) -> None:
        """Create a mailbox that is due, for a worker. Raises Unavailable."""
        domain = await self.domains.get(mailbox.domain)
        if domain.status is DomainStatus.DISABLED:
            await self.mailboxes.save(mailbox, not_created(mailbox, MailboxStatus.PENDING))
            return
        try:
            await self._attempt_or_fail(mailbox)
        except (RemoteError, Conflict) as error:
            logger.warning("mailbox not created", extra={"mailbox_id": mailbox.mailbox_id, "error": str(error)})

    async def _attempt_or_fail(self, held: Mailbox) -> Mailbox:
        try:
            mailbox, _ = await self._attempt(held)
        except (RemoteError, Conflict) as error:
            await self.mailboxes.save(held, _failed(held, error))
            raise
        return mailbox

    async def _attempt(self, held: Mailbox) -> tuple[Mailbox, str | None]:
        """Create a mailbox that is held at the backend; return what is stored of it then, and its password.

        Raises RemoteError, Conflict (the backend has another's of that address): it is refused for good.
        """
        after = created(held)
        try:
            password = await self._ask(after)
        except RemoteError as error:
            if not error.temporary and not isinstance(error, SignInRefused):  # that one is the operator's to mend
                raise
            due_at = self.clock() + retry.delay(held.attempts + held.failures, self.chance())
            after = postponed(held, str(error), due_at, nothing_done=error.nothing_done)
            return await self._stored(held, after), None
        return await self._stored(held, after, _welcome(held)), password

    async def _ask(self, mailbox: Mailbox) -> str | None:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                require_ours(await self.domains.get(mailbox.domain))
                return await self.backend.add_mailbox(mailbox)
        except TimeoutError as error:
            raise Unreachable("The mail servers take too long for their answer.") from error

    async def _stored(self, held: Mailbox, after: Mailbox, notice: Notice | None = None) -> Mailbox:
        """Store an outcome; where the lease was lost, it is what the next one makes of it that counts."""
        stored = await self.mailboxes.save(held, after, notice)
        if notice:
            self.noticed.set()
        return stored or await self.mailboxes.get(held.domain, held.local_part)

    # -- what there is ---------------------------------------------------------------------------------------------

    async def get(self, domain: str, local_part: str) -> Mailbox:
        """Return a mailbox. Raises NotFound, also where that is no local part at all."""
        try:
            return await self.mailboxes.get(domain, parse_local_part(local_part))
        except ValueError as error:
            raise NotFound("There is no such mailbox.") from error

    async def list(self, domain: str, page: Page) -> tuple[int, Sequence[Mailbox]]:
        """Return how many mailboxes a domain has and a page of them, by local part."""
        return await self.mailboxes.list(domain, page)

    async def _free(self, domain: str, local_part: str) -> Mailbox:
        """Return a mailbox that nobody is creating just now. Raises NotFound, Conflict."""
        mailbox = await self.get(domain, local_part)
        if mailbox.held:
            raise _in_creation(mailbox)
        return mailbox

    # -- changes ---------------------------------------------------------------------------------------------------

    async def change(
        self, domain: str, local_part: str, change: Change[Mailbox], permit: Permit = anybody
    ) -> Mailbox:
        """Apply a merge patch of first_name, last_name, display_name, secondary_email and user_id.

        Where the names change and no display_name is given, it follows. Raises NotFound; Invalid; Forbidden (not
        permitted; the local part cannot be changed); Conflict (``current_state`` is not what is stored; it is being
        created just now), Stale; RemoteError.
        """
        for _ in range(_TRIES):
            before = await self._free(domain, local_part)
            after = _changed(before, change.patch)
            await self._check(after)
            permit(before)
            if change.patch.get("local_part", before.local_part) != before.local_part:
                raise Forbidden("The local part of a mailbox cannot be changed. Create another one.")
            change.check(before, _seen(before))
            if after.hosted and _names(after) != _names(before):
                await self.backend.change_mailbox(after)
            if stored := await self.mailboxes.save(before, after):
                return stored
        raise _busy()

    async def disable(self, domain: str, local_part: str) -> Mailbox:
        """Put a mailbox out of use; one that is not at the backend is not created. As change() raises."""
        for _ in range(_TRIES):
            before = await self._certain(await self._free(domain, local_part))
            after = settled(before, MailboxStatus.DISABLED)
            if after.hosted:
                await self.backend.change_mailbox(after)
            if stored := await self.mailboxes.save(before, after):
                return stored
        raise _busy()

    async def enable(self, domain: str, local_part: str) -> Mailbox:
        """Put a mailbox into use, or create it: at once where its domain is enabled, else when it is.

        Raises NotFound, Forbidden (the domain is disabled), Conflict, RemoteError (the backend refuses it).
        """
        _refuse_disabled(await self.domains.get(domain))
        for _ in range(_TRIES):
            before = await self._free(domain, local_part)
            if before.status is MailboxStatus.PENDING:
                return before
            status = MailboxStatus.ENABLED if before.hosted else MailboxStatus.PENDING
            after = settled(before, status, attempts=before.attempts)
            if after.hosted:
                await self.backend.change_mailbox(after)
            if stored := await self.mailboxes.save(before, after):
                return await self._create_due(stored)
        raise _busy()

    async def _create_due(self, mailbox: Mailbox) -> Mailbox:
        if mailbox.due_at is None:
            return mailbox
        held = await self.mailboxes.save(mailbox, begun(mailbox, self.clock() + LEASE))
        return await self._attempt_or_fail(held) if held else await self.get(mailbox.domain, mailbox.local_part)

    async def delete(self, domain: str, local_part: str, change: Change[Mailbox] | None = None) -> None:
        """Delete a mailbox with its mail and the identity that its user has of it; its aliases stay.

        ``change`` names the version that is meant. Raises NotFound, Conflict, Stale, RemoteError.
        """
        for _ in range(_TRIES):
            mailbox = await self._free(domain, local_part)
            if change:
                change.check_version(mailbox)
            mailbox = await self._certain(mailbox)
            if mailbox.hosted:
                await self.backend.delete_mailbox(mailbox)
            if await self.mailboxes.delete(mailbox):
                return
        raise _busy()

    async def _certain(self, mailbox: Mailbox) -> Mailbox:
        """Remove at the backend what attempts may have left there; return the mailbox, then held.

        Raises Conflict (somebody is creating it just now; what is there may be another's, and then this one has
        failed), RemoteError.
        """
        if not mailbox.attempts:
            return mailbox
        held = await self.mailboxes.save(mailbox, begun(mailbox, self.clock() + LEASE))
        if held is None:
            raise _in_creation(mailbox)
        try:
            await self.backend.withdraw_mailbox(held)
        except Conflict as error:
            await self.mailboxes.save(held, _failed(held, error))
            raise
        except RemoteError:
            await self.mailboxes.save(held, replace(mailbox, version=held.version))
            raise
        return held

    async def adopt(self, domain: str, local_part: str, new: NewMailbox | None = None) -> Mailbox:
        """Let a mailbox be the one that the backend has of its address: one that has failed here, waits, or is new.

        For the operator, who answers for whose that is. Raises NotFound, Invalid, Forbidden (the domain is
        disabled), Conflict (it is being created just now, is disabled, or a new one is here already), RemoteError
        (the backend has none, or the domain is not ours there), and then a new one is not stored.
        """
        require_ours(await self.domains.get(domain))
        added = await self._add_failed(domain, new) if new else None
        try:
            return await self._adopt(domain, local_part)
        except GatewayError as error:
            if added:
                await self.mailboxes.delete(added)
            elif isinstance(error, NotFound):
                raise NotFound(f"{local_part}@{domain} is not known here: say its first and last name.") from error
            raise

    async def _add_failed(self, domain: str, new: NewMailbox) -> Mailbox:
        """Store a mailbox that no worker creates, and that a later adopt() finds where this one is cut off."""
        wanted = self._described(domain, new)
        await self._check(wanted)

        def admit(host: Domain) -> Mailbox:
            _refuse_without_mailboxes(host)
            _refuse_disabled(host)
            return settled(wanted, MailboxStatus.FAILED, error=str(taken(wanted)))

        return await self.mailboxes.add(domain, admit)

    async def _adopt(self, domain: str, local_part: str) -> Mailbox:
        for _ in range(_TRIES):
            before = await self._free(domain, local_part)
            if before.status is MailboxStatus.DISABLED:
                raise Conflict(f"{before.email} is disabled here. Have it enabled first.")
            if before.hosted:
                return before
            after = created(before)
            await self.backend.change_mailbox(after)
            if stored := await self.mailboxes.save(before, after, _welcome(before)):
                return stored
        raise _busy()

    # -- signing in ------------------------------------------------------------------------------------------------

    async def reset_password(self, domain: str, local_part: str) -> str:
        """Give a mailbox a new password; return it. Raises NotFound, Conflict (not created yet), RemoteError."""
        return await self.backend.reset_password(await self._hosted(domain, local_part))

    async def sign_in_code(self, domain: str, local_part: str, expires_in: timedelta, max_uses: int) -> SignInCode:
        """Return a new code that signs in to a mailbox. As reset_password() raises."""
        mailbox = await self._hosted(domain, local_part)
        return await self.backend.sign_in_code(mailbox, expires_in, max_uses)

    async def _hosted(self, domain: str, local_part: str) -> Mailbox:
        mailbox = await self.get(domain, local_part)
        if not mailbox.hosted:
            raise Conflict(f"{mailbox.email} has not been created at the mail servers yet.")
        return mailbox

    async def send_link(self, domain: str, local_part: str, *, reset: bool = False) -> Mailbox:
        """Have a sign-in link sent to the secondary address; ``reset``: and the password be one that nobody knows.

        Raises NotFound, Invalid (no secondary address), Conflict (not in use), RemoteError.
        """
        for _ in range(_TRIES):
            mailbox = await self.get(domain, local_part)
            _refuse_unreachable(mailbox)
            if reset:
                await self.backend.reset_password(mailbox)
                reset = False
            if stored := await self.mailboxes.save(mailbox, mailbox, _notice(mailbox, NoticeKind.SIGN_IN_LINK)):
                self.noticed.set()
                return stored
        raise _busy()


def _failed(held: Mailbox, error: RemoteError | Conflict) -> Mailbox:
    """Return a mailbox whose creation was refused for good."""
    if isinstance(error, Conflict):  # what the backend has counts as another's from here on
        return settled(held, MailboxStatus.FAILED, error=str(error))
    return not_created(held, MailboxStatus.FAILED, str(error))


def _in_creation(mailbox: Mailbox) -> Conflict:
    return Conflict(f"{mailbox.email} is being created just now. Try again in a minute.")


def _busy() -> Conflict:
    return Conflict("The mailbox is being changed. Try again when that is done.")


def _refuse_without_mailboxes(domain: Domain) -> None:
    if Feature.MAILBOX not in domain.features:
        raise Invalid(f"{domain.name} has no mailboxes. Its owner can turn on the feature mailbox.")


def _refuse_disabled(domain: Domain) -> None:
    if domain.status is DomainStatus.DISABLED:
        raise Forbidden(f"{domain.name} is disabled.")


def _refuse_unreachable(mailbox: Mailbox) -> None:
    if not mailbox.secondary_email:
        raise Invalid(
            f"{mailbox.email} has no secondary address to which a sign-in link could go.",
            {"secondary_email": ["There is none."]},
        )
    if mailbox.status is not MailboxStatus.ENABLED:
        raise Conflict(f"{mailbox.email} is {mailbox.status}: nobody can sign in.")


def _welcome(mailbox: Mailbox) -> Notice | None:
    return _notice(mailbox, NoticeKind.MAILBOX_CREATED) if mailbox.secondary_email else None


def _notice(mailbox: Mailbox, kind: NoticeKind) -> Notice:
    return Notice(str(uuid4()), kind, mailbox.domain, mailbox.local_part)


def _full_name(first_name: str, last_name: str) -> str:
    return f"{first_name} {last_name}".strip()  # clients of dimail may leave either empty


def _names(mailbox: Mailbox) -> tuple[str, str, str]:
    return mailbox.first_name, mailbox.last_name, mailbox.display_name


def _changed(mailbox: Mailbox, patch: Mapping[str, Any]) -> Mailbox:
    fields = ("first_name", "last_name", "display_name", "secondary_email", "user_id")
    after = replace(mailbox, **{field: patch[field] for field in fields if field in patch})
    if "display_name" not in patch and _names(after) != _names(mailbox):
        after = replace(after, display_name=_full_name(after.first_name, after.last_name))
    return after


def _seen(mailbox: Mailbox) -> dict[str, Any]:
    """Return what a client can see of a mailbox, and change or believe to change."""
    return {
        "local_part": mailbox.local_part,
        "first_name": mailbox.first_name,
        "last_name": mailbox.last_name,
        "secondary_email": mailbox.secondary_email,
        "user_id": mailbox.user_id,
    }
