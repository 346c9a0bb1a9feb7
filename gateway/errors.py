"""Everything that can go wrong, as one closed tree.

Library errors are turned into these where they are raised, with ``from``; nothing above an adapter catches
anything else. ``api/problems.py`` holds the one table from these classes to HTTP statuses, and
``api/commands/frame.py`` the one from :class:`StartError` to exit codes.

::

    GatewayError
    ├── StartError                 the process cannot start
    │   └── ConfigurationError     … because its configuration is wrong
    ├── RequestError               the caller can mend it
    │   ├── Malformed              not JSON, or not an object
    │   ├── TooSlow                a body that does not come to its end
    │   ├── NotAuthenticated       no credentials, or wrong ones
    │   ├── NotFound               there is no such thing, or it is not the caller's
    │   ├── UnsupportedMedia       a body of another media type
    │   ├── TooLarge               a body over the limit
    │   ├── Invalid                well-formed, but it breaks a rule
    │   ├── Forbidden              the rules do not let this caller do that
    │   ├── Conflict               it contradicts what is stored
    │   ├── Stale                  it is meant for another version than the stored one
    │   └── TooOften               it was tried too often; temporary
    │       └── Full               … and there is no room for more, however long one waits
    ├── Unavailable                the database is away; temporary
    └── RemoteError                a mail server did not do what we asked
        ├── Unreachable            no connection, or it broke or timed out; temporary
        │   └── Unanswered         … when the server had the whole message, which it may have taken
        ├── Untrusted              its certificate does not verify; temporary
        ├── Insecure               it offers no TLS where TLS is required; temporary
        ├── Deferred               it said "later" (4yz); temporary
        ├── Refused                it said "never" (5yz, NO)
        ├── SignInRefused          it does not take these credentials
        ├── HostRefused            our own rules forbid to connect to it
        └── CheckFailed            some of an account's servers failed a check, each for one of these reasons
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class GatewayError(Exception):
    """The root. ``str(error)`` is safe to show to a client: it holds no secret."""

    temporary = False
    """True when the same call may succeed later without anybody changing anything."""


class StartError(GatewayError):
    """The process cannot start; the text says what to do about it."""


class ConfigurationError(StartError):
    """The configuration is wrong; the text lists every mistake with its key."""


class RequestError(GatewayError):
    """The caller asked for something that cannot be done as asked."""


class Malformed(RequestError):
    """The body is not JSON, is empty, or is not an object."""


class TooSlow(RequestError):
    """The body did not come in time."""


class NotAuthenticated(RequestError):
    """Credentials are missing, wrong, expired or revoked: which of these is not told."""


class NotFound(RequestError):
    """There is no such thing, or it belongs to somebody else: which of these is not told."""


class UnsupportedMedia(RequestError):
    """The body's media type is not one that this operation takes."""


class TooLarge(RequestError):
    """The body is over the configured limit."""


class Invalid(RequestError):
    """The request is well-formed and breaks a rule.

    ``errors`` maps dotted field paths to lists of messages; it is empty where no single field is to blame.
    """

    def __init__(self, message: str, errors: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(message)
        self.errors = dict(errors or {})


class Forbidden(RequestError):
    """The rules do not let this caller do that to this thing, in the state it is in."""


class Conflict(RequestError):
    """The request contradicts what is stored."""


class Stale(RequestError):
    """The request is meant for another version of the thing than the one that is stored."""


class TooOften(RequestError):
    """It was tried too often, or there is too much of it.

    ``retry_after`` is in seconds.
    """

    temporary = True

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Full(TooOften):
    """There is no room for more, until somebody deletes something or raises the limit."""

    temporary = False

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=3600)  # so that no client goes on asking; docs/decisions/0016


class Unavailable(GatewayError):
    """The database does not answer.

    ``retry_after`` is in seconds.
    """

    temporary = True

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RemoteError(GatewayError):
    """A mail server did not do what we asked.

    ``code`` is its SMTP reply code where it gave one (RFC 5321 §4.2), ``reply`` its text, made printable.
    """

    nothing_done = False
    """True when it is certain that the server has not done what we asked, and will not."""

    def __init__(
        self, message: str, *, code: int | None = None, reply: str = "", nothing_done: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reply = reply
        self.nothing_done = nothing_done or self.nothing_done


class Unreachable(RemoteError):
    """No connection, or it broke, or an answer did not come in time."""

    temporary = True


class Unanswered(Unreachable):
    """The server had the whole message and its answer did not come: nobody knows whether it took it (RFC 1047)."""


class Untrusted(RemoteError):
    """The server's certificate does not verify. Temporary, because certificates are renewed."""

    temporary = True
    nothing_done = True


class Insecure(RemoteError):
    """The server offers no TLS where TLS is required.

    Temporary, because somebody on the path can strip the offer: a message must not fail for that.
    """

    temporary = True


class Deferred(RemoteError):
    """The server said "not now" (4yz)."""

    temporary = True


class Refused(RemoteError):
    """The server said "no" for good (5yz, or NO in IMAP)."""

    nothing_done = True


class SignInRefused(RemoteError):
    """The server does not take these credentials."""

    nothing_done = True


class HostRefused(RemoteError):
    """Our own rules forbid a connection to this host or port."""


class CheckFailed(RemoteError):
    """Servers of an account failed a check.

    ``errors`` maps ``inserver`` and ``outserver`` to what is wrong there.
    """

    def __init__(self, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__(" ".join(message for messages in errors.values() for message in messages))
        self.errors = dict(errors)
