"""Merge patches (RFC 7396), and what a client believed to find when it wrote one.

A patch may come with ``current_state``: the old values, as the client saw them, of what it changes. A key that is
absent there means "was absent or empty".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gateway.errors import Conflict, Stale

Path = tuple[str, ...]
Thing_contra = TypeVar("Thing_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Change(Generic[Thing_contra]):
    """A change as a client asks for it.

    ``current`` is what the client sent as ``current_state``, None where it sent none; ``precondition`` tells
    whether a stored thing is of the version that the client's If-Match names.
    """

    patch: Mapping[str, Any]
    current: Mapping[str, Any] | None = None
    precondition: Callable[[Thing_contra], bool] | None = None

    def check(self, thing: Thing_contra, seen: Mapping[str, Any]) -> None:
        """See that the client knows what it changes; ``seen`` is what it can see of the thing, and change.

        Raises Conflict, Stale.
        """
        if self.current is not None:
            paths = contradictions(seen, _only(seen, self.patch), _only(seen, self.current))
            if paths:
                raise Conflict(f"Not as current_state has it: {', '.join(paths)}. Read it again.")
        self.check_version(thing)

    def check_version(self, thing: Thing_contra) -> None:
        """Raise Stale if the thing is not of the version that the client named."""
        if self.precondition and not self.precondition(thing):
            raise Stale("It has changed since you read it. Read it again.")


def _only(keys: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key in keys}


def merge(target: Any, patch: Any) -> Any:
    """Return the target with the patch applied (RFC 7396 §2); neither is changed."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def contradictions(stored: Mapping[str, Any], patch: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return the dotted paths at which ``current`` says otherwise than what is stored.

    Held against each other is all that the patch changes and all that ``current`` names. None, the empty string,
    list and map are the same as nothing.
    """
    paths = dict.fromkeys([*_leaves(patch), *_leaves(current)])
    return [".".join(path) for path in paths if _at(stored, path) != _at(current, path)]


def _leaves(document: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    for key, value in document.items():
        path = (*above, key)
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return _without_empty(document)


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = {key: kept for key, each in value.items() if (kept := _without_empty(each)) is not None}
    elif isinstance(value, list):
        value = [_without_empty(each) for each in value]
    return None if value is None or value in ("", [], (), {}) else value
