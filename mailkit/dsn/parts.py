"""A hostile message taken apart within limits."""

from __future__ import annotations

import contextlib
import email
import re
from collections.abc import Iterator
from email import header, policy
from email.message import Message
from email.parser import BytesHeaderParser

LARGEST = 1024 * 1024
# Each part costs the parser a look at every line behind it, and each level one more call.
MOST_PARTS = 60
MOST_DELIMITERS = 1000
LONGEST_TEXT = 64 * 1024
LONGEST_FIELD = 2000

_NESTING = re.compile(rb"(?i)(?:multipart|message)/")
_TAG = re.compile(r"<[^<>]{0,500}>")
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li)\b[^<>]{0,100}>", re.I)


def parse(raw: bytes) -> Message:
    """The message; one of too many parts, or without an end, as its header fields alone."""
    raw = raw[:LARGEST]
    if len(_NESTING.findall(raw)) > MOST_PARTS or raw.count(b"\n--") > MOST_DELIMITERS:
        return BytesHeaderParser(policy=policy.compat32).parsebytes(raw)
    return email.message_from_bytes(raw, policy=policy.compat32)


def parts(message: Message) -> Iterator[Message]:
    """All parts but those of the letter that is quoted, which is its first part alone."""
    waiting = [message]
    seen = 0
    while waiting and seen < MOST_PARTS * 2:
        part = waiting.pop(0)
        seen += 1
        yield part
        inside = part.get_payload()
        if isinstance(inside, list) and part.get_content_type() != "message/rfc822":
            waiting = [one for one in inside if isinstance(one, Message)] + waiting


def field(message: Message, name: str) -> str:
    """A header field on one line, its encoded words decoded; "" where there is none."""
    value = message.get(name)
    if value is None:
        return ""
    text = str(value)[:LONGEST_FIELD]
    if "=?" in text:
        with contextlib.suppress(ValueError, LookupError):  # else as it stands
            text = str(header.make_header(header.decode_header(text)))
    return " ".join(text.split())


def text_of(part: Message) -> str:
    """The text of a leaf part, as far as it can be read; "" of anything else."""
    if part.get_content_maintype() not in ("text", "message"):
        return ""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    text = decoded(payload[: 2 * LONGEST_TEXT], part.get_content_charset() or "utf-8")
    if part.get_content_subtype() == "html":
        text = _TAG.sub(" ", _BREAK.sub("\n", text))
    return text[:LONGEST_TEXT]


def decoded(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset, errors="replace")
    except (LookupError, ValueError):  # an unknown charset, or one that is none of text
        return data.decode("utf-8", errors="replace")
