"""gateway/mime.py, read back by the standard library."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.headerregistry import AddressHeader
from email.message import EmailMessage
from email.parser import Parser
from email.policy import compat32, default
from email.utils import getaddresses
from typing import cast

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.address import ascii_mailbox, parse_mailbox
from gateway.attach import file_name
from gateway.message import Attachment, Message, Participant
from gateway.mime import (
    attachable,
    build,
    for_recipients,
    in_ascii,
    needs_smtputf8,
    new_message_id,
    stream,
    without_bcc,
)
from tests.content import content
from tests.flowed import unflowed
from tests.gateway.test_flowed import meant

NOW = datetime(2026, 7, 20, 15, 56, 6, tzinfo=UTC)
ME = Participant("me@example.org", "Me", "From")
YOU = Participant("you@example.org", "You", "To")
MESSAGE = Message(
    message_id="00000000-0000-4000-8000-000000000002",
    user_id="00000000-0000-4000-8000-000000000001",
    identity_id="00000000-0000-4000-8000-000000000003",
    subject="Hello",
    body="Hello!\n",
    body_is_plain=True,
    excerpt="",
    participants=[ME, YOU],
    discussion_id="00000000-0000-4000-8000-000000000004",
    date_insert=NOW,
    date_sort=NOW,
    date=NOW,
    internet_message_id="unique@example.org",
)

# Fragments on which writers and readers of headers have stumbled.
NASTY = [
    "=?utf-8?q?x?=", "=?utf-8?q?=0D=0ABcc:_x@example.org?=", "=?utf-8?b?w6k=?= =?utf-8?b?w6k=?=",
    "=?x?=", "=?", "?=",
    " ", "  ", "\u00a0", "\u3000", "\u200b", "\ufeff",
    "\t", "\x0b", "\x0c", "\x1b[0m", "\x1c", "\x7f", "\x85", "\u2028", "\u2029",
    '"', "\\", "\\\\", "(", ")", "<", ">", "@", ",", ";", ":", ".", "..", "[", "]",
    "a@b.example", "Bcc: x@example.org", "Doe, Jane", "Jane (work)",
    "é", "é" * 40, "😀" * 30, "e\u0301", "日本語", "مرحبا", "word " * 30, "x" * 80, "x" * 1100,
]  # fmt: skip
header_texts = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(NASTY), max_size=6
).map(lambda pieces: "".join(pieces).translate({0: None, 10: None, 13: None}))

LOCAL_PARTS = [
    "a", "Jane.Doe+news", "o'hara", "!#$%&'*+-/=?^_`{|}~", "x" * 64,
    '"a b"', '"a  b"', '" "', '"a@b"', r'"a\"b\\c"', '"a,b;c:<d>"', '"(a)"', '".a."',
]  # fmt: skip
DOMAINS = [
    "example.org", "xn--mnchen-3ya.example", "münchen.example", "例子.example", "[127.0.0.1]", "[IPv6:2001:db8::1]",
    ".".join(["y" * 55] * 3) + ".example",
]  # fmt: skip
ascii_addresses = st.builds("{}@{}".format, st.sampled_from(LOCAL_PARTS), st.sampled_from(DOMAINS)).map(
    parse_mailbox
)
addresses = ascii_addresses | st.builds(
    "{}@{}".format, st.sampled_from(["jané", "用户", '"é b"', "é" * 32]), st.sampled_from(DOMAINS)
).map(parse_mailbox)
participants = st.builds(Participant, addresses, header_texts, st.sampled_from(["To", "Cc", "Bcc", "Reply-To"]))
bodies = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from([
        "\n", "\r\n", "\r", "\n\n", " \n", "\t\n", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028",
        ".", "..", "--", "=", "=20", "=\n", "From me", "Bcc: x@example.org\n", "<p>", "&", "<",
        "é" * 80, "x" * 1200, "é\n" * 15, "word " * 300,
    ]),
    max_size=8,
).map("".join)  # fmt: skip


def shown(text: str) -> str:
    """Return what a reader shall see of a header's text: no control characters, no space around it."""
    unseen = {"Cc", "Zl", "Zp"}
    return "".join(" " if unicodedata.category(each) in unseen else each for each in text).strip()


