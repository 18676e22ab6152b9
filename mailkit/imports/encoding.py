"""The encoding of a text file: by its mark, by its zeros, or by what its letters would be."""

from __future__ import annotations

import codecs
import math
import re
from typing import BinaryIO

ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1251", "koi8-r", "cp1252")
"""What a person may choose from; UTF-8 and UTF-16 are read with a mark or without."""

_CHUNK = 1 << 20

_CYRILLIC = re.compile("[\u0400-\u04ff]")
_LATIN = re.compile("[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0152\u0153\u0160\u0161\u017d\u017e]")
_MIXED = re.compile("[A-Za-z][\u0400-\u04ff]|[\u0400-\u04ff][A-Za-z]")
_WITHIN_LATIN = re.compile("[A-Za-z][\u00c0-\u017e]|[\u00c0-\u017e][A-Za-z]")
_UNCAPITALISED = re.compile("[\u0430-\u044f\u0451][\u0410-\u042f\u0401]")
_PLAIN_TEXT = re.compile("[\\t\\r\\n\x20-\x7e\u00a0-\u024f\u0400-\u045f\u2010-\u2044\u20ac\u2116]")

# How often a letter stands in Russian text, per thousand.
_FREQUENCIES = dict(
    zip(
        "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё",
        [
            *(110, 85, 80, 74, 67, 63, 55, 47, 45, 44, 35, 32, 30, 28, 26, 20, 19, 17, 17, 16),
            *(16, 14, 12, 10, 9, 7, 6, 5, 4, 3, 3, 1, 2),
        ],
        strict=True,
    )
)
_WEIGHTS = {letter: math.log(count) for letter, count in _FREQUENCIES.items()}
_UNKNOWN_WEIGHT = -2.0
_VOWELS, _OTHERS = "аеёиоуыэюя", "бвгджзйклмнпрстфхцчшщьъ"
# What Russian words do not have, names hardly ever: signs and й where none can stand, letters
# that never meet, words without a vowel, four vowels or six other letters in a row.
_UNLIKELY = re.compile(
    rf"\b[ьъы]|[{_VOWELS}йьъ][ьъ]|[{_OTHERS}]й|ъ(?![еёюя])|[гкхжчшщ][ыэ]|[гкхжчшщц]ю|[жшчщ]я"
    rf"|[бвгдзклмнпрстфхцй]щ|[щцфхй][щцфхжш]|э[{_VOWELS}]|[{_VOWELS}]ы"
    rf"|\b[{_OTHERS}]{{2,}}\b|[{_VOWELS}]{{4}}|[{_OTHERS}]{{6}}"
)


def detect(file: BinaryIO) -> str | None:
    """A Python codec name, or None. Reads as far as the first megabyte beyond ASCII."""
    chunk = file.read(_CHUNK)
    if chunk.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return None
    if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if wide := without_mark(chunk):
        return wide
    marked = chunk.startswith(codecs.BOM_UTF8)
    while chunk.isascii():
        chunk = file.read(_CHUNK)
        if not chunk:
            return "utf-8"
    # What is decided on here must not end within a character.
    chunk += file.readline(_CHUNK)
    if marked:
        return "utf-8-sig"
    return _of_bytes(chunk)


def without_mark(data: bytes) -> str | None:
    """UTF-16 whose mark is missing: every ASCII character has a zero on the same side of it."""
    data = data[: min(len(data), 1 << 16) & ~1]
    if data.count(0) * 10 < len(data):
        return None
    for encoding, zeros in (("utf-16-le", data[1::2].count(0)), ("utf-16-be", data[::2].count(0))):
        text = data.decode(encoding, "replace")
        if zeros * 10 > len(data) and len(_PLAIN_TEXT.findall(text)) * 20 >= len(text) * 19:
            return encoding
    return None


def _of_bytes(data: bytes) -> str | None:
    text = data.decode("utf-8", "surrogateescape")
    undecodable = len(text) - len(text.encode("utf-8", "ignore").decode("utf-8"))
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    # A few bad bytes in UTF-8 make bad rows, not another encoding.
    if undecodable * 2 <= beyond_ascii:
        return "utf-8"
    russian = {
        encoding: text
        for encoding in ("cp1251", "koi8-r")
        if _is_russian(text := data.decode(encoding, "replace"))
    }
    if russian:
        return max(russian, key=lambda encoding: _likeness(russian[encoding]))
    return "cp1252" if _is_western(data) else None


def _is_russian(text: str) -> bool:
    cyrillic = len(_CYRILLIC.findall(text))
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    # Mostly letters; the rest are quotes, dashes, № and hard spaces.
    if cyrillic * 10 < beyond_ascii * 7:
        return False
    # Windows-1252 gives Cyrillic within Latin words: José as Josй.
    return len(_MIXED.findall(text)) * 2 <= cyrillic


def _likeness(text: str) -> float:
    """How much like Russian the letters are, on average; a capital after a small letter is not.

    Each of the two Cyrillic encodings has the capitals where the other has the small letters.
    """
    letters = _CYRILLIC.findall(text)
    weights = sum(_WEIGHTS.get(letter.lower(), _UNKNOWN_WEIGHT) for letter in letters)
    unlikely = len(_UNCAPITALISED.findall(text)) + len(_UNLIKELY.findall(text.lower()))
    return (weights - 6 * unlikely) / len(letters)


def _is_western(data: bytes) -> bool:
    """Letters with accents, within words of plain letters."""
    text = data.decode("cp1252", "replace")
    letters = len(_LATIN.findall(text))
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return letters * 10 >= beyond_ascii * 7 and len(_WITHIN_LATIN.findall(text)) * 2 >= letters
