"""The encoding of a text file: UTF-8, UTF-16 by its mark, Windows-1251, or none of ours."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

_CHUNK = 1 << 20

_CYRILLIC = re.compile("[\u0400-\u04ff]")
_MIXED = re.compile("[A-Za-z][\u0400-\u04ff]|[\u0400-\u04ff][A-Za-z]")
_CAPITALISED = re.compile("[\u0410-\u042f][\u0430-\u044f]")
_UNCAPITALISED = re.compile("[\u0430-\u044f][\u0410-\u042f]")


def detect(path: Path) -> str | None:
    """A Python codec name, or None. Reads as far as the first megabyte beyond ASCII."""
    with path.open("rb") as file:
        chunk = file.read(_CHUNK)
        if chunk.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return None
        if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
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


def _of_bytes(data: bytes) -> str | None:
    text = data.decode("utf-8", "surrogateescape")
    undecodable = len(text) - len(text.encode("utf-8", "ignore").decode("utf-8"))
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    # A few bad bytes in UTF-8 make bad rows, not another encoding.
    if undecodable * 2 <= beyond_ascii:
        return "utf-8"
    return "cp1251" if _is_cp1251(data) else None


def _is_cp1251(data: bytes) -> bool:
    text = data.decode("cp1251", "replace")
    cyrillic = len(_CYRILLIC.findall(text))
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    # Mostly letters; the rest are quotes, dashes, № and hard spaces.
    if cyrillic * 10 < beyond_ascii * 7:
        return False
    # Windows-1252 gives Cyrillic within Latin words: José as Josй.
    if len(_MIXED.findall(text)) * 2 > cyrillic:
        return False
    # KOI8-R has the cases the other way round: Иван as хБЮМ.
    return len(_UNCAPITALISED.findall(text)) <= len(_CAPITALISED.findall(text))
