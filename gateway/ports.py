"""What the core needs from outside. ``storage`` and ``protocols`` provide it, ``api/main.py`` puts it together.

Every store method raises Unavailable when the database does not answer. A write has reached a majority of the
database's members and their journals before its method returns.
"""

from __future__ import annotations

import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

from gateway.api_client import Allow, ApiClient
from gateway.delivery import Reply
from gateway.domain import DkimKey, Domain, DomainCheck, Record
from gateway.health import Finding, PastCheck
from gateway.identity import Credentials, Endpoint, UserIdentity
from gateway.invitation import Invitation
from gateway.mailbox import Alias, Mailbox
from gateway.message import Message
from gateway.notice import Notice
from gateway.proposal import Proposal
from gateway.roles import Role
from gateway.user import Tokens, User

Item = TypeVar("Item")

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


@dataclass(frozen=True, slots=True)
class Portions(Generic[Item]):
    """What is on a page of things that may be large: some at once, the others to be read a few at a time.

    ``rest`` is read once; None: there is nothing more. Until the next portion is asked for, or ``rest`` is closed,
    a portion has memory that others may wait for. Its list is the reader's, to be emptied. What is deleted
    meanwhile is left out.
    """

    first: list[Item]
    rest: AsyncGenerator[list[Item], None] | None = None

    async def __aiter__(self) -> AsyncIterator[Item]:
        """Yield all of it, one by one."""
        for item in self.first:
            yield item
        if self.rest:
            async with aclosing(self.rest) as portions:
                async for portion in portions:
                    for item in portion:
                        yield item


# -- stores ------------------------------------------------------------------------------------------------------


class Users(Protocol):
    """The gateway's users and their password hashes."""

    async def add(self, user: User, password_hash: str, first_identity: UserIdentity) -> None:
        """Store the user and the first identity: both or neither. Raises Conflict when the name is taken."""

    async def get(self, user_id: str) -> User:
        """Return a user. Raises NotFound."""

    async def find(self, username: str) -> tuple[User, str] | None:
        """Return the user of that name, compared without case, with the password hash."""

    async def is_taken(self, username: str) -> bool:
        """True when a user has or had that name, compared without case."""

    async def names(self, user_ids: Collection[str]) -> Mapping[str, str]:
        """Return the names of these users, as far as they are there, by user_id."""

    async def issue(self, user_id: str, password_hash: str, tokens: Tokens, most: int = sys.maxsize) -> bool:
        """Store a pair of tokens if the user is there and has this password hash still; True if so. Atomic.

        Of more than ``most`` pairs the oldest are void.
        """

    async def renew(self, refresh_token: str, tokens: Tokens, now: datetime) -> User | None:
        """Replace the pair of an unexpired refresh token; return whose it is, or None. Atomic."""

    async def change(self, before: User, after: User) -> bool:
        """Store display name and recovery address if they are still as before; True when they were. Atomic."""

    async def change_password(self, before: User, after: User, hashes: tuple[str, str], access_token: str) -> bool:
        """As change(), with the password hash, old and new; voids all tokens but the pair of ``access_token``."""

    async def check_leaving(self, user_id: str) -> None:
        """Raise Conflict where a domain would be left without an owner by the user's deletion."""

    async def retire(self, before: User, password_hash: str, erase_again_at: datetime) -> bool:
        """Remove the user and its roles, keep the name from being given again, void all tokens, note an Erasure.

        All of it or nothing. False, and nothing changed, when the user is no longer as before. Raises Conflict
        where a domain would be left without an owner.
        """


class TokenStore(Protocol):
    """The tokens that are valid. ``user_of`` is asked at every request."""

    async def user_of(self, access_token: str, now: datetime) -> str | None:
        """Return the user_id whose unexpired access token that is, or None.

        What was revoked, in whichever process, less than a second ago may still be found.
        """

    async def revoke(self, access_token: str) -> None:
        """Void the access token and its refresh token."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A leaky bucket of ``size`` attempts that loses one every ``drip``; of a name, a source, or a pair of them."""

    name: str
    source: str
    size: int
    drip: timedelta


