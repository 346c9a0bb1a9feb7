"""The text of bodies, from any HTML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import excerpt, html_to_text

# -- the excerpt -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", ""),
        (" \r\n\t ", ""),
        ("Hello,\r\n\r\n  I am\tback. \n", "Hello, I am back."),
        ("a < b & <c>", "a < b & <c>"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("x" * 198 + " yyy", "x" * 198 + "…"),
        (" " * 3000 + "late", "late"),
    ],
)
def test_excerpt_of_plain_text(body: str, expected: str) -> None:
    """The beginning on one line, at most 200 characters, with an ellipsis where something is left out."""
    assert excerpt(body, is_plain=True) == expected


def test_excerpt_of_html() -> None:
    """The excerpt of an HTML body is that of its text."""
    html = "<style>p {color: red}</style><p>Dear <b>Jane</b>,</p><p>1 &lt; 2</p>"
    assert excerpt(html, is_plain=False) == "Dear Jane, 1 < 2"


@given(st.text(), st.booleans())
def test_excerpt_is_one_short_line(body: str, is_plain: bool) -> None:
    """Whatever the body, its excerpt is one line of at most 200 characters."""
    line = excerpt(body, is_plain=is_plain)
    assert len(line) <= 200
    assert len(line.splitlines()) <= 1
    assert line == " ".join(line.split())


# -- HTML as text ------------------------------------------------------------------------------------------------


def test_excerpt_of_very_much_html() -> None:
    """Of HTML without a text to show nothing is read behind its first pages."""
    assert excerpt("<p>" * 30_000 + "Hello", is_plain=False) == "Hello"
    assert excerpt("<p>" * 300_000 + "Hello", is_plain=False) == ""


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("Hello", "Hello"),
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("One<br>Two<br/>Three<BR />Four", "One\nTwo\nThree\nFour"),
        ("<div>One</div>\n<div>Two</div>", "One\n\nTwo"),
        ("<p>a\n   b\t c</p>", "a b c"),
        ("<ul><li>One</li><li>Two</li></ul>", "One\n\nTwo"),
        ("<p><b>bold</b> and <i>italic</i></p>", "bold and italic"),
        ("&lt;b&gt; &amp; &eacute; &#233; &#xe9; &nbsp;.", "<b> & é é é ."),
        ("a < b", "a < b"),
        ("1<2", "1<2"),
        ("a &unknown; b & c", "a &unknown; b & c"),
        ("<p>a</p><p></p><p></p><p>b</p>", "a\n\nb"),
        ('<a href="https://example.org/?a=1&amp;b=2">Look</a> here', "Look <https://example.org/?a=1&b=2> here"),
        ("<a href='mailto:me@example.org'>me@example.org</a>", "me@example.org"),
        ("<a href=https://example.org>https://example.org</a>", "https://example.org"),
        ("<a href=https://example.org><b>site</b></a>", "site <https://example.org>"),
        ('<a href="javascript:alert(1)">Look</a>', "Look"),
        ('<a href="#top">Up</a> <a>No</a></a>', "Up No"),
        ('<img alt="a > b" src=x>after', "after"),
        ("<p title=it's>text</p>", "text"),
        ("<my-element>text</my-element>", "text"),
    ],
)
def test_html_to_text(html: str, text: str) -> None:
    """Blocks begin a line, spaces collapse, references are read, a link's address stands behind its text."""
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "html",
    [
        "<script>SECRET</script>shown",
        "<SCRIPT type='a>b'>SECRET</ScRiPt >shown",
        "<script>if (a < b) '</p>SECRET'</script>shown",
        "<script/>SECRET</script>shown",
        "<style>p > a {SECRET}</style>shown",
        "<head><title>SECRET</title><style>SECRET</style></head><body>shown</body>",
        "<html><head><title>SECRET</title><body>shown",  # RFC-less HTML leaves </head> out, and may
        "<!-- SECRET > <b>SECRET</b> -->shown",
        "<!-- SECRET > --!>shown",
        "<!-->shown<!-- SECRET > SECRET",
        "<!DOCTYPE html SECRET>shown",
        "<?xml SECRET?>shown",
        "<![CDATA[SECRET>shown",
        "<![SECRET]>shown",
        "<![if !mso]>shown<![endif]>",
        "<template><a href='https://SECRET'>SECRET</a></template>shown",
        "shown<script>SECRET",
        "shown<style>SECRET</script>SECRET",
        "shown<b SECRET",
        "shown<b title='SECRET>SECRET",
        "shown</ SECRET",
    ],
)
def test_what_is_not_text(html: str) -> None:
    """Scripts, styles, titles, comments, declarations and unfinished tags are not read aloud."""
    assert html_to_text(html) == "shown"


@pytest.mark.parametrize(
    "reference", ["&#0;", "&#xD800;", "&#1114112;", "&#" + "9" * 5000 + ";", "&#x" + "f" * 5000 + ";", "&#"]
)
def test_odd_references(reference: str) -> None:
    """A character reference that stands for no character makes no trouble."""
    assert html_to_text(f"a{reference}b").strip("ab") in ("\N{REPLACEMENT CHARACTER}", "&#")


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "</",
        "<a ",
        "<a/",
        "<a b='",
        '<a b="',
        "<a b=",
        "<!--",
        "<!-- -",
        "<!",
        "<?",
        "<![",
        "<script>",
        "<style ",
        "&",
        "&#",
        "<p>",
        "<a href=https://x>",
        "</a>",
        " ",
        "\n",
    ],
)
def test_malformed_html_takes_no_long(piece: str) -> None:
    """The work grows with the length only: a megabyte of unfinished tags does not stop the process."""
    assert len(html_to_text(piece * (1_000_000 // len(piece)))) <= 2_000_000


html_like = st.lists(
    st.sampled_from([
        "<", ">", "</", "/>", "<p>", "</p>", "<br>", "<a href='https://x'>", "</a>", "<a ", "href", "=", '"', "'",
        "<script>", "</script>", "<style", "</style>", "<template>", "</template>", "<title>", "<head>",
        "<!--", "-->", "<!", "<![", "]>", "<![CDATA[", "]]>", "<?", "?>",
        "&", "&#", "9", ";", "&lt;", "é", "\0", "text", " ", "\n",
    ]),
    max_size=20,
).map("".join)  # fmt: skip


@given(st.text() | html_like)
def test_any_text_can_be_read(html: str) -> None:
    """Whatever the body holds, reading it raises nothing, and the lines are tidy."""
    lines = html_to_text(html).split("\n")
    assert all(line == line.strip() for line in lines)
    assert "\n\n\n" not in "\n".join(lines)


markup = st.lists(
    st.sampled_from([
        "text", "a < b", "&lt;", "<p>", "</p>", "<br/>", "<b title='a>b'>", "<a href=https://x>", "</a>",
        "<!-- > -->", "<!-->", "<!DOCTYPE html>", "<![endif]>",
        "<title>x</title>", "<template>x</template>", "</script>", "</style>",
    ]),
    max_size=8,
).map("".join)  # fmt: skip


@given(markup, st.sampled_from(["script", "style", "SCRIPT"]), markup)
def test_script_and_style_are_never_shown(before: str, element: str, after: str) -> None:
    """The content of a script or style element is not text, wherever the element stands."""
    assert "SECRET" not in html_to_text(f"{before}<{element}>SECRET < > ' \"</{element}>{after}")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<&")))
def test_text_without_markup_is_kept(text: str) -> None:
    """Text without markup loses nothing but spaces."""
    assert html_to_text(text).split() == text.split()
