"""Identities in files: CSV for people, JSON lines for programs.

A record is one account at another provider, as the REST API has it, with the name of its user::

    {"username", "protocol", "identifier", "display_name", "status", "infos": {…}, "credentials": {…}}

A JSON line is a record. In CSV, a column ``infos.inserver`` is that key of ``infos``, and the column ``infos`` has
the keys that have no column as a JSON object; so with ``credentials``. An empty cell is an absent value.

Spreadsheets take a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, and users choose such values.
So a value that begins so, after any apostrophes, is written with one apostrophe more, and read with one less.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO

import orjson

from gateway.errors import Invalid

Record = Mapping[str, Any]

_PLAIN = ("username", "protocol", "identifier", "display_name", "status")
_MAPS: Mapping[str, Sequence[str]] = {
    "infos": ("inserver", "intls", "outserver", "outtls", "authtype", "pollinterval", "provider"),
    "credentials": ("inusername", "inpassword", "outusername", "outpassword"),
}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_CELL_BYTES = 2**22  # more than the rules let a map have


class Format(StrEnum):
    """How a file is written."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Line:
    """A record of a file with the number of its first line; or what is wrong with it, and no record."""

    number: int
    record: Record
    fault: str = ""


# -- writing -----------------------------------------------------------------------------------------------------


class Writer:
    """Writes records to a file; ``maps`` are those that they have."""

    def __init__(self, file: TextIO, form: Format, maps: Sequence[str]) -> None:
        self._file = file
        self._form = form
        self._maps = maps
        self._csv = csv.writer(file, lineterminator="\r\n")  # RFC 4180 §2; and both are quoted
        if form is Format.CSV:
            self._csv.writerow([*_PLAIN, *(f"{name}.{key}" for name in maps for key in _MAPS[name]), *maps])

    def write(self, record: Record) -> None:
        """Write a record."""
        if self._form is Format.JSONL:
            self._file.write(orjson.dumps(record).decode() + "\n")
            return
        cells = [_guarded(record[name]) for name in _PLAIN]
        rests = []
        for name in self._maps:
            known = dict.fromkeys(_MAPS[name], "") | record[name]
            cells += [_guarded(known[key]) for key in _MAPS[name]]
            # What is there and empty goes with the rest: an empty cell would say that it is absent.
            rest = {key: value for key, value in record[name].items() if key not in _MAPS[name] or not value}
            rests.append(orjson.dumps(rest).decode() if rest else "")
        self._csv.writerow(cells + rests)


def _guarded(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


# -- reading -----------------------------------------------------------------------------------------------------


def read(content: bytes, form: Format) -> Iterator[Line]:
    """Yield the records of a file. Raises Invalid when it is not UTF-8, or its columns are not known."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"The file is not UTF-8: byte {error.start} begins no character.") from error
    return _read_csv(text) if form is Format.CSV else _read_lines(text)


def _read_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield Line(number, {}, f"is not valid JSON: {error}")
            continue
        yield Line(number, record) if isinstance(record, dict) else Line(number, {}, "is not a JSON object")


def _read_csv(text: str) -> Iterator[Line]:
    csv.field_size_limit(_CELL_BYTES)
    head = text.partition("\n")[0]
    # Spreadsheets write semicolons where the comma is the decimal mark; no name of a column holds either.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",", strict=True)
    columns = _columns(rows)
    while True:
        number = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield Line(number, {}, f"is not valid CSV: {error}")
            continue
        if cells is None:
            return
        if cells:
            yield _line(number, columns, cells)


def _columns(rows: Iterator[list[str]]) -> Sequence[str]:
    try:
        columns = next(rows, [])
    except csv.Error:
        columns = []
    unknown = [each for each in columns if each not in _PLAIN and each.partition(".")[0] not in _MAPS]
    if unknown or len(set(columns)) < len(columns) or "username" not in columns:
        raise Invalid(
            f"The first line of the file must name the columns, each once: {', '.join(_PLAIN)}, infos.inserver and"
            f" so on.{' Not known: ' + ', '.join(unknown) + '.' if unknown else ''}"
        )
    return columns


def _line(number: int, columns: Sequence[str], cells: Sequence[str]) -> Line:
    if len(cells) != len(columns):
        return Line(number, {}, f"has {len(cells)} cells, and there are {len(columns)} columns")
    record: dict[str, Any] = {}
    given = {column: _unguarded(cell) for column, cell in zip(columns, cells, strict=True) if cell}
    for name in _MAPS.keys() & given.keys():
        try:
            record[name] = orjson.loads(given.pop(name))
        except orjson.JSONDecodeError:
            record[name] = None
        if not isinstance(record[name], dict):
            return Line(number, {}, f"has no JSON object in the column {name}")
    for column, cell in given.items():
        name, _, key = column.partition(".")
        if key:
            record.setdefault(name, {})[key] = cell
        else:
            record[name] = cell
    return Line(number, record)
