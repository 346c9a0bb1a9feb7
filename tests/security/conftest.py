"""Gateways as processes of their own, that people try to get into."""

from __future__ import annotations

from tests.e2e.conftest import new_site

__all__ = ["new_site"]
