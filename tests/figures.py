"""Where figures stand in a document: between two marks with a name."""

from __future__ import annotations

from pathlib import Path


def put(table: str, document: Path, name: str) -> None:
    """Put what was measured in its place in a document."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = document.read_text().partition(begin)
    document.write_text(f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}")
