"""Text → format=flowed (RFC 3676): long lines are broken where a reader that knows the format joins them again.

Every other reader sees lines that fit its screen. DelSp stays "no": its only use is text without spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_WIDTH = 72  # RFC 3676 §4.2: at most 78 characters, 72 are usual

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_SIGNATURE = re.compile(r"(?:>+ ?)?-- ")  # §4.3: it ends with a space and is not flowed all the same
_STUFFED = re.compile(r"[ >]|From ")  # §4.4: what must not stand at the beginning of a line that is no quotation


def flowed(text: str) -> str:
    """Return the lines as they are to be sent.

    Spaces at the end of a line are dropped (§4.2), for there they would join it to the next. Quoted lines (§4.5)
    stay as they are, however long: the one who is quoted has broken them.
    """
    return "\n".join(piece for line in _LINE_BREAK.split(text) for piece in _flowed_line(line))


def _flowed_line(line: str) -> Iterator[str]:
    if _SIGNATURE.fullmatch(line):
        yield line
    elif line.startswith(">"):
        yield line.rstrip(" ")
    else:
        for piece in _broken(line.rstrip(" ")):
            yield f" {piece}" if _STUFFED.match(piece) else piece


def _broken(line: str) -> Iterator[str]:
    """Yield the line in pieces, all but the last with the space at their end that marks a soft line break."""
    while len(line) > _WIDTH and (end := _break_of(line)):
        yield line[:end]
        line = line[end:]
    yield line


def _break_of(line: str) -> int:
    """Return where to break: behind the last space that fits, else behind the first one; 0 where there is none."""
    end = line.rfind(" ", 1, _WIDTH) + 1 or line.find(" ", _WIDTH) + 1
    if _SIGNATURE.fullmatch(line[:end]):
        end = line.find(" ", end) + 1
    return end
