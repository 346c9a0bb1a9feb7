"""Who may do what on a domain: one table, which the use cases enforce and the tests are driven by."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum

from gateway.errors import Forbidden, NotFound


class Role(StrEnum):
    """What a user is to a domain. Each may all that the one before may."""

    VIEWER = "viewer"
    ADMINISTRATOR = "administrator"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        """0 for the lowest."""
        return list(Role).index(self)


class Action(Enum):
    """What is done to a domain."""

    SEE_DOMAIN = "see the domain"
    SEE_ACCESSES = "see who manages it"
    SEE_MAILBOXES = "see its mailboxes"
    SEE_ALIASES = "see its aliases"
    CHECK = "have it checked"
    CHANGE_DOMAIN = "change or disable it"
    SEE_INVITATIONS = "see its invitations"
    REVOKE_INVITATION = "take back an invitation"
    CREATE_MAILBOX = "create a mailbox"
    CHANGE_MAILBOX = "change a mailbox"
    DELETE_MAILBOX = "delete a mailbox"
    DISABLE_MAILBOX = "disable a mailbox"
    ENABLE_MAILBOX = "enable a mailbox"
    RESET_PASSWORD = "reset a mailbox's password"  # noqa: S105 - it is none
    SEND_LOGIN_LINK = "send a mailbox's sign-in link"
    CREATE_ALIAS = "create an alias"
    DELETE_ALIAS = "delete an alias"


ALLOWED: Mapping[Action, Role] = {
    Action.SEE_DOMAIN: Role.VIEWER,
    Action.SEE_ACCESSES: Role.VIEWER,
    Action.SEE_MAILBOXES: Role.VIEWER,
    Action.SEE_ALIASES: Role.VIEWER,
    Action.CHECK: Role.ADMINISTRATOR,
    Action.CHANGE_DOMAIN: Role.OWNER,
    Action.SEE_INVITATIONS: Role.ADMINISTRATOR,
    Action.REVOKE_INVITATION: Role.ADMINISTRATOR,
    Action.CREATE_MAILBOX: Role.ADMINISTRATOR,
    Action.CHANGE_MAILBOX: Role.ADMINISTRATOR,
    Action.DELETE_MAILBOX: Role.ADMINISTRATOR,
    Action.DISABLE_MAILBOX: Role.ADMINISTRATOR,
    Action.ENABLE_MAILBOX: Role.ADMINISTRATOR,
    Action.RESET_PASSWORD: Role.ADMINISTRATOR,
    Action.SEND_LOGIN_LINK: Role.ADMINISTRATOR,
    Action.CREATE_ALIAS: Role.ADMINISTRATOR,
    Action.DELETE_ALIAS: Role.ADMINISTRATOR,
}
"""The lowest role that may."""

OF_ONES_OWN = frozenset({Action.CHANGE_MAILBOX, Action.SEND_LOGIN_LINK})
"""What anybody with a role may do to the mailbox that is one's own."""

CHANGES: Mapping[tuple[Role | None, Role | None], Role] = {
    (None, Role.VIEWER): Role.ADMINISTRATOR,
    (None, Role.ADMINISTRATOR): Role.ADMINISTRATOR,
    (None, Role.OWNER): Role.OWNER,
    (Role.VIEWER, Role.ADMINISTRATOR): Role.ADMINISTRATOR,
    (Role.VIEWER, Role.OWNER): Role.OWNER,
    (Role.ADMINISTRATOR, Role.VIEWER): Role.OWNER,
    (Role.ADMINISTRATOR, Role.OWNER): Role.OWNER,
    (Role.OWNER, Role.VIEWER): Role.OWNER,
    (Role.OWNER, Role.ADMINISTRATOR): Role.OWNER,
    (Role.VIEWER, None): Role.ADMINISTRATOR,
    (Role.ADMINISTRATOR, None): Role.OWNER,
    (Role.OWNER, None): Role.OWNER,
}
"""The lowest role that may change somebody's role from the first to the second; None is no role.

An invitation is a change from None. Everybody may give up his own role.
"""


def require(role: Role | None, action: Action, *, ones_own: bool = False) -> None:
    """Raise NotFound where there is no role at all: the domain is not told of; Forbidden where it is too low.

    ``ones_own``: it is done to one's own mailbox.
    """
    _see(role)
    if not (ones_own and action in OF_ONES_OWN):
        _reach(role, ALLOWED[action], action.value)


def require_change(role: Role | None, before: Role | None, after: Role | None, *, ones_own: bool = False) -> None:
    """Raise NotFound or Forbidden unless ``role`` may change a role so. ``ones_own``: it is one's own."""
    _see(role)
    if before is not after and not (ones_own and after is None):
        _reach(role, CHANGES[before, after], "change this role so")


def _see(role: Role | None) -> None:
    if role is None:
        raise NotFound("There is no such domain.")


def _reach(role: Role | None, lowest: Role, what: str) -> None:
    if role is None or role.rank < lowest.rank:
        raise Forbidden(f"To {what} takes the role {lowest} on this domain.")
