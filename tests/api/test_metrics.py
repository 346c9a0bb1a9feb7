"""docs/metrics.md, the alert rules and the dashboard: they name all metrics, and none that there are not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # it ships no annotations

from api.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"
SERIES = ("", "_bucket", "_count", "_sum")


def exported() -> Mapping[str, str]:
    """Return the kind of each metric that a process has."""
    lines = Metrics().text().decode().splitlines()
    words = [line.split() for line in lines if line.startswith("# TYPE ")]
    return {name: kind for _, _, name, kind in words if not name.endswith("_created")}


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard."""
    found: list[dict[str, Any]] = json.loads((DOCS / "grafana-dashboard.json").read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    """Yield what is asked of Prometheus."""
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def test_page() -> None:
    """The page has every metric with its kind, and no other."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert dict(rows) == exported()


def test_expressions() -> None:
    """Rules and panels ask for metrics that there are, each of the gateway's own at least once."""
    known = {
        name + suffix
        for name, kind in exported().items()
        for suffix in (SERIES[1:] if kind == "histogram" else SERIES[:1])
    }
    used = {name for text in expressions() for name in re.findall(r"\b(?:gateway|process)_\w+", text)}
    assert used <= known
    stems = {re.sub("_(bucket|count|sum)$", "", name) for name in used}
    assert {name for name in exported() if name.startswith("gateway_")} <= stems


def test_advice() -> None:
    """The page says of every alert what to look at."""
    page = (DOCS / "metrics.md").read_text()
    assert [rule["alert"] for rule in rules()] == re.findall(
        r"^\| `(\w+)` \| \D", page.partition("## What to do")[2], re.MULTILINE
    )


def test_panels() -> None:
    """No two panels of the dashboard lie on each other, and each has a title."""
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    assert all(panel["title"] and panel["targets"] for panel in panels())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool() -> None:
    """Prometheus takes the rules."""
    subprocess.run(["promtool", "check", "rules", DOCS / "alerts.yml"], check=True)  # noqa: S603, S607 - ours, by whichever there is
