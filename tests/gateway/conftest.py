"""Settings of the property tests: the machine's load is no failure."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("gateway", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gateway")
