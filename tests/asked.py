"""What the database is asked."""

from __future__ import annotations

from collections import Counter

from pymongo.monitoring import CommandListener, CommandStartedEvent


class Asked(CommandListener):
    """Counts what the database is asked of these collections, as ``command collection``."""

    def __init__(self, *collections: str) -> None:
        self.count: Counter[str] = Counter()
        self._collections = collections

    def started(self, event: CommandStartedEvent) -> None:
        """Count a command."""
        collection = event.command[event.command_name]
        if collection in self._collections:
            self.count[f"{event.command_name} {collection}"] += 1

    def succeeded(self, event: object) -> None:
        """Take no notice."""

    failed = succeeded
