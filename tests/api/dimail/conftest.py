"""Clients of the dimail-compatible face."""

from __future__ import annotations

import pytest

from tests.client import Client
from tests.dimail import PERMS, DimailClient


@pytest.fixture
def nobody(api: Client) -> DimailClient:
    """A client without an account, of a gateway that has none."""
    return DimailClient(api)


@pytest.fixture
async def admin(nobody: DimailClient) -> DimailClient:
    """The first administrator."""
    return await nobody.register("admin", is_admin=True)


@pytest.fixture
async def people(admin: DimailClient) -> DimailClient:
    """An account as La Suite's People has it: no administrator's, with all perms."""
    return await admin.register("la_regie", perms=PERMS)
