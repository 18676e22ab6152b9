"""Composing a letter: RFC 5322 and MIME bytes, ready for SMTP.

Written by hand because the standard library's email package takes milliseconds a letter;
in the tests it is the oracle.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import Literal

from mailkit.addresses import format_mailbox
from mailkit.rfc2047 import CONTROL, MAX_WORD, encode_words

_FOLD_AT = 78  # RFC 5322 section 2.1.1: preferred
_MAX_LINE = 998  # and allowed, both without the CRLF
_MAX_ENCODED_LINE = 76  # RFC 2047 section 2

_HEADER_NAME = re.compile(r"[!-9;-~]{1,70}")
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")
_OURS = re.compile("from|to|subject|date|message-id|mime-version|content-.+", re.IGNORECASE)
_MAILBOX_HEADERS = frozenset(("from", "to", "reply-to", "sender"))
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


# In a text that is to be quoted-printable: a soft line break here. It is no part of the text.
CUT = "\x00\x1f\x00"

Encoding = Literal["", "7bit", "quoted-printable", "base64"]


@dataclass(frozen=True, slots=True)
class Letter:
    """What one recipient gets.

    `from_mailbox` and `to` are mailboxes as `format_mailbox` makes them; `message_id` has its
    angle brackets; `date` is aware; `headers` are further ones: List-Unsubscribe, Reply-To...
    An empty `text` or `html` leaves its part out. The encodings are chosen by the content where
    they are empty. `mixed`: what parts the text from files that are put behind it
    (mailkit.attachments), empty for none.
    """

    from_mailbox: str
    to: str
    subject: str
    text: str
    html: str
    message_id: str
    date: datetime
    headers: tuple[tuple[str, str], ...] = ()
    text_encoding: Encoding = ""
    html_encoding: Encoding = ""
    mixed: bytes = b""


def compose(letter: Letter) -> bytes:
    """Return the message, whole or up to its files, with CRLF line ends; the same letter gives
    the same bytes.

    It is ASCII throughout, except for addresses whose local part is not (RFC 6532).
    Raises ValueError for a control character in any header, a header that compose writes
    itself, a line that cannot be folded to 998 octets, and a lone surrogate anywhere.
    """
    if not _MESSAGE_ID.fullmatch(letter.message_id):
        raise ValueError("message_id is not of the form <left@right>")
    lines = [
        header("From", letter.from_mailbox),
        header("To", letter.to),
        header("Subject", letter.subject),
        f"Date: {rfc5322_date(letter.date)}",
        f"Message-ID: {letter.message_id}",
    ]
    for name, value in letter.headers:
        if not _HEADER_NAME.fullmatch(name) or _OURS.fullmatch(name):
            raise ValueError(f"not a header to add: {name!r}")
        lines.append(header(name, value))
    lines.append("MIME-Version: 1.0")
    head = "\r\n".join(lines).encode()
    content = _content(letter)
    if not letter.mixed:
        return head + b"\r\n" + content
    if b"--" + letter.mixed in content:
        raise ValueError("the text holds the boundary of the attachments")
    opening = b"%b\r\n\r\n--%b\r\n" % (mixed_header(letter.mixed), letter.mixed)
    return b"".join((head, b"\r\n", opening, content))


def one_line(text: str) -> str:
    """Make a merged value fit for a header: control characters and line ends become spaces."""
    return " ".join(CONTROL.sub(" ", text).split())


def _content(letter: Letter) -> bytes:
    """The text parts with their headers, ending in CRLF."""
    if letter.text and letter.html:
        return _alternative(letter)
    part = _html_part(letter) if letter.html else _text_part(letter)
    return part + (b"" if part.endswith(b"\r\n") else b"\r\n")


def mixed_header(boundary: bytes) -> bytes:
    """The header that says that files follow, without a CRLF at its end."""
    return b'Content-Type: multipart/mixed; boundary="%b"' % boundary


def _alternative(letter: Letter) -> bytes:
    text, html = _text_part(letter), _html_part(letter)
    boundary = _boundary(letter.message_id, text, html)
    return b"".join(
        (
            b'Content-Type: multipart/alternative; boundary="%b"\r\n\r\n' % boundary,
            b"--%b\r\n" % boundary,
            text,
            b"\r\n--%b\r\n" % boundary,
            html,
            b"\r\n--%b--\r\n" % boundary,
        )
    )


def boundary_of(message_id: str, attempt: int = 0) -> bytes:
    """What parts the alternatives; it occurs in no quoted-printable or base64 text, since "=_"
    does not (RFC 2045 section 6.7)."""
    seed = f"{attempt} {message_id}".encode()
    return b"=_" + blake2b(seed, digest_size=15).hexdigest().encode()


def _boundary(message_id: str, *parts: bytes) -> bytes:
    for attempt in range(100):
        boundary = boundary_of(message_id, attempt)
        # The search for the short opening of a delimiter line is many times faster.
        if not any(b"\n--=_" in part and boundary in part for part in parts):
            return boundary
    raise ValueError("the letter holds all the boundaries it could have")


# Bodies.


def _text_part(letter: Letter) -> bytes:
    return _part("plain", letter.text, letter.text_encoding)


def _html_part(letter: Letter) -> bytes:
    return _part("html", letter.html, letter.html_encoding)


def _part(subtype: str, content: str, encoding: Encoding) -> bytes:
    """The headers and body of one text part (without a CRLF of its own at the end)."""
    if encoding == "quoted-printable":
        return part_headers(subtype, encoding) + quoted_pieces(content.split(CUT))
    chosen, body = _encode_body(unix_line_ends(content.replace(CUT, "")), encoding)
    return part_headers(subtype, chosen.decode()) + body


def quoted_pieces(pieces: Sequence[str]) -> bytes:
    """Quoted-printable of text in pieces, each encoded by itself on lines of its own."""
    *first, last = pieces
    return b"".join([*map(quoted_piece, first), quoted_printable(unix_line_ends(last).encode())])


def quoted_piece(piece: str) -> bytes:
    """A piece that another one follows: a soft line break ends a line that goes on there."""
    # With a character behind it there is room for the soft line break (RFC 2045 section 6.7).
    encoded = quoted_printable(unix_line_ends(piece).encode() + b"-")[:-1]
    return encoded if not encoded or encoded.endswith(b"\n") else encoded + b"=\r\n"


def part_headers(subtype: str, encoding: str) -> bytes:
    """The headers of a text part and the empty line behind them."""
    return (
        f"Content-Type: text/{subtype}; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode()


def unix_line_ends(content: str) -> str:
    if "\r" not in content:
        return content
    return content.replace("\r\n", "\n").replace("\r", "\n")


def _encode_body(content: str, encoding: Encoding) -> tuple[bytes, bytes]:
    data = content.encode()
    if encoding == "base64":
        return b"base64", base64_lines(data.replace(b"\n", b"\r\n"))
    if content.isascii() and "\0" not in content:
        if _lines_fit(data):
            return b"7bit", data.replace(b"\n", b"\r\n")
        return b"quoted-printable", quoted_printable(data)
    # Base64 adds 37 %; quoted-printable two octets for each it quotes, and soft line breaks.
    # Most characters beyond ASCII have two octets, so that the difference tells their number.
    quoted = 2 * (len(data) - len(content)) + data.count(b"=")
    if quoted * 2 < len(data) * 0.33:
        return b"quoted-printable", quoted_printable(data)
    return b"base64", base64_lines(data.replace(b"\n", b"\r\n"))


def _lines_fit(data: bytes) -> bool:
    start = 0
    while len(data) - start > _MAX_LINE:
        start = data.rfind(b"\n", start, start + _MAX_LINE + 1) + 1
        if not start:
            return False
    return True


def quoted_printable(data: bytes) -> bytes:
    """Lines ending in LF to lines ending in CRLF, each encoded by itself."""
    return b2a_qp(data, istext=True).replace(b"\n", b"\r\n")


def base64_lines(data: bytes) -> bytes:
    """Lines of 76 characters, parted by CRLF."""
    encoded = b2a_base64(data, newline=False)
    return b"\r\n".join(_cutter(len(encoded)).unpack(encoded))


@lru_cache(maxsize=256)
def _cutter(octets: int) -> Struct:
    """Cuts base64 into lines of 76 (RFC 2045 section 6.8), several times faster than slices."""
    lines, rest = divmod(octets, 76)
    return Struct("76s" * lines + (f"{rest}s" if rest else ""))


# Headers.


def header(name: str, value: str) -> str:
    """A header field, encoded and folded, without a CRLF at its end. Raises ValueError."""
    if CONTROL.search(value):
        raise ValueError(f"control character in the header {name}")
    lowered = name.lower()
    if lowered in _MAILBOX_HEADERS:
        return _fold(name, value if value.isascii() else _mailbox(value))
    if lowered == "list-id" and "<" in value:  # a phrase and an identifier (RFC 2919)
        phrase, _, identifier = value.rpartition("<")
        if not phrase.isascii():
            value = f"{encode_words(phrase.strip(), longest=60)} <{identifier}"
        return _fold(name, value)
    if not value.isascii() or (lowered == "subject" and not _plain_subject(value)):
        room = _MAX_ENCODED_LINE - len(name) - 2
        return _fold(name, encode_words(value, longest=max(min(room, MAX_WORD), 20)))
    return _fold(name, value)


def _plain_subject(value: str) -> bool:
    """Whether a reader shows `value` as it stands: no encoded word, no space to lose at the
    ends, and surely no word too long for a line."""
    return "=?" not in value and value == value.strip() and len(value) <= 900


def _mailbox(value: str) -> str:
    """`Имя <a@b>` with its name encoded."""
    name, bracket, address = value.rpartition("<")
    if not bracket:
        return format_mailbox("", value)
    return format_mailbox(name.strip().strip('"'), address.rstrip().removesuffix(">"))


def _fold(name: str, value: str) -> str:
    """Fold before runs of spaces (RFC 5322 section 2.2.3): unfolding gives `value` again."""
    line = f"{name}: {value}"
    if len(line) <= _FOLD_AT:
        return line
    lines = []
    words = re.findall(r" *[^ ]+", value)
    current = f"{name}: {words[0] if words else ''}"
    for word in words[1:]:
        if len(current) + len(word) > _FOLD_AT:
            lines.append(current)
            current = word
        else:
            current += word
    lines.append(current)
    if any(len(line.encode()) > _MAX_LINE for line in lines):
        raise ValueError(f"the header {name} has a word too long for a line")
    return "\r\n".join(lines)


def rfc5322_date(moment: datetime) -> str:
    """RFC 5322 section 3.3, in English whatever the locale."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("the date has no time zone")
    minutes = round(offset.total_seconds() / 60)
    sign = "-" if minutes < 0 else "+"
    hours, minutes = divmod(abs(minutes), 60)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} "
        f"{moment.year:04} {moment.hour:02}:{moment.minute:02}:{moment.second:02} "
        f"{sign}{hours:02}{minutes:02}"
    )