class Attempts(Protocol):
    """How often something was tried, in all processes together. A crash of the database may lose some of it."""

    async def charge(self, buckets: Sequence[Bucket], now: datetime) -> timedelta:
        """Count an attempt in each if all have room; return how long until they have, zero if counted.

        Each by itself is atomic: of two attempts that come at once, the one that is refused may refuse the other.
        """

    async def refund(self, buckets: Sequence[Bucket]) -> None:
        """Take back one attempt of each."""

    async def remember(self, name: str, source: str, until: datetime) -> None:
        """Keep in mind that this name signed in from this source."""

    async def knows(self, name: str, source: str, now: datetime) -> bool:
        """True when that was kept in mind until a time that is to come."""

    async def forget(self, name: str) -> None:
        """Remove all that was kept of that name."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a counter: to go up by ``amount``, from ``floor`` at least, and to ``ceiling`` at most."""

    amount: int
    ceiling: int
    floor: int = 0


class Usage(Protocol):
    """What each user takes up, in all processes together: whole numbers by name, see ``gateway/quota.py``."""

    async def take(self, user_id: str, demands: Mapping[str, Demand], now: datetime) -> bool:
        """Let these counters go up, all or none; False where one would pass its ceiling or is missing. Atomic."""

    async def give_back(self, user_id: str, amounts: Mapping[str, int], now: datetime) -> None:
        """Let these counters go down again."""

    async def recount(self, user_id: str, now: datetime) -> None:
        """Set ``bytes`` to what the user's messages take up, unless some counter has moved a short while ago.

        Make the counters where there are none.
        """

    async def counters(self, user_id: str) -> Mapping[str, int]:
        """Return the counters, empty where there are none."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """A user who has gone and whose data has to go too."""

    user_id: str


class Erasures(Protocol):
    """What is still to be erased."""

    async def erase(self, user_id: str) -> None:
        """Remove all that belongs to the user. What was cut off goes on where it is called again."""

    async def done(self, owner: str, erasure: Erasure) -> None:
        """Forget the user, too, if the owner still holds the erasure."""


@dataclass(frozen=True, slots=True)
class Round:
    """A walk through the keys of all bytes of a kind, in their order; it goes on after the key ``after``."""

    kind: str
    after: str


class Leftovers(Protocol):
    """Bytes that no message names."""

    async def remove(self, round_: Round, before: datetime) -> tuple[int, str]:
        """Remove those of the next batch that were stored before then.

        Return how many, and the key that was reached; empty at the end of the round.
        """

    async def go_on(self, owner: str, round_: Round, due_at: datetime) -> None:
        """Store how far a round has got and when it goes on, if the owner still holds it."""


class Identities(Protocol):
    """The UserIdentities. Deleted ones are never returned."""

    async def add(self, identity: UserIdentity, credentials: Credentials, *, most: int = sys.maxsize) -> None:
        """Store an identity. Atomic: of several at once no more get in than the user may have remote ones.

        Raises Conflict when the user has its identifier and protocol already, Full when there are ``most`` of them.
        """

    async def get(self, user_id: str, identity_id: str) -> UserIdentity:
        """Return an identity of the user. Raises NotFound."""

    async def list(
        self, user_id: str, filters: Mapping[str, str], page: Page
    ) -> tuple[int, Portions[UserIdentity]]:
        """Return how many there are and a page of them, oldest first. ``filters``: type, status, protocol."""

    async def identifiers(self, user_id: str) -> Collection[str]:
        """Return the identifiers of the user's identities."""

    async def with_credentials(self, user_id: str, identity_id: str) -> tuple[UserIdentity, Credentials]:
        """Return an identity of the user with its decrypted credentials. Raises NotFound."""

    async def change(
        self, before: UserIdentity, after: UserIdentity, credentials: Credentials | None, *, exactly: bool
    ) -> bool:
        """Store what ``after`` changes, and the credentials unless None, if no client changed it since ``before``.

        ``exactly``: and no worker either. Atomic. False, and nothing changed, when somebody did, or it is deleted.
        """

    async def delete(self, identity: UserIdentity, *, exactly: bool) -> bool:
        """Mark it deleted and destroy its credentials, at once. Raises NotFound.

        ``exactly``: if nobody changed it since it was read; False, and nothing changed, when somebody did.
        """

    async def record_check(self, before: UserIdentity, after: UserIdentity) -> bool:
        """Store what a check made of an identity, if no client has changed it since; True when none had. Atomic."""

    async def check_now(self, identity: UserIdentity, now: datetime) -> None:
        """Let a worker check the identity at once, if workers check it."""

    async def backlog(self, now: datetime, most: int) -> tuple[int, UserIdentity | None]:
        """Return how many checks are due, counted up to ``most``, and the identity that has waited longest."""

    async def addresses(self, user_id: str) -> Sequence[str]:
        """Return the identifiers of the user's active local identities."""

    async def owner(self, identifier: str) -> str | None:
        """Return the user_id whose active local identity has that identifier."""


