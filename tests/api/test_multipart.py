"""What is read of the header of an uploaded file. The rest of the body is in test_attachments.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.multipart import parameters


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('form-data; name="attachment"; filename="a b.txt"', {"name": "attachment", "filename": "a b.txt"}),
        ("form-data; name=attachment; filename=a.txt", {"name": "attachment", "filename": "a.txt"}),
        ('form-data;NAME="x" ; FileName = "y"', {"name": "x", "filename": "y"}),
        (r'form-data; filename="a \"b\" \\c.txt"', {"filename": r'a "b" \c.txt'}),
        ('form-data; filename="C:\\dir\\a.txt"', {"filename": "C:\\dir\\a.txt"}),
        ('form-data; filename="a; b; c.txt"; name="x"', {"filename": "a; b; c.txt", "name": "x"}),
        ('form-data; filename="été.txt"', {"filename": "été.txt"}),
        ('form-data; filename=""', {"filename": ""}),
        ("form-data; filename*=UTF-8''%c3%a9.txt", {"filename*": "é.txt"}),
        ("form-data; filename*=iso-8859-1'en'%e9.txt", {"filename*": "é.txt"}),
        ("form-data; filename*=utf-7''a%ff", {"filename*": "a\ufffd"}),
        ("form-data; filename*=x", {"filename*": ""}),
        ("form-data", {}),
        ("", {}),
    ],
)
def test_parameters(header: str, expected: dict[str, str]) -> None:
    """Names and values are read as browsers, curl and aiohttp write them."""
    assert parameters(header) == expected


@given(st.text())
def test_any_header(header: str) -> None:
    """Whatever stands there, parameters have names in lower case, and values that came from there."""
    for name, value in parameters(f"form-data; {header}").items():
        assert name == name.lower()
        assert not set(name) & set('=;" ')
        assert name.endswith("*") or value.replace("\\", "") in header.replace("\\", "")


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])))
def test_quoted_name_reads_back(name: str) -> None:
    """Every name that is quoted as RFC 9110 says is read as it was."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert parameters(f'form-data; filename="{quoted}"; name="x"') == {"filename": name, "name": "x"}
