"""Identities in files: what is written is read back, and nothing that is read can do harm."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.records import Format, Line, Record, Writer, read
from gateway.errors import Invalid

MAPS = ("infos", "credentials")
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
FORMULAS = st.builds("{}{}{}".format, st.sampled_from(["", "'", "''"]), st.sampled_from("=+-@\t\r"), TEXT)
VALUES = TEXT | FORMULAS
KEYS = TEXT.filter(bool) | st.sampled_from(["inserver", "provider", "inpassword"])
RECORDS = st.fixed_dictionaries(
    {
        **dict.fromkeys(("username", "protocol", "identifier", "display_name", "status"), VALUES.filter(bool)),
        **dict.fromkeys(MAPS, st.dictionaries(KEYS, VALUES)),
    }
)


def written(form: Format, *records: Record) -> bytes:
    """Return a file of these records."""
    file = io.StringIO(newline="")
    writer = Writer(file, form, MAPS)
    for record in records:
        writer.write(record)
    return file.getvalue().encode()


def without_empty(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without its empty maps: CSV leaves them out."""
    return {key: value for key, value in record.items() if value}


@pytest.mark.parametrize("form", Format)
@given(records=st.lists(RECORDS))
def test_round_trip(form: Format, records: list[dict[str, Any]]) -> None:
    """What is written is read back as it was, whatever characters it holds."""
    lines = list(read(written(form, *records), form))
    assert [without_empty(line.record) for line in lines] == [without_empty(record) for record in records]
    assert not any(line.fault for line in lines)


@given(records=st.lists(RECORDS))
def test_no_formula(records: list[dict[str, Any]]) -> None:
    """No cell of a CSV file is a formula to a spreadsheet."""
    for row in csv.reader(io.StringIO(written(Format.CSV, *records).decode(), newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


@pytest.mark.parametrize("form", Format)
@given(
    content=st.binary() | TEXT.map(str.encode) | TEXT.map(lambda text: f"username,infos.x,infos\n{text}".encode())
)
def test_any_bytes(form: Format, content: bytes) -> None:
    """Whatever a file holds, it is read as records or as faults of its lines, or refused as a whole."""
    try:
        lines = list(read(content, form))
    except Invalid:
        return
    assert all(isinstance(line.record, dict) and line.number > 0 for line in lines)
    assert all(orjson.dumps(line.record) for line in lines)


def one(content: str, form: Format = Format.CSV) -> Line:
    """Return the only line of a file."""
    (line,) = read(content.encode(), form)
    return line


def test_as_spreadsheets_write_it() -> None:
    """A byte order mark, semicolons, empty rows and CR LF are as good as none of them."""
    line = one("\ufeffusername;infos.inserver\r\n\r\nsomeone;mail.example\r\n")
    assert line.record == {"username": "someone", "infos": {"inserver": "mail.example"}}


def test_number_of_a_line() -> None:
    """A record is told by its first line, also behind one that has several."""
    first, second = read(b'username,display_name\none,"a\nb"\ntwo\n', Format.CSV)
    assert (first.number, first.fault) == (2, "")
    assert (second.number, second.fault) == (4, "has 1 cells, and there are 2 columns")


@pytest.mark.parametrize("head", ["", "identifier", "username,username", "username,password", "infos"])
def test_columns(head: str) -> None:
    """A file whose columns are not known, or no user's, is refused as a whole."""
    with pytest.raises(Invalid, match="must name the columns"):
        list(read(f"{head}\nx\n".encode(), Format.CSV))


def test_columns_go_before_the_rest() -> None:
    """What a column of its own says goes before the column of the rest, which has to be an object."""
    head = "username,infos.a,infos\n"
    assert one(head + 'x,1,"{""a"": ""2"", ""b"": ""3""}"').record["infos"] == {"a": "1", "b": "3"}
    for rest in ("x", "[]", "1"):
        assert one(head + f"x,1,{rest}").fault == "has no JSON object in the column infos"


@pytest.mark.parametrize(("text", "fault"), [("{", "is not valid JSON"), ("[]", "is not a JSON object")])
def test_json_faults(text: str, fault: str) -> None:
    """A line that is no JSON object is a fault of that line."""
    assert one(text, Format.JSONL).fault.startswith(fault)


def test_unclosed_quotes() -> None:
    """A quoted cell without an end is a fault, and the end of the file."""
    assert one('username\n"x\ny\n').fault.startswith("is not valid CSV")