class History(Protocol):
    """How checks ended, for 30 days."""

    async def add(self, identity: UserIdentity, finding: Finding) -> None:
        """Note how a check ended."""

    async def list(
        self, user_id: str, identity_id: str, since: datetime | None, page: Page
    ) -> tuple[int, Sequence[PastCheck]]:
        """Return how many checks there were since then and a page of them, newest first."""

    async def forget(self, identity: UserIdentity) -> None:
        """Remove what was noted of an identity."""


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages to list; None means any."""

    is_draft: bool | None = None
    discussion_id: str | None = None
    identity_id: str | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """How many pieces of work of one host a worker takes, how many it has already, and how many it can begin."""

    per_host: int = sys.maxsize
    busy: Mapping[str, int] = field(default_factory=dict)
    free: int = sys.maxsize

    def share(self, taken: int) -> int:
        """Return how many one host may have, when so many are taken: never more than are left for the others.

        So each further host that hangs gets half of what the ones before it have left, and some hosts together
        cannot have all.
        """
        return min(self.per_host, self.free - taken)


ROOM = Room()
"""Room for everything."""


class Messages(Protocol):
    """The messages with their deliveries: one document each, so that every change of state is one atomic write."""

    async def fingerprint(self, user_id: str, message_id: str) -> str | None:
        """Return the fingerprint of a message of the user that has reached a majority; None where there is none."""

    async def add(self, message: Message, fingerprint: str) -> str | None:
        """Store a new message. Where the user has one of that id, change nothing and return its fingerprint."""

    async def get(self, user_id: str, message_id: str) -> Message:
        """Return a message of the user. Raises NotFound.

        What others are writing may be seen before it has reached a majority, and be gone after a fault.
        """

    async def durable(self, user_id: str, message_id: str) -> Message:
        """As get(), but what is returned has reached a majority."""

    async def list(self, user_id: str, where: MessageFilter, page: Page) -> tuple[int, Portions[Message]]:
        """Return how many there are and a page of them, newest ``date_sort`` first."""

    async def save(self, message: Message) -> bool:
        """Store a draft, or the order that it has become, if it is still a draft and of that version.

        Atomic: of two changes or orders one gets True, and nothing slips between. False changes nothing.
        """

    async def cancel(self, message: Message) -> bool:
        """Take back an order of that version that no attempt has started; True when it was such a one. Atomic."""

    async def delete(self, message: Message) -> bool:
        """Remove a message that is of that version and not on its way; True when it was. Atomic."""

    async def mark_answered(self, user_id: str, message_id: str) -> None:
        """Note that the user has sent an answer to a message, if it is still there."""

    async def claim(
        self, owner: str, now: datetime, lease: timedelta, limit: int, room: Room = ROOM
    ) -> Sequence[Message]:
        """Take up to ``limit`` messages whose ``due_at`` has come, longest due first, for ``owner``.

        Those of a server for which there is no room are passed over.

        Each belongs to this owner alone until ``now + lease``. What was queued is in state sending from here on;
        the attempt that begins with the claim is counted. What was sending already, by a dead owner, is in doubt.
        """

    async def renew(self, held: Collection[tuple[str, Message]], until: datetime) -> None:
        """Extend the leases of these messages, each if its owner still holds it."""

    async def record(self, owner: str, message: Message, *, keep: bool = False) -> bool:
        """Store ``message.delivery``, if the owner still holds the message; ``keep``: and goes on holding it.

        False when the lease was lost: then another owner has it and nothing is changed. The same again is True.
        """

    async def release(self, held: Collection[tuple[str, Message]], now: datetime) -> None:
        """Hand these messages back, due at once, each if its owner still holds it; what was sending is in doubt."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to be read once, piece by piece; reading raises NotFound when they are removed meanwhile.

    ``size`` is how many they are, ``tag`` names them: no other bytes ever have it.
    """

    size: int
    pieces: AsyncIterator[bytes]
    tag: str


async def joined(first: bytes, rest: AsyncIterable[bytes] | None = None) -> AsyncIterator[bytes]:
    """Yield a piece, and what follows it."""
    yield first
    if rest is not None:
        async for piece in rest:
            yield piece


class Files(Protocol):
    """Files of any size. A path of identifiers, user first, says what each belongs to."""

    async def put(self, path: Sequence[str], pieces: AsyncIterable[bytes]) -> int:
        """Store a file under a fresh path, as its pieces come; return its size in bytes.

        Where the pieces end with an error there is no file, and what was written is removed.
        """

    async def read(self, path: Sequence[str]) -> Content:
        """Return a file. Raises NotFound."""

    async def delete(self, path: Sequence[str]) -> None:
        """Remove a file, or all files whose paths begin so, and what is left of unfinished ones."""


class Raws(Protocol):
    """RFC 5322 bytes of ordered messages."""

    async def put(self, user_id: str, message_id: str, raw_msg_id: str, pieces: AsyncIterable[bytes]) -> None:
        """Store the bytes of a message under a fresh id, as they come; none where they end with an error."""

    async def read(self, user_id: str, raw_msg_id: str) -> Content:
        """Return the bytes. Raises NotFound."""

    async def delete(self, user_id: str, raw_msg_id: str) -> None:
        """Remove the bytes, if they are there."""


class Domains(Protocol):
    """The domains that are hosted here, and who manages them."""

    async def add(
        self,
        domain: Domain,
        private_key: str,
        *,
        founding: bool = False,
        client: str | None = None,
        most: int = sys.maxsize,
    ) -> bool:
        """Store a domain with its DKIM key, in PEM, encrypted.

        Raises Conflict when the name is taken, Full when its owner has made ``most`` domains already. Atomic.

        ``founding``: as the first one of its context; False, and nothing stored, where another was first.
        ``client``: with the allow of that API client, both or neither; raises NotFound where there is no such one.
        """

    async def get(self, name: str) -> Domain:
        """Return a domain. Raises NotFound."""

    async def list(self, user_id: str | None, page: Page) -> tuple[int, Sequence[Domain]]:
        """Return how many domains the user has a role on (None: there are) and a page of them, by name."""

    async def of_context(self, context: str) -> Sequence[Domain]:
        """Return the domains that share a context."""

    async def save(self, before: Domain, after: Domain) -> bool:
        """Store what ``after`` changes of status, features, roles, records, the next check, context and ``ours``.

        If nobody has changed the domain since ``before`` was read; True when so. Atomic.
        """

    async def record_check(self, before: Domain, after: Domain) -> bool:
        """Store what a check made of a domain, unless it was changed or checked since ``before`` was read.

        True when it is stored. Where the domain is enabled after that, its mailboxes that wait are due at once. All
        of it or nothing.
        """

    async def make_ours(self, name: str) -> None:
        """Note that what the mail backend has of that name, from now on, is this domain."""

    async def private_key(self, name: str) -> str:
        """Return the DKIM key in PEM. Raises NotFound."""


class Invitations(Protocol):
    """Who is invited to manage a domain. Expired ones are never returned."""

    async def add(self, invitation: Invitation, notice: Notice | None) -> None:
        """Store an invitation, and that a mail is to tell of it, if one is: both or neither.

        Raises Conflict (the address is invited to that domain already, and that is not void).
        """

    async def list(self, domain: str, now: datetime, page: Page) -> tuple[int, Sequence[Invitation]]:
        """Return how many there are to a domain and a page of them, oldest first."""

    async def get(self, domain: str, invitation_id: str, now: datetime) -> Invitation:
        """Return an invitation. Raises NotFound."""

    async def delete(self, domain: str, invitation_id: str) -> None:
        """Take an invitation back. Raises NotFound."""

    async def set_token(self, invitation_id: str, token: str) -> bool:
        """Let this token, and no other, accept the invitation; stored is its hash.

        False when there is none, or it is void: who has invited could not give that role any more.
        """

    async def of_token(self, token: str, now: datetime) -> Invitation:
        """Return the invitation that the token accepts. Raises NotFound."""

    async def of_addresses(self, addresses: Collection[str], now: datetime) -> Sequence[Invitation]:
        """Return the invitations of these addresses."""

    async def accept(self, invitation: Invitation, user_id: str) -> Role:
        """Remove the invitation and give the user its role, unless there is a higher one already; return that.

        Both or neither. Raises NotFound (the invitation is gone, or is now, because who has invited may not give
        that role any more), Conflict (the domain has too many managers).
        """


class Mailboxes(Protocol):
    """The mailboxes of hosted domains. Local identities come and go with them, in the same transaction.

    A user who has the address as another identity already keeps that, and gets none of the mailbox; when that one
    is gone, the next change of the mailbox, such as enabling it, brings it.
    """

    async def add(self, domain: str, admit: Callable[[Domain], Mailbox], *, most: int = sys.maxsize) -> Mailbox:
        """Store the mailbox that ``admit`` makes of the domain as it is at that moment, and return it.

        ``admit`` may be called several times, and what it raises is raised. No change of the domain's status slips
        in between. Raises NotFound (no such domain), Conflict (there is a mailbox of that name), Full (there are
        ``most`` mailboxes).
        """

    async def get(self, domain: str, local_part: str) -> Mailbox:
        """Return a mailbox. Raises NotFound."""

    async def list(self, domain: str, page: Page) -> tuple[int, Sequence[Mailbox]]:
        """Return how many there are and a page of them, by local part."""

    async def save(self, before: Mailbox, after: Mailbox, notice: Notice | None = None) -> Mailbox | None:
        """Store a changed mailbox, if nobody has changed or claimed it since; return it as stored. All or nothing.

        One that comes to wait for its domain and finds it enabled is due at once. ``notice``: a mail about it that
        is to go out. None, and nothing changed, when somebody came before.
        """

    async def delete(self, mailbox: Mailbox) -> bool:
        """Remove a mailbox, if nobody has changed or claimed it since it was read; True when so."""

    async def claim(self, owner: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Mailbox]:
        """Take up to ``limit`` mailboxes whose creation at the backend is due; each such attempt is counted.

        Each is held from here on, until it is saved or, when the lease is over, claimed again.
        """

    async def renew(self, held: Collection[tuple[str, Mailbox]], until: datetime) -> None:
        """Extend the leases of these mailboxes, each if its owner still holds it."""

    async def release(self, held: Collection[tuple[str, Mailbox]], now: datetime) -> None:
        """Hand these mailboxes back, due at once, each if its owner still holds it."""


class Aliases(Protocol):
    """The aliases of hosted domains."""

    async def begin(self, alias: Alias, now: datetime, until: datetime) -> bool:
        """Store an alias that is being added until then; True where that was begun before, with an unknown end.

        Raises Conflict when it is there already, or is being added now.
        """

    async def add(self, alias: Alias) -> None:
        """Store an alias; one that was being added is there from now on."""

    async def give_up(self, alias: Alias, until: datetime, now: datetime, *, forget: bool) -> None:
        """Let an alias, if it is being added until then, not be added any more; ``forget``: and not be there."""

    async def get(self, domain: str, local_part: str, destination: str) -> Alias:
        """Return an alias. Raises NotFound."""

    async def list(self, domain: str, page: Page, local_part: str | None = None) -> tuple[int, Sequence[Alias]]:
        """Return how many aliases there are, of one local part where given, and a page of them, in order."""

    async def delete(self, alias: Alias) -> None:
        """Remove an alias. Raises NotFound."""


class Notices(Protocol):
    """Mails of the gateway's own that are to go out."""

    async def done(self, owner: str, notice: Notice) -> None:
        """Forget a notice, if the owner still holds it."""

    async def postpone(self, owner: str, notice: Notice, until: datetime) -> bool:
        """Let a notice be looked at again then, with its ``attempts`` and ``over``, if the owner still holds it.

        True when it does.
        """


