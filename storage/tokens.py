"""Access and refresh tokens, as hashes; the database removes expired pairs by itself.

The tokens are 256 random bits, so a plain SHA-256 is enough: there is nothing to guess that a slow hash would slow.

An access token is shown with every request, and asking the database each time would double what a request costs.
So those in use are kept warm: a token counts as valid without asking while the database has confirmed it, asked
less than ``_TRUSTED_S`` ago, and all that are in use are confirmed again, by one question, every ``_CONFIRM_S``.
Hence a revoked token is refused within ``_TRUSTED_S``, less than a second, by every process, also by one that has
just been cut off from its database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from pymongo import ASCENDING, DESCENDING, IndexModel

from gateway.errors import Unavailable
from gateway.user import Tokens
from storage.mongo import Document, Mongo, Session, translating

logger = logging.getLogger(__name__)

TOKENS = "tokens"
INDEXES = {
    TOKENS: [
        IndexModel([("refresh_expires_at", ASCENDING)], expireAfterSeconds=0),
        IndexModel([("user_id", ASCENDING), ("refresh_expires_at", DESCENDING)]),
        IndexModel([("refresh", ASCENDING)], unique=True),
    ]
}
_TRUSTED_S = 0.9
_CONFIRM_S = 0.4
_IDLE_S = 60.0
_MOST_WARM = 2000


@dataclass(slots=True)
class _Warm:
    """A token in use; ``confirmed`` and ``used`` are readings of a monotonic clock."""

    user_id: str
    expires_at: datetime
    confirmed: float
    used: float


class MongoTokens:
    """The core's TokenStore."""

    def __init__(self, mongo: Mongo, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.operation_s = mongo.operation_s
        self._tokens = mongo.collection(TOKENS)
        self._monotonic = monotonic
        self._warm: OrderedDict[str, _Warm] = OrderedDict()  # the one used longest ago first

    async def user_of(self, access_token: str, now: datetime) -> str | None:
        """Return the user_id whose unexpired access token that is, or None."""
        key = _hash(access_token)
        asked = self._monotonic()
        warm = self._warm.get(key)
        if warm is None or asked - warm.confirmed >= _TRUSTED_S:
            warm = await self._find(key, asked)
        if warm is None or warm.expires_at <= now:
            self._warm.pop(key, None)
            return None
        warm.used = asked
        self._warm[key] = warm
        self._warm.move_to_end(key)
        if len(self._warm) > _MOST_WARM:
            self._warm.popitem(last=False)
        return warm.user_id

    @translating
    async def _find(self, key: str, asked: float) -> _Warm | None:
        document = await self._tokens.find_one({"_id": key}, {"user_id": 1, "expires_at": 1})
        return _Warm(document["user_id"], document["expires_at"], asked, asked) if document else None

    async def keep_warm(self) -> None:
        """Confirm what is in use again and again, until canceled."""
        while True:
            await asyncio.sleep(_CONFIRM_S)
            try:
                await self.confirm()
            except Unavailable:
                logger.debug("tokens not confirmed")  # each is asked for when it comes
            except Exception:
                logger.exception("tokens not confirmed, unexpectedly")

    @translating
    async def confirm(self) -> None:
        """Ask which of the tokens in use are still there, and forget the others and those that are idle."""
        asked = self._monotonic()
        for key in [key for key, warm in self._warm.items() if asked - warm.used >= _IDLE_S]:
            del self._warm[key]
        if not self._warm:
            return
        keys = list(self._warm)
        there = {each["_id"] for each in await self._tokens.find({"_id": {"$in": keys}}, {"_id": 1}).to_list(None)}
        for key in keys:
            if key not in there:
                self._warm.pop(key, None)
            elif warm := self._warm.get(key):
                warm.confirmed = max(warm.confirmed, asked)

    @translating
    async def revoke(self, access_token: str) -> None:
        """Void the access token and its refresh token."""
        key = _hash(access_token)
        await self._tokens.delete_one({"_id": key})
        self._warm.pop(key, None)

    # -- in the transactions of storage.users --------------------------------------------------------------------

    async def insert(self, user_id: str, tokens: Tokens, session: Session) -> None:
        """Store a pair of tokens."""
        await self._tokens.insert_one(
            {
                "_id": _hash(tokens.access_token),
                "refresh": _hash(tokens.refresh_token),
                "user_id": user_id,
                "expires_at": tokens.expires_at,
                "refresh_expires_at": tokens.refresh_expires_at,
            },
            session=session,
        )

    async def take(self, refresh_token: str, now: datetime, session: Session) -> Document | None:
        """Void the pair of an unexpired refresh token; return what was stored of it."""
        valid = {"refresh": _hash(refresh_token), "refresh_expires_at": {"$gt": now}}
        document = await self._tokens.find_one_and_delete(valid, session=session)
        return document or None

    async def keep_newest(self, user_id: str, most: int, session: Session) -> None:
        """Void the pairs of a user that are older than so many others."""
        newest_first = self._tokens.find({"user_id": user_id}, {"_id": 1}, session=session)
        old = newest_first.sort("refresh_expires_at", DESCENDING).skip(most)
        if keys := [each["_id"] async for each in old]:
            await self._tokens.delete_many({"_id": {"$in": keys}}, session=session)

    async def void(self, user_id: str, session: Session, keep: str | None = None) -> None:
        """Void all pairs of a user but that of the access token ``keep``."""
        but = {"$ne": _hash(keep)} if keep else {"$exists": True}
        await self._tokens.delete_many({"user_id": user_id, "_id": but}, session=session)

    def forget(self, user_id: str) -> None:
        """Let the next request with each of this user's tokens ask the database."""
        for key in [key for key, warm in self._warm.items() if warm.user_id == user_id]:
            del self._warm[key]


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
