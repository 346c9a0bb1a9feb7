"""Merge patches and what their writers believed to find."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.patch import contradictions, merge

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", max_size=1), DOCUMENTS, max_size=3)

# RFC 7396, appendix A.
EXAMPLES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), EXAMPLES)
def test_examples(target: Any, patch: Any, result: Any) -> None:
    """The examples of the RFC give its results."""
    assert merge(target, patch) == result


@given(DOCUMENTS, DOCUMENTS)
def test_twice_is_once(target: Any, patch: Any) -> None:
    """Applying a patch a second time changes nothing, and the arguments stay as they were."""
    before = repr((target, patch))
    once = merge(target, patch)
    assert merge(once, patch) == once
    assert repr((target, patch)) == before


@given(OBJECTS, OBJECTS)
def test_what_is_not_named_stays(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """A patch removes what it says is null, sets what else it names, and leaves the rest."""
    merged = merge(target, patch)
    assert {key for key in target if key not in patch} == {key for key in merged if key not in patch}
    assert all(merged[key] == target[key] for key in merged if key not in patch)
    assert {key for key, value in patch.items() if value is None}.isdisjoint(merged)


def without_null(document: Any) -> Any:
    """Return a document without the null properties, which no merge patch can set (RFC 7396 §1)."""
    if isinstance(document, dict):
        return {key: without_null(value) for key, value in document.items() if value is not None}
    return document


def difference(before: Any, after: Any) -> Any:
    """Return a merge patch that makes the one of the other."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    changed = {key: difference(before.get(key), after[key]) for key in after}
    return {key: None for key in before if key not in after} | changed


@given(OBJECTS.map(without_null), OBJECTS.map(without_null))
def test_everything_can_be_reached(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Of any object a patch makes any other one."""
    assert merge(before, difference(before, after)) == after


@given(OBJECTS, OBJECTS)
def test_who_saw_everything_contradicts_nothing(stored: dict[str, Any], patch: dict[str, Any]) -> None:
    """A client that sends all that is stored as its current state is never refused."""
    assert contradictions(stored, patch, stored) == []


@given(OBJECTS, OBJECTS, st.text(min_size=1))
def test_what_has_changed_is_seen(stored: dict[str, Any], patch: dict[str, Any], value: str) -> None:
    """What the patch changes and somebody else has changed before is a contradiction."""
    now = stored | {"a": "new" + value}
    assert contradictions(now, patch | {"a": "mine"}, stored | {"a": value}) != []


@pytest.mark.parametrize(
    ("stored", "patch", "current", "expected"),
    [
        ({"a": ""}, {"a": "x"}, {}, []),
        ({}, {"a": "x"}, {"a": None}, []),
        ({}, {"a": "x"}, {"a": ""}, []),
        ({"m": {"a": "1"}}, {"m": {"a": "2"}}, {}, ["m.a"]),
        ({"m": {"a": "1"}}, {"m": {"a": "2"}}, {"m": {}}, ["m.a"]),
        ({"m": {"a": "1", "b": "1"}}, {"m": {"a": "2"}}, {"m": {"a": "1"}}, []),
        ({"m": {"a": "1", "b": "1"}}, {"m": None}, {"m": {"a": "1"}}, ["m"]),
        ({"m": {"a": "1"}}, {"m": None}, {"m": {"a": "1"}}, []),
        ({"a": 1, "b": 2}, {"a": 3}, {"a": 1, "b": 1}, ["b"]),
        ({"a": ["x"]}, {"a": []}, {"a": ["y"]}, ["a"]),
    ],
)
def test_contradictions(
    stored: dict[str, Any], patch: dict[str, Any], current: dict[str, Any], expected: list[str]
) -> None:
    """What is absent in the current state was absent or empty, and what is not changed may be left out."""
    assert contradictions(stored, patch, current) == expected
