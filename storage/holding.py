"""Who adds to what a user has holds the user: one at a time counts, and adds."""

from __future__ import annotations

from gateway.errors import NotAuthenticated
from storage.mongo import Mongo, Session

USERS = "users"


async def hold(mongo: Mongo, user_id: str, session: Session) -> None:
    """Let nobody else count what the user has, to add to it, before the transaction ends.

    Raises NotAuthenticated where the user is gone: what was added now, no erasure would find.
    """
    held = await mongo.collection(USERS).update_one({"_id": user_id}, {"$inc": {"held": 1}}, session=session)
    if not held.matched_count:
        raise NotAuthenticated("This user has been deleted.")
