"""Timestamps as the contract writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with milliseconds: ``2026-07-20T15:56:06.062Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
