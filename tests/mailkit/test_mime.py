from __future__ import annotations

import dataclasses
import email
import email.policy
import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr, parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailkit.addresses import format_mailbox
from mailkit.mime import Letter, compose, one_line

GOLDEN = Path(__file__).parent.parent / "golden"
NEWLINES = re.compile(r"\r\n|\r|\n")

PLAIN = Letter(
    from_mailbox="Acme News <news@s.example>",
    to="reader@d.example",
    subject="Spring sale",
    text="Hello,\n\nsee you.\n",
    html="<p>Hello,</p>\n<p>see you.</p>\n",
    message_id="<c1.42@s.example>",
    date=datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC),
)
LETTERS = {
    "plain": PLAIN,
    "russian": dataclasses.replace(
        PLAIN,
        from_mailbox=format_mailbox("Рога и Копыта, ООО", "news@s.example"),
        to=format_mailbox("Иван Петров", "reader@d.example"),
        subject="Весенняя распродажа: скидки до 50 % на всё, что нужно для дачи и огорода 🌱",
        text="Здравствуйте, Иван!\n\nДо встречи.\n",
        html="<p>Здравствуйте, <b>Иван</b>!</p>\n<p>До встречи.</p>\n",
        date=datetime(2026, 3, 1, 9, 5, 7, tzinfo=timezone(timedelta(hours=5))),
        headers=(
            ("Reply-To", format_mailbox("Отдел продаж", "sales@s.example")),
            (
                "List-Unsubscribe",
                "<mailto:unsubscribe@s.example?subject=c1.42>, "
                "<https://t.s.example/u/eyJjIjoxLCJkIjo0Mn0.c2lnbmF0dXJlLWdvZXMtaGVyZQ>",
            ),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("List-Id", "Весна <spring.s.example>"),
        ),
    ),
    "mixed": dataclasses.replace(
        PLAIN,
        subject="Café menu — " + "a rather long English subject that has to be folded " * 3,
        text="Only a few letters beyond ASCII: café, naïve. " * 4
        + "\n.\nFrom here on\ntrailing \n",
        html="<p>" + "one very long line = no breaks; " * 60 + "</p>",
    ),
    "text-only": dataclasses.replace(PLAIN, html=""),
    "html-only": dataclasses.replace(PLAIN, text=""),
}


def parse(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def same(text: str) -> str:
    return NEWLINES.sub("\n", text)


def content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert isinstance(part, EmailMessage)
    assert not part.defects
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return same(payload.decode())


def check_wire_format(data: bytes) -> None:
    assert data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n")
    assert data.endswith(b"\r\n")
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    head = data.partition(b"\r\n\r\n")[0]
    for line in head.split(b"\r\n"):
        assert line.strip()
        if b"=?utf-8?" in line:
            assert len(line) <= 76
            for word in re.findall(rb"=\?utf-8\?b\?[^?]*\?=", line):
                assert len(word) <= 75
                decode_header(word.decode())[0][0].decode()  # no character is split


@pytest.mark.parametrize("name", LETTERS)
def test_golden(name: str) -> None:
    """To renew one after an intended change: write `compose(...)` to it and read the diff."""
    assert compose(LETTERS[name]) == (GOLDEN / f"{name}.eml").read_bytes()


@pytest.mark.parametrize("name", LETTERS)
def test_letters_come_back(name: str) -> None:
    letter = LETTERS[name]
    data = compose(letter)
    check_wire_format(data)
    message = parse(data)
    assert message["Subject"] == letter.subject.rstrip() + " " * letter.subject.endswith(" ")
    assert message["Message-ID"] == letter.message_id
    assert parsedate_to_datetime(message["Date"]) == letter.date
    assert message["Date"].datetime.utcoffset() == letter.date.utcoffset()
    if letter.text:
        assert content(message, "plain") == letter.text
    if letter.html:
        assert content(message, "html") == letter.html
    kinds = [part.get_content_type() for part in message.walk()]
    assert kinds == {
        "text-only": ["text/plain"],
        "html-only": ["text/html"],
    }.get(name, ["multipart/alternative", "text/plain", "text/html"])


def test_russian_headers_come_back() -> None:
    message = email.message_from_bytes(compose(LETTERS["russian"]))
    shown, address = parseaddr(message["From"])
    assert (str(make_header(decode_header(shown))), address) == (
        "Рога и Копыта, ООО",
        "news@s.example",
    )
    unfolded = message["List-Unsubscribe"].replace("\r\n", "")
    assert unfolded == dict(LETTERS["russian"].headers)["List-Unsubscribe"]


HEADER_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200)
ASCII_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=1200)


@given(HEADER_TEXT | ASCII_TEXT)
@example("x" * 900)
@example("x" * 1500)
@example(" " * 90 + "x" + " " * 90)
@example("=?utf-8?q?=41?=")
@example("a" + " " * 1500 + "b")
@example("🌱" * 100)
def test_subjects_come_back(subject: str) -> None:
    data = compose(dataclasses.replace(PLAIN, subject=subject))
    check_wire_format(data)
    assert parse(data)["Subject"] == subject


