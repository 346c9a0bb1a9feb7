"""The process: who may look into it."""

from __future__ import annotations

import subprocess
import sys

_PR_GET_DUMPABLE = 3
_ASK = f"""
import ctypes
from api.cli import main
def dumpable(): return ctypes.CDLL(None).prctl({_PR_GET_DUMPABLE})
before = dumpable()
main(["config", "example"], standalone_mode=False)
print(before, dumpable())
"""


def test_memory_is_private() -> None:
    """No command leaves a core dump, and no other process of its user may read its memory."""
    command = [sys.executable, "-c", _ASK]
    asked = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603 - our own text
    assert asked.stdout.split()[-2:] == ["1", "0"]