def read(raw: bytes) -> EmailMessage:
    """Read a message as RFC 5322 and, where its header is not ASCII, RFC 6532 say."""
    return Parser(policy=default).parsestr(raw.decode("utf-8"))


def header_of(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[0] + b"\r\n"


def unfolded(raw: bytes) -> list[str]:
    """Return the fields of a header, each on one line."""
    return re.sub(rb"\r\n(?=[ \t])", b"", header_of(raw)).decode().removesuffix("\r\n").split("\r\n")


def mailbox(who: Participant) -> tuple[str, str, str]:
    """Return what a reader shall see of a participant: display name, bare local part, ASCII domain."""
    local_part, _, domain = ascii_mailbox(who.address).rpartition("@")
    if local_part.startswith('"'):
        local_part = re.sub(r"\\(.)", r"\1", local_part[1:-1])
    return shown(who.label), local_part, domain


def read_mailboxes(raw: bytes, name: str) -> list[tuple[str, str, str]]:
    """Return display name, local part and domain of each mailbox in a field.

    The addresses are read by the modern parser; the names by the older one, because the modern one of Python 3.11
    keeps the space between two encoded words, which RFC 2047 §6.2 wants dropped.
    """
    field = read(raw)[name]
    assert isinstance(field, AddressHeader)
    older = Parser(policy=compat32).parsestr(raw.decode("utf-8"))
    names = [str(make_header(decode_header(label))) for label, _ in lenient(str(older[name]))]
    return [(label, each.username, each.domain) for label, each in zip(names, field.addresses, strict=True)]


def lenient(field: str) -> list[tuple[str, str]]:
    """Return (name, address) pairs, of address literals too: the strict mode of some Pythons refuses those."""
    try:
        return getaddresses([field], strict=False)
    except TypeError:  # a Python from before that mode
        return getaddresses([field])


def read_text(part: EmailMessage) -> str:
    return str(part.get_content())


def lines_of(body: str) -> list[str]:
    """Return the lines of a body; whether the last one is closed does not matter."""
    lines = re.split(r"\r\n|\r|\n", body)
    return lines[:-1] if len(lines) > 1 and lines[-1] == "" else lines


def written(subject: str = "Hello", body: str = "Hello!", who: Sequence[Participant] = (ME, YOU)) -> bytes:
    return build(replace(MESSAGE, subject=subject, body=body, participants=who))


# -- what is read back -------------------------------------------------------------------------------------------


@given(header_texts)
@example("é" * 300)
@example("x" * 2000)
@example("=?utf-8?q?=0D=0ABcc:_x@example.org?=")
@example("a\u2028b\x85c\x0bd")
def test_subject_reads_back(subject: str) -> None:
    """Recipients read the subject that was written."""
    assert str(read(written(subject))["Subject"]) == shown(subject)


@given(header_texts)
@example("é" * 200)
@example("Doe, Jäne (work) <boss@example.org>")
@example('"Jane"\\')
@example("=?utf-8?q?x?=")
def test_display_name_reads_back(label: str) -> None:
    """Recipients read the display name that was written, before the right address."""
    raw = written(who=[replace(ME, label=label), YOU])
    assert read_mailboxes(raw, "From") == [(shown(label), "me", "example.org")]


@given(addresses, header_texts)
def test_address_reads_back(address: str, label: str) -> None:
    """Every mailbox, quoted and international ones too, stands in the header with its domain in ASCII."""
    who = Participant(address, label, "To")
    assert read_mailboxes(written(who=[ME, who]), "To") == [mailbox(who)]


def test_address_is_no_encoded_word() -> None:
    """An address stands as it is, whatever it looks like: an encoded word is none there (RFC 2047 §5)."""
    raw = written(who=[ME, Participant("=?utf-8?q?x?=@example.org", "", "To")])
    assert b"\r\nTo: =?utf-8?q?x?=@example.org\r\n" in raw


@given(st.lists(participants, max_size=6))
def test_everybody_reads_back(who: list[Participant]) -> None:
    """Everybody stands once in the field of his type, in the order given; a field without anybody is left out."""
    raw = written(who=[ME, *who])
    for name in ("To", "Cc", "Bcc", "Reply-To"):
        expected = [mailbox(each) for each in who if each.type == name]
        assert (read_mailboxes(raw, name) if name in read(raw) else []) == expected


@given(bodies)
@example("a\0b")
@example("trailing space \n\nand tab\t\n")
@example("\n\n\n")
def test_plain_body_reads_back(body: str) -> None:
    """Recipients read the body that was written, line by line; spaces that end a line are not seen."""
    mail = read(written(body=body))
    assert (mail.get_content_type(), mail.get_param("format")) == ("text/plain", "flowed")
    assert unflowed("\n".join(lines_of(read_text(mail)))) == meant("\n".join(lines_of(body)))


@pytest.mark.parametrize(
    ("body", "encoding"),
    [("word " * 100, "7bit"), ("One wörd among others. " * 30, "quoted-printable"), ("日本語 " * 100, "base64")],
)
def test_encoding(body: str, encoding: str) -> None:
    """ASCII goes as it is, however long its paragraphs; all else goes in the shorter encoding."""
    assert read(written(body=body))["Content-Transfer-Encoding"] == encoding


def test_soft_line_breaks_survive_the_transit() -> None:
    """The space that makes a line break soft is encoded in quoted-printable (RFC 2045 §6.7, rule 3)."""
    assert b"=20\r\n" in written(body="One wörd among others. " * 30)


@given(bodies)
def test_html_body_reads_back(body: str) -> None:
    """An HTML body has a plain alternative before it (RFC 2046 §5.1.4)."""
    mail = read(build(replace(MESSAGE, body=body, body_is_plain=False)))
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = (cast(EmailMessage, part) for part in mail.iter_parts())
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert lines_of(read_text(html)) == lines_of(body)


def test_plain_alternative_is_the_text() -> None:
    """Who reads no HTML reads its text."""
    body = "<style>p {color: red}</style><p>Dear <b>Jäne</b>,</p><p>1 &lt; 2</p>"
    mail = read(build(replace(MESSAGE, body=body, body_is_plain=False)))
    plain = mail.get_body(("plain",))
    assert isinstance(plain, EmailMessage)
    assert lines_of(read_text(plain)) == ["Dear Jäne,", "", "1 < 2"]


def test_fields() -> None:
    """The header has the fields of RFC 5322 §3.6 and RFC 2045, each once."""
    mail = read(written())
    assert sorted(mail.keys()) == sorted([
        "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
    ])  # fmt: skip
    assert mail["Date"] == "Mon, 20 Jul 2026 15:56:06 +0000"
    assert mail["Message-ID"] == "<unique@example.org>"
    assert mail["MIME-Version"] == "1.0"


def test_sender_field() -> None:
    """Who sends for somebody else stands in Sender."""
    raw = written(who=[ME, YOU, Participant("desk@example.org", "Desk", "Sender")])
    assert read_mailboxes(raw, "Sender") == [("Desk", "desk", "example.org")]


def test_date_of_a_message_without_one() -> None:
    """A message that has no date yet has that of its making."""
    assert read(build(replace(MESSAGE, date=None)))["Date"].datetime == NOW


def test_usual_header_is_plain() -> None:
    """What needs no encoding stands as people write it."""
    lines = written(subject="Lunch on Monday?", who=[replace(ME, label="Jane Doe"), replace(YOU, label="")])
    assert lines.startswith(
        b'From: "Jane Doe" <me@example.org>\r\nTo: you@example.org\r\nSubject: Lunch on Monday?\r\n'
    )


# -- the form ----------------------------------------------------------------------------------------------------


@given(header_texts, bodies, st.lists(participants, max_size=4), st.booleans())
@example("", "\0", [], True)
@example("", "\0", [], False)
def test_form(subject: str, body: str, who: list[Participant], is_plain: bool) -> None:
    """Lines end with CRLF and have at most 998 octets (RFC 5322 §2.1.1); there is no bare CR, LF or NUL."""
    raw = build(replace(MESSAGE, subject=subject, body=body, body_is_plain=is_plain, participants=[ME, *who]))
    lines = raw.split(b"\r\n")
    assert lines[-1] == b""
    assert not any(set(line) & set(b"\r\n\0") for line in lines)
    assert max(map(len, lines)) <= 998


@given(header_texts, header_texts)
@example("word " * 30, "word " * 30)
@example("x" * 80, "'" * 40 + '"' * 40)
def test_folded_lines_are_short(subject: str, label: str) -> None:
    """A line of the header has at most 76 characters, an encoded word 75 (RFC 2047 §2); none is empty."""
    who = [replace(ME, label=label), replace(YOU, label=label), replace(YOU, label=label)]
    for line in header_of(written(subject, who=who)).split(b"\r\n"):
        assert len(line) <= 76
        assert all(len(word) <= 75 for word in line.split() if word.startswith(b"=?utf-8?"))
        assert line == b"" or line.strip()


@pytest.mark.parametrize(("length", "fold"), [(33, b" "), (34, b"\r\n ")])
def test_folds_where_it_has_to(length: int, fold: bytes) -> None:
    """A line is broken when the next word would make it longer than 76 characters, not before."""
    raw = written("x" * 33 + " " + "y" * length)
    assert b"\r\nSubject: " + b"x" * 33 + fold + b"y" * length + b"\r\n" in raw


@given(header_texts, st.lists(participants, max_size=4))
def test_nothing_can_be_injected(subject: str, who: list[Participant]) -> None:
    """Whatever a client writes, the header has the fields that it would have without it."""
    raw = written(subject, who=[ME, *who])
    names = [field.partition(":")[0] for field in unfolded(raw)]
    types = {each.type for each in who}
    assert names == [
        *(name for name in ("From", "Reply-To", "To", "Cc", "Bcc") if name == "From" or name in types),
        "Subject", "Date", "Message-ID", *names[-3:],
    ]  # fmt: skip
    assert sorted(names[-3:]) == ["Content-Transfer-Encoding", "Content-Type", "MIME-Version"]


@given(header_texts, header_texts)
def test_decoded_header_holds_no_line_break(subject: str, label: str) -> None:
    """Also the decoded text holds nothing that any reader could take for the end of a line."""
    raw = written(subject, who=[replace(ME, label=label)])
    for text in (str(read(raw)["Subject"]), read_mailboxes(raw, "From")[0][0]):
        assert len(text.splitlines()) <= 1


@pytest.mark.parametrize("text", ["a\r\nBcc: x@example.org", "a\nb", "a\rb", "a\0b", "\r\n\r\nbody"])
def test_line_breaks_become_spaces(text: str) -> None:
    """Should a line break ever come past the validation, it breaks no line."""
    raw = written(text, who=[replace(ME, label=text), YOU])
    assert str(read(raw)["Subject"]) == shown(text)
    assert "Bcc" not in read(raw)


@given(header_texts, bodies, st.lists(st.builds(Participant, ascii_addresses, header_texts, st.just("To"))))
def test_seven_bits_suffice(subject: str, body: str, who: list[Participant]) -> None:
    """Without an international local part the message is ASCII throughout: any server takes it (RFC 6152)."""
    message = replace(MESSAGE, subject=subject, body=body, participants=[ME, *who])
    assert not needs_smtputf8(message)
    assert build(message).isascii()


@pytest.mark.parametrize("kind", ["From", "To", "Cc", "Bcc", "Reply-To", "Sender"])
def test_international_local_part_needs_smtputf8(kind: str) -> None:
    """An international local part has no ASCII form, and stands in UTF-8 (RFC 6532 §3.2)."""
    message = replace(MESSAGE, participants=[ME, YOU, Participant("jané@münchen.example", "Jané", kind)])
    assert needs_smtputf8(message)
    assert "jané@xn--mnchen-3ya.example".encode() in header_of(build(message))


def test_international_domain_needs_no_smtputf8() -> None:
    """Names, subjects and domains have ASCII forms."""
    assert not needs_smtputf8(
        replace(MESSAGE, subject="Grüße", participants=[Participant("me@münchen.example", "Jané", "From")])
    )


# -- attachments --------------------------------------------------------------------------------------------------

# Python's reader takes quotes and angle brackets off a name that is within them, however it is encoded.
file_names = header_texts.map(file_name).filter(lambda name: not re.fullmatch(r'".*"|<.*>', name))
files = st.tuples(
    file_names,
    st.sampled_from(["application/octet-stream", "text/plain", "image/svg+xml"]),
    st.lists(st.binary(max_size=200), max_size=4),
)
File = tuple[str, str, list[bytes]]


async def streamed(message: Message, contents: Sequence[File]) -> bytes:
    """Return the bytes of a message with these files."""
    attachments = [
        Attachment(str(number), name, kind, sum(map(len, pieces)))
        for number, (name, kind, pieces) in enumerate(contents)
    ]

    async def pieces_of(attachment: Attachment) -> AsyncIterator[bytes]:
        for piece in contents[int(attachment.temp_id)][2]:
            yield piece

    message = replace(message, attachments=attachments)
    return b"".join([piece async for piece in stream(message, pieces_of)])


@given(st.lists(files, min_size=1, max_size=4), bodies, st.booleans())
@example([("é" * 200, "text/plain", [b"x" * 56, b"y"])], "", True)
@example([("=?utf-8?q?x?=", "text/plain", [])], "--=_", False)
async def test_attachments_read_back(contents: list[File], body: str, is_plain: bool) -> None:
    """Readers find the files behind the text, with names, types and bytes as they went in."""
    message = replace(MESSAGE, body=body, body_is_plain=is_plain)
    raw = await streamed(message, contents)
    mail = read(raw)
    assert mail.get_content_type() == "multipart/mixed"
    assert not mail.defects
    text, *parts = (cast(EmailMessage, part) for part in mail.iter_parts())
    assert text.as_bytes().strip() == text_of(message).as_bytes().strip() or not is_plain
    assert text.get_content_type() == ("text/plain" if is_plain else "multipart/alternative")
    assert [read_file(part) for part in parts] == [
        (name, kind, b"".join(pieces)) for name, kind, pieces in contents
    ]
    older = Parser(policy=compat32).parsestr(raw.decode())
    assert [part.get_filename() for part in list(older.walk())[-len(contents) :]] == [each[0] for each in contents]


def text_of(message: Message) -> EmailMessage:
    """Return the text as it is without attachments, less the fields of a whole message."""
    text = read(build(message))
    for name in set(text.keys()) - {"Content-Type", "Content-Transfer-Encoding"}:
        del text[name]
    return text


def read_file(part: EmailMessage) -> File | tuple[str | None, str, bytes]:
    assert part.get_content_disposition() == "attachment"
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return part.get_filename(), part.get_content_type(), content


@given(st.lists(files, min_size=1, max_size=2), header_texts)
async def test_form_with_attachments(contents: list[File], subject: str) -> None:
    """The parts' headers and bytes are ASCII in lines of at most 78 characters; the fields stand once."""
    raw = await streamed(replace(MESSAGE, subject=subject), contents)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert raw.endswith(b"--\r\n")
    assert raw.count(b"MIME-Version: 1.0\r\n") == 1
    assert header_of(raw).count(b"Content-Type:") == 1


async def test_without_attachments() -> None:
    """A message without attachments is its text."""
    assert await streamed(MESSAGE, []) == build(MESSAGE)


@given(file_names)
def test_name_in_ascii(name: str) -> None:
    """There is an ASCII form of every file name, the same where it is ASCII."""
    assert re.fullmatch(r"[ -~]+", in_ascii(name))
    assert not name.isascii() or in_ascii(name) == name


def test_slashes_in_ascii() -> None:
    """What only looks like a slash does not become one: the name would be a path."""
    assert in_ascii("..\uff0f..\uff3cboot.ini\uff02") == '.._.._boot.ini"'


async def test_who_reads_no_rfc_2231() -> None:
    """For those there is the name in ASCII in Content-Type."""
    (part,) = list(read(await streamed(MESSAGE, [("Résumé 履歴.pdf", "application/pdf", [])])).iter_attachments())
    assert part["Content-Type"].params["name"] == "Resume __.pdf"


@given(st.integers(0, 5000))
async def test_attachable(octets: int) -> None:
    """What is said to fit into so many octets does, in its encoding."""
    raw = await streamed(MESSAGE, [("a", "text/plain", [b"x" * attachable(octets)])])
    content = raw.partition(b"base64\r\n\r\n")[2].partition(b"\r\n--=_")[0]
    assert len(content) <= octets


# -- Bcc ---------------------------------------------------------------------------------------------------------


@given(st.lists(participants, max_size=8), bodies, header_texts)
@example(
    [replace(YOU, address=f"recipient{i}@example.org", type="Bcc") for i in range(300)], "Bcc: x\r\n", "Bcc: x"
)
def test_without_bcc_is_the_message_without_bcc(who: list[Participant], body: str, subject: str) -> None:
    """Recipients get the bytes of the sender's copy less the Bcc header, however long that is."""
    who = [ME, *who]
    message = replace(MESSAGE, subject=subject, body=f"Bcc: x@example.org\n{body}", participants=who)
    others = [each for each in who if each.type != "Bcc"]
    assert without_bcc(build(message)) == build(replace(message, participants=others))


@given(st.lists(participants.filter(lambda each: each.type != "Bcc"), max_size=4), bodies)
def test_without_bcc_leaves_others_alone(who: list[Participant], body: str) -> None:
    """A message without Bcc stays as it is, byte for byte, also when its body looks like one."""
    raw = written(body=f"{body}\nBcc: x@example.org\n", who=[ME, *who])
    assert without_bcc(raw) == raw


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Bcc: a@b\r\nTo: c@d\r\n\r\nbody", b"To: c@d\r\n\r\nbody"),
        (b"To: c@d\r\nBcc: a@b\r\n\r\nbody", b"To: c@d\r\n\r\nbody"),
        (b"To: c@d\r\nbcc: a@b,\r\n e@f,\r\n\tg@h\r\nDate: x\r\n\r\n", b"To: c@d\r\nDate: x\r\n\r\n"),
        (b"To: c@d\r\n Bcc: a@b\r\n\r\n", b"To: c@d\r\n Bcc: a@b\r\n\r\n"),
        (b"Subject: x\r\n\r\nBcc: a@b\r\n\r\nbody", b"Subject: x\r\n\r\nBcc: a@b\r\n\r\nbody"),
        (b"X-Bcc: a@b\r\nBcc-List: c\r\n\r\n", b"X-Bcc: a@b\r\nBcc-List: c\r\n\r\n"),
        (b"Subject: x\r\n\r\n", b"Subject: x\r\n\r\n"),
        (b"no header at all", b"no header at all"),
        (b"", b""),
    ],
)
def test_without_bcc(raw: bytes, expected: bytes) -> None:
    """The field goes with all its lines, in any case of its name; the body and other fields stay."""
    assert without_bcc(raw) == expected