BODY = st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.lists(
    st.sampled_from(
        [
            "a",
            " ",
            "\t",
            ".",
            "=",
            "\n",
            "\r",
            "\r\n",
            "é",
            "Привет",
            "🌱",
            "\0",
            "\f",
            "\x1c",
            "\u2028",
            "--",
            "--=_",
            "From ",
            "x" * 76,
            "y" * 998,
            "z" * 999,
        ]
    ),
    max_size=20,
).map("".join)


@given(BODY, BODY)
def test_bodies_come_back(text: str, html: str) -> None:
    data = compose(dataclasses.replace(PLAIN, text=text, html=html))
    check_wire_format(data)
    message = parse(data)
    if text and html:
        assert content(message, "plain") == same(text)
        assert content(message, "html") == same(html)
    else:  # a lone part ends with a line end whether or not its content did
        kind = "html" if html else "plain"
        assert content(message, kind).removesuffix("\n") == same(html or text).removesuffix("\n")


@pytest.mark.parametrize("size", range(50, 64))
@pytest.mark.parametrize("letter", ["a", "=", "я", "€", "🌱", " ", "."])
def test_bodies_around_the_length_of_a_line(letter: str, size: int) -> None:
    for text in (letter * size, letter * size + "\n", "é" + letter * size * 2 + "\n."):
        data = compose(dataclasses.replace(PLAIN, text=text))
        check_wire_format(data)
        assert content(parse(data), "plain") == text


def test_encoding_is_the_smaller_one() -> None:
    def encoding(text: str) -> str:
        message = parse(compose(dataclasses.replace(PLAIN, text=text, html="")))
        return str(message["Content-Transfer-Encoding"])

    assert encoding("plain\n" * 100) == "7bit"
    assert encoding("x" * 998) == "7bit"
    assert encoding("x" * 999) == "quoted-printable"
    assert encoding("mostly English, café\n" * 100) == "quoted-printable"
    assert encoding("по-русски\n" * 100) == "base64"
    assert encoding("\0") != "7bit"


def test_boundary_is_not_in_the_content() -> None:
    boundary = parse(compose(PLAIN)).get_boundary()
    assert boundary
    html = f"--{boundary}\n\n--{boundary}--\n"
    data = compose(dataclasses.replace(PLAIN, html=html))
    assert content(parse(data), "html") == html
    assert parse(data).get_boundary() != boundary
    assert compose(PLAIN) == compose(dataclasses.replace(PLAIN))


CONTROLS = [
    "\r",
    "\n",
    "\r\nBcc: x@y.example",
    "\0",
    "\t",
    "\x0b",
    "\x1b",
    "\x7f",
    "\x85",
    "\u2028",
]


@pytest.mark.parametrize("bad", CONTROLS)
@pytest.mark.parametrize(
    "place", ["from_mailbox", "to", "subject", "message_id", "name", "value", "reply-to"]
)
def test_control_characters_in_any_header_are_errors(place: str, bad: str) -> None:
    if place == "name":
        letter = dataclasses.replace(PLAIN, headers=((f"X-A{bad}B", "v"),))
    elif place == "value":
        letter = dataclasses.replace(PLAIN, headers=(("X-A", f"v{bad}w"),))
    elif place == "reply-to":
        letter = dataclasses.replace(PLAIN, headers=(("Reply-To", f"Ж{bad} <a@b.ru>"),))
    else:
        value = getattr(PLAIN, place)
        changes = {place: value[:3] + bad + value[3:]}
        letter = dataclasses.replace(PLAIN, **changes)
    with pytest.raises(ValueError, match=r"control|not a header|message_id"):
        compose(letter)
    for place_in_value in (bad, value_end(bad)):
        with pytest.raises(ValueError, match="control"):
            compose(dataclasses.replace(PLAIN, headers=(("X-A", place_in_value),)))


def value_end(bad: str) -> str:
    return f"привет{bad}"


@pytest.mark.parametrize(
    "changes",
    [
        {"message_id": "c1@s.example"},
        {"message_id": "<a b@s.example>"},
        {"message_id": "<a@b>, <c@d>"},
        {"date": datetime(2026, 3, 1)},
        {"subject": "\ud800"},
        {"text": "\ud800"},
        {"headers": (("", "x"),)},
        {"headers": (("X A", "x"),)},
        {"headers": (("X-A:", "x"),)},
        {"headers": (("Ж", "x"),)},
        {"headers": (("subject", "x"),)},
        {"headers": (("Content-Type", "x"),)},
        {"headers": (("List-Unsubscribe", "<https://x.example/" + "y" * 1000 + ">"),)},
        {"from_mailbox": "Иван <нет>"},
    ],
)
def test_impossible_letters_are_errors(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        compose(dataclasses.replace(PLAIN, **changes))  # type: ignore[arg-type]


def test_address_beyond_ascii_stays_and_its_name_is_encoded() -> None:
    data = compose(dataclasses.replace(PLAIN, to="Иван <иван@почта.рф>"))
    assert "To: =?utf-8?b?0JjQstCw0L0=?= <иван@xn--80a1acny.xn--p1ai>\r\n".encode() in data


@given(st.text())
def test_one_line_fits_a_header(text: str) -> None:
    line = one_line(text)
    if not re.search("[\ud800-\udfff]", line):
        assert parse(compose(dataclasses.replace(PLAIN, subject=line)))["Subject"] == line
