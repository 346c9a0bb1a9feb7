"""Who may do what on a domain: the table, held against what was promised of each role."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.errors import Forbidden, NotFound
from gateway.roles import ALLOWED, CHANGES, OF_ONES_OWN, Action, Role, require, require_change

VIEWER, ADMINISTRATOR, OWNER = Role
EVERYBODY = (VIEWER, ADMINISTRATOR, OWNER)
MANAGERS = (ADMINISTRATOR, OWNER)
OWNERS = (OWNER,)

WHO = {
    Action.SEE_DOMAIN: EVERYBODY,
    Action.SEE_ACCESSES: EVERYBODY,
    Action.SEE_MAILBOXES: EVERYBODY,
    Action.SEE_ALIASES: EVERYBODY,
    Action.CHECK: MANAGERS,
    Action.CHANGE_DOMAIN: OWNERS,
    Action.SEE_INVITATIONS: MANAGERS,
    Action.REVOKE_INVITATION: MANAGERS,
    Action.CREATE_MAILBOX: MANAGERS,
    Action.CHANGE_MAILBOX: MANAGERS,
    Action.DELETE_MAILBOX: MANAGERS,
    Action.DISABLE_MAILBOX: MANAGERS,
    Action.ENABLE_MAILBOX: MANAGERS,
    Action.RESET_PASSWORD: MANAGERS,
    Action.SEND_LOGIN_LINK: MANAGERS,
    Action.CREATE_ALIAS: MANAGERS,
    Action.DELETE_ALIAS: MANAGERS,
}
WHO_CHANGES = {
    # gives access, and invites
    (None, VIEWER): MANAGERS,
    (None, ADMINISTRATOR): MANAGERS,
    (None, OWNER): OWNERS,
    # raises
    (VIEWER, ADMINISTRATOR): MANAGERS,
    (VIEWER, OWNER): OWNERS,
    (ADMINISTRATOR, OWNER): OWNERS,
    # lowers
    (ADMINISTRATOR, VIEWER): OWNERS,
    (OWNER, VIEWER): OWNERS,
    (OWNER, ADMINISTRATOR): OWNERS,
    # removes
    (VIEWER, None): MANAGERS,
    (ADMINISTRATOR, None): OWNERS,
    (OWNER, None): OWNERS,
}
CALLERS = (None, *Role)


def test_complete() -> None:
    """The table has every action, and every change of a role to another one."""
    assert ALLOWED.keys() == set(Action) == WHO.keys()
    changes = {(before, after) for before, after in product(CALLERS, CALLERS) if before is not after}
    assert CHANGES.keys() == changes == WHO_CHANGES.keys()


def test_ranks() -> None:
    """Each role may all that the one before may."""
    assert [role.rank for role in (VIEWER, ADMINISTRATOR, OWNER)] == [0, 1, 2]


@pytest.mark.parametrize("ones_own", [False, True])
@pytest.mark.parametrize(("role", "action"), list(product(CALLERS, Action)))
def test_action(role: Role | None, action: Action, ones_own: bool) -> None:
    """Who has no role is not told that there is a domain; a role too low is told so.

    A mailbox of one's own may be changed, and its sign-in link sent, by anybody with a role.
    """
    if role is None:
        with pytest.raises(NotFound):
            require(role, action, ones_own=ones_own)
    elif role in WHO[action] or (ones_own and action in {Action.CHANGE_MAILBOX, Action.SEND_LOGIN_LINK}):
        require(role, action, ones_own=ones_own)
    else:
        with pytest.raises(Forbidden):
            require(role, action, ones_own=ones_own)


def test_of_ones_own() -> None:
    """No other action is open to the user of a mailbox."""
    assert frozenset({Action.CHANGE_MAILBOX, Action.SEND_LOGIN_LINK}) == OF_ONES_OWN


@pytest.mark.parametrize(("role", "before", "after"), list(product(CALLERS, CALLERS, CALLERS)))
def test_change(role: Role | None, before: Role | None, after: Role | None) -> None:
    """Roles are changed by who may; leaving one as it is needs no more than to see the domain."""
    if role is None:
        with pytest.raises(NotFound):
            require_change(role, before, after)
    elif before is after or role in WHO_CHANGES[before, after]:
        require_change(role, before, after)
    else:
        with pytest.raises(Forbidden):
            require_change(role, before, after)


@pytest.mark.parametrize("role", list(Role))
def test_giving_up(role: Role) -> None:
    """Anyone may give up his own access, and change it no further than he may change that of others."""
    require_change(role, role, None, ones_own=True)
    for after in Role:
        if after is role or role in WHO_CHANGES[role, after]:
            require_change(role, role, after, ones_own=True)
        else:
            with pytest.raises(Forbidden):
                require_change(role, role, after, ones_own=True)
