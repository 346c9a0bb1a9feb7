"""Where figures stand in a document: between two marks."""

from __future__ import annotations

from pathlib import Path

_BEGIN, _END = "<!-- measured -->\n", "<!-- end -->\n"


def put(table: str, document: Path) -> None:
    """Put what was measured in its place in a document."""
    before, _, rest = document.read_text().partition(_BEGIN)
    document.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{rest.partition(_END)[2]}")