class ApiClients(Protocol):
    """The clients of the dimail-compatible face, and which domains they are allowed on."""

    async def is_empty(self) -> bool:
        """True when there is no account at all."""

    async def add_first(self, client: ApiClient) -> bool:
        """Store an account if there is none at all; True when so. Of two at once one is the first."""

    async def add(self, client: ApiClient) -> None:
        """Store an account. Raises Conflict when the name is taken."""

    async def find(self, name: str) -> ApiClient | None:
        """Return the account of that name."""

    async def list(self) -> Sequence[ApiClient]:
        """Return all accounts, by name."""

    async def change(self, before: ApiClient, after: ApiClient) -> bool:
        """Store an account if it is still as before; True when so. Raises Conflict: no administrator is left."""

    async def delete(self, client: ApiClient) -> bool:
        """Remove an account with its allows if it is still so; True when it was. Raises Conflict as change()."""

    async def allow(self, allow: Allow) -> None:
        """Store an allow. Raises NotFound (no such account), Conflict (it is there already)."""

    async def is_allowed(self, allow: Allow) -> bool:
        """True when there is that allow."""

    async def allows(self, client: str | None, domain: str | None) -> Sequence[Allow]:
        """Return the allows, of one account or on one domain where given, in order."""

    async def disallow(self, allow: Allow) -> None:
        """Remove an allow. Raises NotFound."""


