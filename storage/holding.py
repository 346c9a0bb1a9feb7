"""Who adds to what a user has holds the user: one at a time counts, and adds."""

from __future__ import annotations

from storage.mongo import Mongo, Session

USERS = "users"


async def hold(mongo: Mongo, user_id: str, session: Session) -> None:
    """Let nobody else count what the user has, to add to it, before the transaction ends."""
    await mongo.collection(USERS).update_one({"_id": user_id}, {"$inc": {"held": 1}}, session=session)
