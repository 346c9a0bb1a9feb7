"""Gateways as processes of their own, that things happen to."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Callable

import pytest

from tests.e2e.conftest import Site, new_site
from tests.faults.load import Stage
from tests.faults.outside import Outside

__all__ = ["new_site"]


@pytest.fixture
async def stage(new_site: Callable[..., Site]) -> AsyncIterator[Stage]:
    """What a test begins with; the seed of its chances is shown where it fails."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - see above
    async with Outside() as outside:
        yield Stage(new_site, outside, random.Random(seed))  # noqa: S311 - no secret
