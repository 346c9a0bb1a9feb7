"""A file out of a multipart/form-data body (RFC 7578), read as it comes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.attach import Upload
from gateway.errors import Invalid, Malformed, UnsupportedMedia

MEDIA_TYPE = "multipart/form-data"

_PIECE_BYTES = 65_536
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')
_CHARSETS = ("utf-8", "iso-8859-1")  # RFC 5987 §3.2.1


async def read_upload(request: web.Request, field: str) -> Upload:
    """Return the one file of the body, whose bytes are still to be read.

    Raises UnsupportedMedia, Malformed, Invalid (there is no such field); the bytes raise the last two of these, and
    Invalid where something follows.
    """
    if request.content_type != MEDIA_TYPE:
        raise UnsupportedMedia(f"Send the file as {MEDIA_TYPE}.")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMedia("Send the body without a content coding.")
    with _understood():
        reader = await request.multipart()
        part = await reader.next()
    disposition = parameters(part.headers.get("Content-Disposition", "")) if part else {}
    if not isinstance(part, BodyPartReader) or disposition.get("name") != field:
        raise Invalid(f"Send one file, in a field of the name {field}.", {field: ["Is missing, or not the first."]})
    return Upload(
        file_name=disposition.get("filename*") or _unescaped(disposition.get("filename", "")),
        content_type=part.headers.get("Content-Type", ""),
        pieces=_pieces(reader, part, field),
        length=request.content_length,
    )


async def _pieces(reader: MultipartReader, part: BodyPartReader, field: str) -> AsyncIterator[bytes]:
    with _understood():
        while not part.at_eof():
            yield await part.read_chunk(_PIECE_BYTES)
        if await reader.next():
            raise Invalid("Send one file at a time.", {field: ["Must be the only field."]})


@contextmanager
def _understood() -> Iterator[None]:
    """Turn into ours what aiohttp raises of a body that it cannot read."""
    try:
        yield
    except (web.RequestPayloadError, ConnectionResetError) as error:
        raise Malformed("The body did not come whole.") from error
    except (ValueError, RuntimeError, HttpProcessingError) as error:
        raise Malformed(f"The body is not valid {MEDIA_TYPE}.") from error


def parameters(header: str) -> Mapping[str, str]:
    """Return the parameters of a Content-Disposition header, as much of it as can be read.

    aiohttp's own reader gives up at a file name with semicolons. Of RFC 2231 HTTP has the encoding only (RFC 5987).
    """
    found = {}
    for name, quoted, token in _PARAMETER.findall(header):
        value = re.sub(r'\\(["\\])', r"\1", quoted) or token.strip()
        found[name.lower()] = _decoded(value) if name.endswith("*") else value
    return found


def _unescaped(name: str) -> str:
    """Return a file name without the percent-encoding that a client may give it (RFC 7578 §4.2)."""
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name


def _decoded(value: str) -> str:
    """Return an extended value (RFC 5987 §3.2) in plain."""
    charset, _, rest = value.partition("'")
    known = charset.lower() if charset.lower() in _CHARSETS else "utf-8"
    return unquote(rest.partition("'")[2], known, "replace")
