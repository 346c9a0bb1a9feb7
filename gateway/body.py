"""The text of a body: HTML as plain text, and the excerpt that lists show."""

from __future__ import annotations

import re
from html import unescape

_EXCERPT_LENGTH = 200
_LOOKED_AT = 128 * 1024  # characters of HTML, in which the excerpt is looked for
_SPACE = re.compile(r"\s+")
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th",
    "tr", "ul",
})  # fmt: skip

# HTML as browsers read it (WHATWG HTML §13.2.5). What is not closed reaches to the end, so every "<" that opens
# something is passed once and the time is linear; html.parser of Python 3.11 takes a minute for 100 KB of "<a " and
# raises on "<![x]>". tests/gateway/test_body.py holds both.
_ATTRIBUTES = r"""(?:[^>=]++|=\s*+(?:"[^"]*+"?|'[^']*+'?)?+)*+"""
_TOKEN = re.compile(
    rf"""
      <!--(?:-?>|.*?(?:--!?>|\Z))
    | <(?P<unseen>script|style|template|title)(?=[\s/>]|\Z){_ATTRIBUTES}>?.*?(?:</(?P=unseen)(?=[\s/>])[^>]*+>?|\Z)
    | <(?P<end>/)?(?P<tag>[a-z][^\s/>]*+)(?P<attributes>{_ATTRIBUTES})>?
    | <[!?/][^>]*+>?
    | (?P<text>(?:[^<]++|<(?![a-z/!?]))++)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_HREF = re.compile(r"""(?:^|[\s/"'])href\s*=\s*(?:"([^"]*)|'([^']*)|([^\s"'>]+))""", re.IGNORECASE)
_LONG_REFERENCE = re.compile(r"&#[0-9]{8,};?")


def excerpt(body: str, *, is_plain: bool) -> str:
    """Return the first characters of a body on one line."""
    text = body if is_plain else html_to_text(body[:_LOOKED_AT])
    line = " ".join(text[: _EXCERPT_LENGTH * 20].split())
    return line if len(line) <= _EXCERPT_LENGTH else line[: _EXCERPT_LENGTH - 1].rstrip() + "…"


def html_to_text(html: str) -> str:
    """Return the readable text of an HTML body: the plain alternative of RFC 2046 §5.1.4.

    A block element begins a line, a link's address stands behind its text.
    """
    parts: list[str] = []
    links: list[str] = []
    for token in _TOKEN.finditer(html):
        tag = (token["tag"] or "").lower()
        if text := token["text"]:
            parts.append(_SPACE.sub(" ", _unescape(text)))
        elif tag in _BLOCKS:
            parts.append("\n")
        elif tag == "a" and not token["end"]:
            links.append(_href(token["attributes"]))
        elif tag == "a" and links:
            parts.append(_shown(links.pop(), parts[-1] if parts else ""))
    lines = [line.strip() for line in "".join(parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _unescape(text: str) -> str:
    """Read character references; html.unescape raises ValueError for one of thousands of digits."""
    return unescape(_LONG_REFERENCE.sub("\N{REPLACEMENT CHARACTER}", text))


def _href(attributes: str) -> str:
    found = _HREF.search(attributes)
    return _unescape(found[1] or found[2] or found[3] or "") if found else ""


def _shown(href: str, text: str) -> str:
    """Return what stands behind a link's text: its address, unless that is the text."""
    href = _SPACE.sub(" ", href.strip())
    if href.startswith(("http://", "https://", "mailto:")) and href.removeprefix("mailto:") != text:
        return f" <{href}>"
    return ""
