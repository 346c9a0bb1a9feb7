"""Access and refresh tokens, as hashes; the database removes expired pairs by itself.

The tokens are 256 random bits, so a plain SHA-256 is enough: there is nothing to guess that a slow hash would slow.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from pymongo import ASCENDING, IndexModel

from gateway.user import Tokens
from storage.mongo import Mongo, translating

TOKENS = "tokens"
INDEXES = {
    TOKENS: [
        IndexModel([("refresh_expires_at", ASCENDING)], expireAfterSeconds=0),
        IndexModel([("user_id", ASCENDING)]),
    ]
}


class MongoTokens:
    """The core's TokenStore."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._tokens = mongo.collection(TOKENS)

    @translating
    async def add(self, user_id: str, tokens: Tokens) -> None:
        """Store a pair of tokens."""
        await self._tokens.insert_one(
            {
                "_id": _hash(tokens.access_token),
                "refresh": _hash(tokens.refresh_token),
                "user_id": user_id,
                "expires_at": tokens.expires_at,
                "refresh_expires_at": tokens.refresh_expires_at,
            }
        )

    @translating
    async def user_of(self, access_token: str, now: datetime) -> str | None:
        """Return the user_id whose unexpired access token that is, or None."""
        document = await self._tokens.find_one({"_id": _hash(access_token), "expires_at": {"$gt": now}})
        return document["user_id"] if document else None


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
