"""A reader of format=flowed text (RFC 3676), as small as one can be."""

from __future__ import annotations

import re

Line = tuple[int, str]


def unflowed(text: str) -> list[Line]:
    """Return the quote depth and the text of each line, soft-broken ones joined (§4.1 to §4.5, DelSp=no)."""
    read: list[Line] = []
    is_open = False
    for line in re.split(r"\r\n|\r|\n", text):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ")
        if is_open and read[-1][0] == depth and content != "-- ":
            read[-1] = depth, read[-1][1] + content
        else:
            read.append((depth, content))
        is_open = content.endswith(" ") and content != "-- "
    return read
