"""Tells schemathesis what a mail address looks like; it is told so by the file schemathesis.toml."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies

schemathesis.openapi.format("idn-email", strategies.emails())
