"""Which servers a stored secret may go to: those that it was given for, and no others.

Whoever has an access token of a user can name other servers for an account, and shall not get its password by that:
nobody can read it. So what a patch does not bring along goes, after it, only

1. to a host to which it went before, or to another one under the same registrable domain, on whatever port;
2. in clear, only if it went there in clear before.

A secret counts as going where it would serve, whatever ``authtype`` is at the moment and whether or not there is a
user name: so these can be changed and changed back without it, and the servers in between cannot. Nothing is
remembered of what went where: a password that another one has replaced at a server has to be sent again to serve
there once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from gateway.domain import is_same_site
from gateway.errors import Invalid
from gateway.identity import AUTHTYPES, Credentials, Endpoint, TLSMode, directions, endpoint

_WORDS = {"accesstoken": "access token"}


@dataclass(frozen=True, slots=True)
class Account:
    """An account, as it is before or after a patch."""

    protocol: str
    infos: Mapping[str, str]
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class _Use:
    """A secret, by its key, and a server to which it goes."""

    key: str
    direction: str
    server: Endpoint


def check_entrusted(before: Account, after: Account, brought: Collection[str]) -> None:
    """See that secrets go where they may; ``brought`` are the keys of credentials that the patch has.

    Raises Invalid, which names server and secret.
    """
    known = list(_uses(before))
    errors: defaultdict[str, dict[str, None]] = defaultdict(dict)  # the keys are sentences, each once
    for use in _uses(after):
        if use.key not in brought and (fault := _fault(use, known)):
            setting, reason = fault
            for path in (f"infos.{use.direction}{setting}", f"credentials.{use.key}"):
                errors[path][f"Send the {_WORDS.get(use.key, 'password')} again: {reason}."] = None
    if errors:
        raise Invalid(
            "A stored password or token goes only to the servers that it was given for.",
            {path: list(sentences) for path, sentences in errors.items()},
        )


def _uses(account: Account) -> Iterator[_Use]:
    for direction in directions(account.protocol):
        with suppress(Invalid):  # stored when other servers could be named: nothing goes there
            server = endpoint(account.infos, account.credentials, direction)
            for authtype in AUTHTYPES:
                key = account.credentials.secret_key(direction, authtype)
                if account.credentials.values.get(key):
                    yield _Use(key, direction, server)


def _fault(use: _Use, known: Collection[_Use]) -> tuple[str, str] | None:
    """Return the setting that a stored secret does not stand, and why; None where it may go there."""
    servers = [each.server for each in known if each.key == use.key]
    there = [server.tls for server in servers if is_same_site(server.host, use.server.host)]
    if not there:
        return "server", f"the stored one was not given for {use.server.host}"
    if use.server.tls is TLSMode.NONE and TLSMode.NONE not in there:
        return "tls", "the stored one was not given to be sent without encryption"
    return None