class Health(Protocol):
    """Whether the database answers, and may store more."""

    def has_room(self) -> bool:
        """Tell whether more may be stored; where not, new drafts, files and orders raise Unavailable."""

    async def ping(self) -> None:
        """Ask the database for a sign of life. Raises Unavailable."""


# -- the outside world of mail -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Envelope:
    """RFC 5321 §2.3.1: who sends and who shall get it.

    ``smtputf8`` where an address needs RFC 6531; then, and only then, the message is more than ASCII.
    """

    sender: str
    recipients: Sequence[str]
    smtputf8: bool = False


BeforeData = Callable[[Mapping[str, Reply]], Awaitable[None]]
"""Hears what a server says of each recipient before the message itself goes to those whom it takes.

What it raises keeps the message from going.
"""


class Submitter(Protocol):
    """Sends messages, as SMTP does."""

    async def submit(
        self, endpoint: Endpoint, envelope: Envelope, data: Content, before_data: BeforeData
    ) -> Mapping[str, Reply]:
        """Offer a message to a server; return its answer for every recipient.

        ``data`` is RFC 5322 with CRLF lines. ``before_data`` is called, once, if the server takes any recipient.

        Raises RemoteError where nobody got it and no recipient is to blame, Unanswered where somebody may have it;
        what ``before_data`` and the reading of the data raise.
        """

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Do what sending needs short of a message: connect, TLS, sign in. Raises RemoteError."""


ReadCopy = Callable[[], Awaitable[Content]]
"""Returns the bytes to be filed, to be read once; anew at each call. Raises NotFound, Unavailable."""


class MessageStore(Protocol):
    """Keeps messages, as IMAP does."""

    async def file_sent(self, endpoint: Endpoint, message_id: str, read: ReadCopy, at: datetime) -> str | None:
        r"""Put a copy, flagged ``\Seen``, into the Sent folder, unless it has that Message-ID already.

        ``read`` returns the copy anew at each call; ``at`` is the date of the message. Returns the folder's name,
        None where the provider files what is sent through it by itself. Raises RemoteError, and what ``read`` does.
        """

    async def has_sent(self, endpoint: Endpoint, message_id: str, at: datetime) -> bool | None:
        """Return whether a provider that files what is sent through it has it in Sent; None for any other.

        Raises RemoteError where it is known to be such a one and cannot be asked.
        """

    async def probe(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Connect, TLS, sign in, look at INBOX and for Sent; return worker-managed ``infos``.

        Raises RemoteError.
        """


