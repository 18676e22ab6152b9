"""RFC 2047 encoded words: text beyond ASCII inside a header."""

from __future__ import annotations

import re
from binascii import b2a_base64

# C0, DEL and C1 controls and the two Unicode line separators: nothing in a header may
# carry one, since a receiver that takes it for a line end would see a header of its own.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

MAX_WORD = 75  # RFC 2047 section 2
_WRAPPING = len("=?utf-8?b??=")


def encode_words(text: str, *, longest: int = MAX_WORD) -> str:
    """Return `text` as encoded words of at most `longest` characters, parted by spaces.

    A reader drops the spaces between adjacent encoded words, so the words may be folded
    there. No word ends inside a UTF-8 character (RFC 2047 section 5).
    Raises ValueError for text that UTF-8 cannot hold (a lone surrogate).
    """
    room = (min(longest, MAX_WORD) - _WRAPPING) // 4 * 3
    if room < 4:
        raise ValueError("no room for an encoded word")
    data = text.encode()
    words = []
    start = 0
    while start < len(data):
        end = min(start + room, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        words.append(f"=?utf-8?b?{b2a_base64(data[start:end], newline=False).decode()}?=")
        start = end
    return " ".join(words)
