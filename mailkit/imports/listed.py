"""Addresses in plain text: one a line, or several between commas or semicolons."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from .lines import Record, TextLines

BATCH = 1000
HEADERS = ("Email", "Name")

# What stands between separators; quotes and angle brackets hold theirs together. Their lengths
# are bounded, or a line of quotes that never close would take time squared; nothing is taken back
# (`++`), or each piece would be remembered, a hundred bytes for a character.
_PIECE = re.compile(r'(?:"(?:[^"\\]|\\.){0,100}+"|<[^<>]{0,300}+>|[^,;"<]|["<])++')
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


def listed_batches(lines: TextLines) -> Iterator[list[Record]]:
    """A record of address and name for each entry, with its line."""
    found = _records(lines)
    while batch := list(itertools.islice(found, BATCH)):
        yield batch


def _records(lines: TextLines) -> Iterator[Record]:
    while (line := lines.next()) is not None:
        if line.fault is not None:
            yield Record(line.number, [line.text.strip(), ""], line.fault)
            continue
        for entry in entries(line.text):
            yield Record(line.number, list(entry))


def entries(line: str) -> list[tuple[str, str]]:
    """(address, name) of each entry in a line; what has no address stands as one.

    A comma within a name without quotes, `Petrova, Anna <a@x.test>`, does not end the entry.
    """
    found: list[tuple[str, str]] = []
    waiting = ""
    for piece in _PIECE.findall(line):
        text = piece.strip()
        if not text:
            continue
        if "@" not in text:
            waiting = f"{waiting}, {text}" if waiting else text
            continue
        if waiting and "<" in text:
            text = f"{waiting}, {text}"
        elif waiting:
            found.append((waiting, ""))
        waiting = ""
        found.append(_entry(text))
    if waiting:
        found.append((waiting, ""))
    return found


def is_list(lines: list[str]) -> bool:
    """Whether nearly every entry of the lines is an address, and some of the first is."""
    if not lines or "@" not in lines[0]:
        return False
    found = [address for line in lines for address, _name in entries(line)]
    sound = sum(_ADDRESS.fullmatch(address.strip()) is not None for address in found)
    return bool(found) and sound * 10 >= len(found) * 8


def _entry(text: str) -> tuple[str, str]:
    if not text.endswith(">") or "<" not in text:
        return text, ""
    name, _bracket, email = text[:-1].rpartition("<")
    return email.strip(), name.strip().strip('"').replace('\\"', '"')