class ServerFinder(Protocol):
    """Finds the servers of an address."""

    async def find(self, address: str) -> Sequence[Proposal]:
        """Return what there is to propose, in any order. An address has a domain, which is no literal."""


@dataclass(frozen=True, slots=True)
class SignInCode:
    """A secret that signs in to a mailbox, ``max_uses`` times before ``expires_at``."""

    code: str = field(repr=False)
    expires_at: datetime
    max_uses: int


class MailBackend(Protocol):
    """The servers that keep the mail of hosted domains. Every method raises RemoteError.

    What is done already is no error: each may be called again after an answer that was lost.
    """

    async def has_domain(self, name: str) -> bool:
        """True when there is a domain of that name, whoever had it hosted."""

    async def add_domain(self, domain: Domain) -> None:
        """Host a domain with its features; one that is there already has to be ours."""

    async def records(self, domain: Domain) -> Sequence[Record]:
        """Return the DNS records that the owner has to publish."""

    async def check(self, domain: Domain) -> Mapping[str, DomainCheck]:
        """Return how the internal checks end, by name."""

    async def repair(self, domain: Domain) -> None:
        """Try to mend what the internal checks found."""

    async def add_mailbox(self, mailbox: Mailbox) -> str | None:
        """Create a mailbox; return its password, or None where an earlier call has created this very one.

        Raises Conflict where one of that address is there that is another's, or of which nobody knows.
        """

    async def withdraw_mailbox(self, mailbox: Mailbox) -> None:
        """Remove what calls of add_mailbox() without an answer may have created. Raises Conflict as that one."""

    async def change_mailbox(self, mailbox: Mailbox) -> None:
        """Give a mailbox the names that it has here, and let it be in use if it is enabled here."""

    async def delete_mailbox(self, mailbox: Mailbox) -> None:
        """Remove a mailbox with its mail."""

    async def reset_password(self, mailbox: Mailbox) -> str:
        """Give a mailbox a new password; return it."""

    async def sign_in_code(self, mailbox: Mailbox, expires_in: timedelta, max_uses: int) -> SignInCode:
        """Return a new code that signs in to the mailbox."""

    async def add_alias(self, alias: Alias) -> bool:
        """Create an alias; False where it is there already."""

    async def delete_alias(self, alias: Alias) -> None:
        """Remove an alias."""