@given(st.binary(), st.binary())
def test_without_bcc_never_touches_the_body(header: bytes, body: bytes) -> None:
    """Behind the first empty line nothing changes."""
    assume(b"\r\n\r\n" not in header + b"\r\n")
    assert without_bcc(header + b"\r\n\r\n" + body).endswith(b"\r\n" + body)


@given(st.binary(), st.binary(), st.lists(st.integers(0, 200), max_size=5))
@example(b"To: c@d\r\nBcc: a@b\r\nDate: x", b"Bcc: a@b\r\n\r\nbody", [5, 10, 28, 31])
async def test_for_recipients(header: bytes, body: bytes, cuts: list[int]) -> None:
    """However it is cut into pieces, the sender's copy loses its Bcc, and its size is told right."""
    raw = header + b"\r\n\r\n" + body
    places = sorted(cuts)
    pieces = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]
    data = await for_recipients(content(*pieces))
    read = b"".join([piece async for piece in data.pieces])
    assert (read, data.size) == (without_bcc(raw), len(read))


# -- Message-ID --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "domain"),
    [
        ("me@example.org", "example.org"),
        ("jané@münchen.example", "xn--mnchen-3ya.example"),
        ('"a@b"@example.org', "example.org"),
        ("me@[127.0.0.1]", "[127.0.0.1]"),
        ("me@[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
    ],
)
def test_message_id(identifier: str, domain: str) -> None:
    """A Message-ID is at the identity's domain, in ASCII, and never given twice (RFC 5322 §3.6.4)."""
    first, second = new_message_id(identifier), new_message_id(identifier)
    assert first != second
    assert first.isascii()
    unique, _, right = first.partition("@")
    assert re.fullmatch(r"[0-9a-f-]{36}", unique)
    assert right == domain


@given(addresses)
def test_message_id_reads_back(identifier: str) -> None:
    """The Message-ID that answers will refer to is the one in the header, on one line."""
    message_id = new_message_id(identifier)
    raw = build(replace(MESSAGE, internet_message_id=message_id))
    assert f"\r\nMessage-ID: <{message_id}>\r\n".encode() in header_of(raw)
