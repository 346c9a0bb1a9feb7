"""The reference of the configuration, docs/configuration.md, from the same fields as config.example.toml."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from gateway.config import ENVIRONMENT_PREFIX, Config

_HEAD = """\
# Configuration

Every key, as `mail-gateway config reference` prints it. `mail-gateway config example` prints a file to begin with,
and `mail-gateway config check --config FILE` tells all mistakes of one.

The file is TOML, with a table for each heading below. An environment variable `GATEWAY_SECTION__KEY`, such as
`GATEWAY_SERVER__PORT=8081`, goes before the file; its value is written as in TOML, but a string needs no quotes.
Relative paths count from the file's directory, those in variables from the current directory. An unknown key or a
wrong value stops the start, with all mistakes in one message and exit code 2.
"""
_TYPES = {"int": "integer", "float": "number", "bool": "true or false", "str": "string", "Path": "path"}


def reference() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name, kind in get_type_hints(Config).items():
        yield f"## [{name}]\n\n{kind.__doc__}\n"
        for field in dataclasses.fields(kind):
            yield f"### `{name}.{field.name}`\n\n{_wrapped(field.metadata['help'])}\n\n{_facts(name, field)}\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 116, break_long_words=False, break_on_hyphens=False)


def _facts(section: str, field: dataclasses.Field[Any]) -> str:
    """Return the type, the bounds, the default and the variable of a key."""
    data = field.metadata
    facts = [_type(str(field.type), path=data["path"])]
    if data["choices"]:
        facts.append(f"one of {', '.join(f'`{each}`' for each in data['choices'])}")
    elif data["minimum"] is not None:
        facts.append(f"from {data['minimum']} to {data['maximum']}")
    facts.append("required" if data["required"] else f"default {_default(field.default)}")
    facts.append(f"`{ENVIRONMENT_PREFIX}{section.upper()}__{field.name.upper()}`")
    return "; ".join(facts)


def _type(name: str, *, path: bool) -> str:
    if name.startswith("tuple"):
        return f"list of {_TYPES[name.removeprefix('tuple[').partition(',')[0]]}s"
    return "path" if path else _TYPES[name]


def _default(value: Any) -> str:
    if isinstance(value, tuple):
        return f"`{json.dumps(list(value))}`"
    if value == "":
        return "empty"
    return f"`{value if isinstance(value, Path) else json.dumps(value)}`"
