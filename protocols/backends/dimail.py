"""A mail backend that is a dimail server, asked by HTTP (https://github.com/numerique-gouv/dimail-api).

Its addresses are in A-labels. Domains it takes by name and password, what is in them by a token.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self
from urllib.parse import quote

from gateway.address import ascii_host, ascii_mailbox
from gateway.config import DimailSection
from gateway.domain import Domain, DomainCheck, Fault, Record, parse_domain
from gateway.errors import Refused
from gateway.mailbox import Alias, Mailbox, MailboxStatus, taken
from gateway.ports import Clock, SignInCode, system_clock
from protocols.backends.dimail_server import CONFLICT, NOT_FOUND, DimailServer, misunderstood, text
from protocols.replies import printable

_INTERNAL = ("postfix", "ox", "cert")
_UNKNOWN = Fault("not_hosted", "The dimail server does not know this domain.")
_UNEXPLAINED = Fault("unexplained", "The dimail server does not say what is wrong.")


class DimailBackend:
    """The core's MailBackend; to be entered before it is used."""

    def __init__(
        self,
        settings: DimailSection,
        tls: ssl.SSLContext,
        clock: Clock = system_clock,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Raises ConfigurationError."""
        self._settings = settings
        self._clock = clock
        self._server = DimailServer(settings, tls, clock, sleep)

    async def __aenter__(self) -> Self:
        await self._server.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._server.close()

    async def make_admin(self) -> None:
        """Make the configured account at the server, as an administrator, unless it is there already.

        A server that has no account yet lets anybody do that. Raises RemoteError.
        """
        name, password = self._settings.username, self._settings.password
        account = {"name": name, "password": password, "is_admin": True, "perms": []}
        await self._server.ask("POST", "/users/", account, token=False, fine=(CONFLICT,))

    async def has_domain(self, name: str) -> bool:
        """True when there is a domain of that name, whoever had it hosted."""
        answer = await self._server.ask("GET", _path(name), token=True, fine=(NOT_FOUND,))
        return answer.status != NOT_FOUND

    async def add_domain(self, domain: Domain) -> None:
        """Host a domain with its features. Raises Refused where its name is in another context."""
        wanted = {
            "name": domain.ascii_name,
            "context_name": _context(domain.context),
            "features": [feature.value for feature in domain.features],
            "delivery": "virtual",
        }
        answer = await self._server.ask("POST", "/domains/", wanted, token=False, fine=(CONFLICT,))
        if answer.status == CONFLICT:  # it is there already; or something else is in the way
            there = await self._server.ask("GET", _path(domain.name), token=True, fine=(NOT_FOUND,))
            if there.status == NOT_FOUND:
                raise Refused(f"The dimail server refuses {domain.name}: {answer.reason}", reply=answer.reason)
            _compare_context(domain, there.content)

    async def records(self, domain: Domain) -> Sequence[Record]:
        """Return the DNS records that the owner has to publish."""
        answer = await self._server.ask("GET", f"{_path(domain.name)}/spec/", token=False)
        return records_in(answer.content)

    async def check(self, domain: Domain) -> Mapping[str, DomainCheck]:
        """Return how the internal checks end; the server's external ones are left to the gateway's own."""
        answer = await self._server.ask("GET", f"{_path(domain.name)}/check", token=False, fine=(NOT_FOUND,))
        if answer.status == NOT_FOUND:
            return {"postfix": DomainCheck(internal=True, faults=(_UNKNOWN,))}
        return checks_in(answer.content)

    async def repair(self, domain: Domain) -> None:
        """Let the server mend the domain; tell it of one that it does not know."""
        answer = await self._server.ask("GET", f"{_path(domain.name)}/fix/", token=False, fine=(NOT_FOUND,))
        if answer.status == NOT_FOUND:
            await self.add_domain(domain)

    async def add_mailbox(self, mailbox: Mailbox) -> str | None:
        """Create a mailbox; return its password.

        Raises Conflict where there is one. A dimail server does not tell who made it: the uuid that it answers it
        does not keep, and the names that it keeps, where there is webmail, another may have sent as well.
        """
        answer = await self._server.ask("POST", _mailbox(mailbox), _names(mailbox), token=True, fine=(CONFLICT,))
        if answer.status == CONFLICT:
            raise taken(mailbox)
        return text(answer.content, "password")

    async def withdraw_mailbox(self, mailbox: Mailbox) -> None:
        """See that there is no such mailbox. Raises Conflict where there is one: it may be another's."""
        answer = await self._server.ask("GET", _mailbox(mailbox), token=True, fine=(NOT_FOUND,))
        if answer.status != NOT_FOUND:
            raise taken(mailbox)

    async def change_mailbox(self, mailbox: Mailbox) -> None:
        """Give a mailbox the names that it has here, and let it be in use if it is enabled here."""
        active = "yes" if mailbox.status is MailboxStatus.ENABLED else "no"
        await self._server.ask("PATCH", _mailbox(mailbox), _names(mailbox) | {"active": active}, token=True)

    async def delete_mailbox(self, mailbox: Mailbox) -> None:
        """Remove a mailbox with its mail."""
        await self._server.ask("DELETE", _mailbox(mailbox), token=True, fine=(NOT_FOUND,))

    async def reset_password(self, mailbox: Mailbox) -> str:
        """Give a mailbox a new password; return it."""
        answer = await self._server.ask("POST", f"{_mailbox(mailbox)}/reset_password/", token=True)
        return text(answer.content, "password")

    async def sign_in_code(self, mailbox: Mailbox, expires_in: timedelta, max_uses: int) -> SignInCode:
        """Return a new code that signs in to the mailbox."""
        wanted = {"expires_in": int(expires_in.total_seconds()), "maxuse": max_uses}
        answer = await self._server.ask("POST", f"{_mailbox(mailbox)}/code", wanted, token=True)
        # By our clock: dimail servers do not agree on how they write the time.
        return SignInCode(text(answer.content, "code"), self._clock() + expires_in, max_uses)

    async def add_alias(self, alias: Alias) -> bool:
        """Create an alias; False where it is there already."""
        wanted = {"user_name": alias.local_part, "destination": ascii_mailbox(alias.destination)}
        path = f"{_path(alias.domain)}/aliases/"
        answer = await self._server.ask("POST", path, wanted, token=True, fine=(CONFLICT,))
        return answer.status != CONFLICT

    async def delete_alias(self, alias: Alias) -> None:
        """Remove an alias."""
        names = f"{_quoted(alias.local_part)}/{_quoted(ascii_mailbox(alias.destination))}"
        path = f"{_path(alias.domain)}/aliases/{names}"
        await self._server.ask("DELETE", path, token=True, fine=(NOT_FOUND,))


# -- what is asked -----------------------------------------------------------------------------------------------


def _path(domain: str) -> str:
    return f"/domains/{ascii_host(domain)}"


def _mailbox(mailbox: Mailbox) -> str:
    return f"{_path(mailbox.domain)}/mailboxes/{_quoted(mailbox.local_part)}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _names(mailbox: Mailbox) -> dict[str, str]:
    return {
        "givenName": mailbox.first_name,
        "surName": mailbox.last_name,
        "displayName": mailbox.display_name,
    }


def _context(name: str) -> str:
    """Return the name of a context as the server has it: mostly it is that of a domain."""
    try:
        return ascii_host(parse_domain(name))
    except ValueError:
        return name


# -- what is answered --------------------------------------------------------------------------------------------


def _compare_context(domain: Domain, content: Any) -> None:
    """Raise Refused where the server has the domain in another context; it names none without webmail."""
    context = content.get("context_name") if isinstance(content, dict) else None
    if isinstance(context, str) and _context(context) != _context(domain.context):
        raise Refused(f"The dimail server has {domain.name} in another context than {domain.context}.")


def records_in(content: Any) -> Sequence[Record]:
    """Return the records that an answer lists. Raises Unreachable where it makes no sense."""
    if not isinstance(content, list):
        raise misunderstood()
    return [Record(text(each, "target"), text(each, "type").lower(), text(each, "value")) for each in content]


def checks_in(content: Any) -> Mapping[str, DomainCheck]:
    """Return the internal checks that an answer tells of. Raises Unreachable where it makes no sense."""
    if not isinstance(content, dict) or "postfix" not in content:
        raise misunderstood()
    return {name: _check_in(content[name]) for name in _INTERNAL if name in content}


def _check_in(content: Any) -> DomainCheck:
    match content:
        case {"ok": True}:
            return DomainCheck(internal=True)
        case {"ok": False, "errors": list(errors)}:
            return DomainCheck(internal=True, faults=tuple(map(_fault_in, errors)) or (_UNEXPLAINED,))
    raise misunderstood()


def _fault_in(content: Any) -> Fault:
    return Fault(printable(text(content, "code")), printable(text(content, "detail")))
