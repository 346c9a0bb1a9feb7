"""Runs one property test with inputs that atheris makes up, led by the code that they reach.

::

    python -m tests.security.guided MODULE TEST [an option of libFuzzer …]

Hypothesis keeps an input that fails: the next run of the tests tries it again.
"""

from __future__ import annotations

import sys
from importlib import import_module

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # some machines have none


def main(program: str, module: str, test: str, *options: str) -> None:
    """Run the test until the options end it, or it fails."""
    with atheris.instrument_imports(include=["api", "gateway", "protocols"]):
        properties = import_module(module)
    atheris.Setup([program, *options], getattr(properties, test).hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv)
