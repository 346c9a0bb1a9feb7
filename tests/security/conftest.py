"""Gateways as processes of their own, that people try to get into, and in the process of the test."""

from __future__ import annotations

from tests.api.conftest import api, settings, user
from tests.e2e.conftest import new_site

__all__ = ["api", "new_site", "settings", "user"]
