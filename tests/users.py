"""Users of whom nothing matters but that they are there."""

from __future__ import annotations

from storage.holding import USERS
from storage.mongo import Mongo


async def exist(mongo: Mongo, *user_ids: str) -> None:
    """Let these users be there."""
    for user_id in user_ids:
        blank = {"$setOnInsert": {"name_key": f"name of {user_id}"}}
        await mongo.collection(USERS).update_one({"_id": user_id}, blank, upsert=True)
