"""The state of the fake mail backend: its domains, mailboxes and aliases."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from pymongo.errors import DuplicateKeyError

from gateway.domain import Domain, Feature
from gateway.mailbox import Alias, Mailbox, MailboxStatus
from storage.mongo import Document, Mongo, translating

DOMAINS = "fake_domains"
MAILBOXES = "fake_mailboxes"
ALIASES = "fake_aliases"


class MongoFakeMail:
    """The fake's Keep."""

    def __init__(self, mongo: Mongo) -> None:
        self.operation_s = mongo.operation_s
        self._domains = mongo.collection(DOMAINS)
        self._mailboxes = mongo.collection(MAILBOXES)
        self._aliases = mongo.collection(ALIASES)

    @translating
    async def put_domain(self, domain: Domain) -> bool:
        """Keep a domain with its features. False, and nothing changed, where its name is in another context."""
        where = {"_id": domain.name, "context": domain.context}
        features = [feature.value for feature in domain.features]
        try:
            await self._domains.update_one(where, {"$set": {"features": features}}, upsert=True)
        except DuplicateKeyError:  # of the name, or of another process at this very moment
            kept = await self._domains.find_one({"_id": domain.name})
            return kept is not None and kept["context"] == domain.context
        return True

    @translating
    async def features(self, domain: str) -> Collection[Feature] | None:
        """Return the features of a domain, None where there is no such domain."""
        kept = await self._domains.find_one({"_id": domain})
        return [Feature(feature) for feature in kept["features"]] if kept else None

    @translating
    async def add_mailbox(self, mailbox: Mailbox) -> bool:
        """Keep a mailbox; False, and nothing changed, where there is one of that address."""
        try:
            await self._mailboxes.insert_one({"_id": mailbox.email, **_shown(mailbox)})
        except DuplicateKeyError:
            return False
        return True

    @translating
    async def has_mailbox(self, mailbox: Mailbox) -> bool:
        """True when it is that very mailbox that has the address."""
        return await self._mailboxes.count_documents(_very(mailbox)) == 1

    @translating
    async def withdraw_mailbox(self, mailbox: Mailbox) -> None:
        """Remove that very mailbox, if it is there."""
        await self._mailboxes.delete_one(_very(mailbox))

    @translating
    async def change_mailbox(self, mailbox: Mailbox) -> bool:
        """Keep which one it is, its names, and whether it is in use; False where its address has no mailbox."""
        done = await self._mailboxes.update_one({"_id": mailbox.email}, {"$set": _shown(mailbox)})
        return done.matched_count == 1

    @translating
    async def is_active(self, email: str) -> bool | None:
        """Return whether a mailbox is in use, None where there is no such mailbox."""
        kept = await self._mailboxes.find_one({"_id": email}, {"active": 1})
        return bool(kept["active"]) if kept else None

    @translating
    async def delete_mailbox(self, email: str) -> None:
        """Remove a mailbox, if it is there."""
        await self._mailboxes.delete_one({"_id": email})

    @translating
    async def add_alias(self, alias: Alias) -> bool:
        """Keep an alias; False where it is there already."""
        done = await self._aliases.update_one({"_id": _pair(alias)}, {"$setOnInsert": {}}, upsert=True)
        return done.matched_count == 0

    @translating
    async def delete_alias(self, alias: Alias) -> None:
        """Remove an alias, if it is there."""
        await self._aliases.delete_one({"_id": _pair(alias)})

    @translating
    async def clear(self) -> None:
        """Forget everything."""
        await asyncio.gather(*(kept.delete_many({}) for kept in (self._domains, self._mailboxes, self._aliases)))


def _very(mailbox: Mailbox) -> Document:
    """Return what finds that very mailbox, or one of which an older version has not kept which one it is."""
    return {"_id": mailbox.email, "mailbox_id": {"$in": [mailbox.mailbox_id, None]}}


def _shown(mailbox: Mailbox) -> Document:
    return {
        "mailbox_id": mailbox.mailbox_id,
        "first_name": mailbox.first_name,
        "last_name": mailbox.last_name,
        "display_name": mailbox.display_name,
        "active": mailbox.status is MailboxStatus.ENABLED,
    }


def _pair(alias: Alias) -> Document:
    return {"from": alias.email, "to": alias.destination}
