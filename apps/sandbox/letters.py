"""What a person sees of a raw message. Senders are strangers: nothing they send may raise here."""

from __future__ import annotations

import binascii
import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from email.policy import compat32

_MAX_PARTS = 500
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_DOCTYPE = re.compile(r"\A(?:\s*<!doctype[^>]*>)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Attachment:
    """`size` counts octets after decoding."""

    name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Letter:
    """`html` and `text` are None where the message has no such part.

    `readable` is False where its structure could not be followed: only the source is left.
    """

    headers: tuple[tuple[str, str], ...] = ()
    html: str | None = None
    text: str | None = None
    attachments: tuple[Attachment, ...] = ()
    readable: bool = True

    def header(self, name: str) -> str:
        """The first header of that name, decoded, or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


def read(data: bytes) -> Letter:
    """Read a message; what cannot be decoded appears as it came."""
    try:
        # compat32 leaves headers as text. The newer policies parse each one on access, which
        # raises on some malformed values and takes quadratic time on others.
        message = email.message_from_bytes(data, policy=compat32)
        parts = list(_leaves(message))
    except RecursionError:
        return Letter(headers=_headers_only(data), readable=False)
    html = text = None
    attachments = []
    for part in parts:
        kind = part.get_content_type()
        if _is_attachment(part):
            attachments.append(Attachment(_filename(part), kind, len(_payload(part))))
        elif kind == "text/html" and html is None:
            html = _content(part)
        elif kind == "text/plain" and text is None:
            text = _content(part)
        else:
            attachments.append(Attachment(_filename(part), kind, len(_payload(part))))
    return Letter(_headers(message), html, text, tuple(attachments))


def source(data: bytes) -> str:
    """The message as text: each octet that is not UTF-8 becomes a replacement character."""
    return _printable(data.decode("utf-8", "replace").replace("\r\n", "\n"))


def shown(html: str, pixels: str) -> str:
    """The document as a frame shows it: its links open outside, and looking at it is no open.

    `pixels`: what the addresses of open pixels begin with.
    """
    html = re.sub(rf"""<img\b[^<>]*\bsrc=["']{re.escape(pixels)}[^<>]*>""", "", html)
    # After the doctype: anything before it would put the document into quirks mode.
    return _DOCTYPE.sub(r'\g<0><base target="_blank">', html, count=1)


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that hold content, without recursion, up to a limit."""
    waiting = [message]
    found = 0
    while waiting and found < _MAX_PARTS:
        part = waiting.pop()
        payload = part.get_payload()
        if isinstance(payload, list):
            waiting += reversed([item for item in payload if isinstance(item, Message)])
        else:
            found += 1
            yield part


def _is_attachment(part: Message) -> bool:
    return str(part.get("content-disposition", "")).strip().lower().startswith("attachment")


def _filename(part: Message) -> str:
    try:
        name = part.get_filename()
    except (LookupError, ValueError, TypeError):
        return ""
    return _decoded(str(name)) if name else ""


def _payload(part: Message) -> bytes:
    try:
        payload = part.get_payload(decode=True)
    except (binascii.Error, LookupError, ValueError):
        return b""
    return payload if isinstance(payload, bytes) else b""


def _content(part: Message) -> str:
    data = _payload(part)
    try:
        charset = str(part.get_content_charset() or "utf-8")
        text = data.decode(charset, "replace")
    except (LookupError, ValueError, TypeError):
        # A charset that nobody knows, or one such as `hex` that is not an encoding of text.
        text = data.decode("utf-8", "replace")
    return _printable(text.replace("\r\n", "\n"))


def _headers(message: Message) -> tuple[tuple[str, str], ...]:
    return tuple((name, _decoded(str(value))) for name, value in message.raw_items())


def _headers_only(data: bytes) -> tuple[tuple[str, str], ...]:
    head = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0]
    lines = re.sub(r"\r?\n[ \t]+", " ", head.decode("utf-8", "replace")).splitlines()
    pairs = (line.partition(":") for line in lines)
    return tuple((name, _decoded(value.strip())) for name, colon, value in pairs if colon)


def _decoded(value: str) -> str:
    """A header's value unfolded, its encoded words (RFC 2047) read where that is possible."""
    # The parser keeps octets above 127 as lone surrogates, which no template can encode.
    try:
        octets = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates of another making: charsets such as UTF-7 yield them
        octets = value.encode("utf-8", "replace")
    value = octets.decode("utf-8", "replace")
    value = re.sub(r"\r?\n[ \t]*", " ", value)
    if "=?" not in value:
        return _printable(value)
    try:
        words = decode_header(value)
        text = "".join(
            word.decode(charset or "utf-8", "replace") if isinstance(word, bytes) else word
            for word, charset in words
        )
    except (MessageError, binascii.Error, LookupError, ValueError, TypeError):
        text = value
    return _printable(text)


def _printable(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
