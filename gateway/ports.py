"""What the core needs from outside. ``storage`` and ``protocols`` provide it, ``api/main.py`` puts it together.

Every store method raises Unavailable when the database does not answer. A write has reached a majority of the
database's members and their journals before its method returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from gateway.delivery import Reply
from gateway.identity import Credentials, Endpoint, UserIdentity
from gateway.message import Message
from gateway.user import Tokens, User

Clock = Callable[[], datetime]
"""Returns the time now, UTC, in whole milliseconds: what the database keeps and the contract shows."""


def system_clock() -> datetime:
    """Return the time now, UTC, cut to milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True)
class Page:
    """A cut out of a list."""

    limit: int = 50
    offset: int = 0


# -- stores ------------------------------------------------------------------------------------------------------


class Users(Protocol):
    """The gateway's users and their password hashes."""

    async def add(self, user: User, password_hash: str, first_identity: UserIdentity) -> None:
        """Store the user and the first identity: both or neither. Raises Conflict when the name is taken."""

    async def get(self, user_id: str) -> User:
        """Return a user. Raises NotFound."""

    async def find(self, username: str) -> tuple[User, str] | None:
        """Return the user of that name, compared without case, with the password hash."""


class TokenStore(Protocol):
    """Hashes of tokens. ``user_of`` is asked at every request."""

    async def add(self, user_id: str, tokens: Tokens) -> None:
        """Store a pair of tokens."""

    async def user_of(self, access_token: str, now: datetime) -> str | None:
        """Return the user_id whose unexpired access token that is, or None."""


class Identities(Protocol):
    """The UserIdentities. Deleted ones are never returned."""

    async def add(self, identity: UserIdentity, credentials: Credentials) -> None:
        """Store an identity. Raises Conflict when the user has its identifier and protocol already."""

    async def get(self, user_id: str, identity_id: str) -> UserIdentity:
        """Return an identity of the user. Raises NotFound."""

    async def list(
        self, user_id: str, filters: Mapping[str, str], page: Page
    ) -> tuple[int, Sequence[UserIdentity]]:
        """Return how many there are and a page of them, oldest first. ``filters``: type, status, protocol."""

    async def credentials(self, user_id: str, identity_id: str) -> Credentials:
        """Return the decrypted credentials, empty where there are none. Raises NotFound."""

    async def record_check(
        self, identity: UserIdentity, at: datetime, changes: Mapping[str, str | None]
    ) -> UserIdentity:
        """Store the end of a check: ``last_check`` and worker-managed ``infos`` (None removes a key).

        Touches nothing that a client may set. Returns the identity as it is now. Raises NotFound.
        """


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages to list; None means any."""

    is_draft: bool | None = None
    discussion_id: str | None = None
    identity_id: str | None = None


class Messages(Protocol):
    """The messages with their deliveries: one document each, so that every change of state is one atomic write."""

    async def add(self, message: Message, fingerprint: str) -> str | None:
        """Store a new message. Where the user has one of that id, change nothing and return its fingerprint."""

    async def get(self, user_id: str, message_id: str) -> Message:
        """Return a message of the user. Raises NotFound."""

    async def list(self, user_id: str, where: MessageFilter, page: Page) -> tuple[int, Sequence[Message]]:
        """Return how many there are and a page of them, newest ``date_sort`` first."""

    async def order(self, message: Message) -> bool:
        """Store an order (``message.delivery`` and what it fixed) if the draft is still of that version.

        Atomic: of two orders one gets True, and no change of the draft slips between. False changes nothing.
        """

    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Message]:
        """Take up to ``limit`` messages whose ``due_at`` has come, longest due first, for ``owner``.

        Each belongs to this owner alone until ``now + lease``. What was queued is in state sending from here on;
        the attempt that begins with the claim is counted.
        """

    async def renew(self, held: Collection[tuple[str, Message]], until: datetime) -> None:
        """Extend the leases of these messages, each if its owner still holds it."""

    async def record(self, owner: str, message: Message, *, keep: bool = False) -> bool:
        """Store ``message.delivery``, if the owner still holds the message; ``keep``: and goes on holding it.

        False when the lease was lost: then another owner has it and nothing is changed.
        """

    async def release(self, held: Collection[tuple[str, Message]], now: datetime) -> None:
        """Hand these messages back, due at once, each if its owner still holds it."""


class Raws(Protocol):
    """RFC 5322 bytes of ordered messages."""

    async def put(self, user_id: str, raw_msg_id: str, raw: bytes) -> None:
        """Store the bytes under a fresh id."""

    async def get(self, user_id: str, raw_msg_id: str) -> bytes:
        """Return the bytes. Raises NotFound."""

    async def delete(self, user_id: str, raw_msg_id: str) -> None:
        """Remove the bytes, if they are there."""


class Health(Protocol):
    """Whether the database answers."""

    async def ping(self) -> None:
        """Ask the database for a sign of life. Raises Unavailable."""


# -- the outside world of mail -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Envelope:
    """RFC 5321 §2.3.1: who sends and who shall get it. ``smtputf8`` where an address needs RFC 6531."""

    sender: str
    recipients: Sequence[str]
    smtputf8: bool = False


class Submitter(Protocol):
    """Sends messages, as SMTP does."""

    async def submit(self, endpoint: Endpoint, envelope: Envelope, data: bytes) -> Mapping[str, Reply]:
        """Offer a message to a server; return its answer for every recipient.

        ``data`` is RFC 5322 with CRLF lines. Raises RemoteError where nobody got it and no recipient is to blame.
        """

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Do what sending needs short of a message: connect, TLS, sign in. Raises RemoteError."""


class Mailbox(Protocol):
    """Keeps messages, as IMAP does."""

    async def file_sent(self, endpoint: Endpoint, raw: bytes, at: datetime) -> str:
        r"""Put a copy, flagged ``\Seen``, into the Sent folder; return the folder's name. Raises RemoteError."""

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Connect, TLS, sign in, look at INBOX and for Sent; return worker-managed ``infos``.

        Raises RemoteError.
        """


@dataclass(frozen=True, slots=True)
class Adapter:
    """How the identities of one protocol reach the outside. Without a mailbox no sent copy is filed."""

    submitter: Submitter
    mailbox: Mailbox | None = None


@dataclass(frozen=True, slots=True)
class Outside:
    """Adapters by the identities' protocol, and the relay for local identities."""

    adapters: Mapping[str, Adapter]
    relay: Endpoint = field(repr=False)


# -- the rest ----------------------------------------------------------------------------------------------------


class PasswordHasher(Protocol):
    """Slow, salted password hashes."""

    async def hash(self, password: str) -> str:
        """Return a hash to store."""

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """True when the password fits. None (no such user) takes as long and is never true."""


class Meter(Protocol):
    """Counts what the workers do."""

    def attempt(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count one attempt to send; outcome: sent, queued, failed or lost (its lease, to another worker)."""

    def check(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count one check of an identity; outcome: ok or failed."""
