"""Whole messages signed by the product's signer, which takes them in pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mailkit.dkim import DkimKey, Signer, body_hash, relaxed_header, relaxed_lines

# What RFC 6376 section 5.4.1 recommends, and what bulk mail has beside it: RFC 8058 wants the two
# List-Unsubscribe headers signed.
SIGNED = (
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-id",
    b"feedback-id",
)


def relaxed_body(body: bytes) -> bytes:
    """The canonical form of a whole body, save its empty lines at the end: see `body_hash`."""
    return relaxed_lines(body if body.endswith(b"\r\n") else body + b"\r\n")


def sign_message(message: bytes, keys: Sequence[DkimKey], at: int) -> bytes:
    """The message (with CRLF line ends) behind its signatures.

    Raises ValueError for a message without From and as Signer does.
    """
    head, _, body = message.partition(b"\r\n\r\n")
    fields: dict[bytes, list[bytes]] = {}
    for raw in reversed(re.split(rb"\r\n(?![ \t])", head)):
        canonical = relaxed_header(raw)
        fields.setdefault(canonical.partition(b":")[0], []).append(canonical)
    names = [name for name in SIGNED for _ in fields.get(name, ())]
    headers = b"".join(one for name in SIGNED for one in fields.get(name, ()))
    return Signer(keys, names).sign(headers, body_hash(relaxed_body(body)), at) + message
