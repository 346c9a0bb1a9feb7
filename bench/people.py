"""Who uses the gateway in a measurement: users with identities, made by the use cases themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from api.main import Core
from gateway.compose import Wording
from gateway.connect import NewRemote
from gateway.identity import Credentials
from gateway.message import Participant
from gateway.ports import system_clock

PASSWORD = "a password of the bench"  # noqa: S105 - nobody else has this database
RECIPIENT = "friend@elsewhere.example"
BODY = ("A line of a letter that is neither short nor long.\r\n" * 40)[:1700]
"""Of a message of about 2 kB with its header."""
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Person:
    """A user with remote identities, and a token."""

    user_id: str
    access_token: str
    identity_ids: Sequence[str]

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers of this user's requests."""
        return {"Authorization": f"Bearer {self.access_token}", "Content-Type": "application/json"}


async def person(  # noqa: PLR0917 - read at the call by what they are
    core: Core, name: str, protocol: str, count: int, infos: Mapping[str, str], credentials: Mapping[str, str]
) -> Person:
    """Register a user with so many remote identities on the servers that ``infos`` names.

    Credentials may hold ``{identifier}``.
    """
    user = await core.accounts.register(name, PASSWORD, None, None, source="")
    _, tokens = await core.accounts.sign_in(name, PASSWORD, "")
    identity_ids = []
    for number in range(count):
        identifier = f"{name}-{number}@elsewhere.example"
        own = Credentials({key: value.format(identifier=identifier) for key, value in credentials.items()})
        new = NewRemote(protocol=protocol, identifier=identifier, infos=infos, credentials=own)
        identity_ids.append((await core.connect.add_remote(user.user_id, new)).identity_id)
    return Person(user.user_id, tokens.access_token, identity_ids)


async def drafts(core: Core, people: Sequence[Person], count: int) -> Sequence[tuple[str, str]]:
    """Write so many drafts, one identity after the other; return (user_id, message_id) of each."""
    senders = [(person.user_id, identity_id) for person in people for identity_id in person.identity_ids]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def write(number: int) -> tuple[str, str]:
        user_id, identity_id = senders[number % len(senders)]
        wording = Wording(
            identity_id=identity_id,
            subject=f"Letter {number}",
            body=BODY,
            participants=[Participant(RECIPIENT, "", "To")],
        )
        async with turn:
            return user_id, await core.compose.create(user_id, wording, message_id=None, fingerprint="")

    return await asyncio.gather(*map(write, range(count)))


async def orders(core: Core, people: Sequence[Person], count: int) -> None:
    """Order that so many new drafts are sent, in an hour."""
    later = system_clock() + timedelta(hours=1)
    turn = asyncio.Semaphore(_AT_ONCE)

    async def order(user_id: str, message_id: str) -> None:
        async with turn:
            await core.send.order(user_id, message_id, later)

    await asyncio.gather(*(order(*draft) for draft in await drafts(core, people, count)))