class DomainProbe(Protocol):
    """Looks at a domain from outside."""

    async def check(self, domain: Domain, records: Sequence[Record]) -> Mapping[str, DomainCheck]:
        """Return how the external checks end, by name: whether the domain's DNS has these records."""


DkimKeys = Callable[[], Awaitable[tuple[DkimKey, str]]]
"""Makes a DKIM key; returns its public half and the private one in PEM."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """How the identities of one protocol reach the outside. Without a mailbox no sent copy is filed."""

    submitter: Submitter
    mailbox: MessageStore | None = None


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


class ApiTokens(Protocol):
    """Signed statements of who an API client is. Raises Unavailable where the key is out of reach."""

    async def sign(self, client: ApiClient, until: datetime) -> str:
        """Return a token of this account, with its present password, that is good until then."""

    async def read(self, token: str, now: datetime) -> tuple[str, str] | None:
        """Return name and stamp of the account whose token it is; None where it is no good, or no more."""


class Meter(Protocol):
    """Counts what the workers do."""

    def attempt(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count one attempt to send; outcome: sent, queued, failed or lost (its lease, to another worker)."""

    def possible_duplicate(self) -> None:
        """Count a message that is sent again although an attempt that was cut off may have got through."""

    def check(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count one check of an identity, or of a domain as protocol domain; outcome: ok or failed."""
