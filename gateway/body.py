"""The text of a body: HTML as plain text, and the excerpt that lists show."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_EXCERPT_LENGTH = 200
_SPACE = re.compile(r"[^\S\n]+")
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th",
    "tr", "ul",
})  # fmt: skip
_UNSEEN = frozenset({"head", "script", "style", "template", "title"})


def excerpt(body: str, *, is_plain: bool) -> str:
    """Return the first characters of a body on one line."""
    text = body if is_plain else html_to_text(body)
    line = " ".join(text[: _EXCERPT_LENGTH * 20].split())
    return line if len(line) <= _EXCERPT_LENGTH else line[: _EXCERPT_LENGTH - 1].rstrip() + "…"


def html_to_text(html: str) -> str:
    """Return the readable text of an HTML body: the plain alternative of RFC 2046 §5.1.4."""
    reader = _TextReader()
    reader.feed(html)
    reader.close()
    lines = [_SPACE.sub(" ", line).strip() for line in "".join(reader.parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


class _TextReader(HTMLParser):
    """Collects text; a block element begins a line, a link's address stands behind its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0
        self._links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag in _BLOCKS:
            self.parts.append("\n")
        elif tag == "a":
            self._links.append(dict(attrs).get("href"))

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in _BLOCKS:
            self.parts.append("\n")
        elif tag == "a" and self._links:
            self._close_link(self._links.pop())

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(_SPACE.sub(" ", data.replace("\n", " ")))

    def _close_link(self, href: str | None) -> None:
        if href and href.startswith(("http://", "https://", "mailto:")):
            shown = self.parts[-1] if self.parts else ""
            if href.removeprefix("mailto:") != shown:
                self.parts.append(f" <{href}>")
