"""Records of JSON files: an array of objects, an object that holds one, or an object a line.

Values are kept as they are written (numbers too). What is nested gets a name with points,
`address.city`; a list of plain values is joined by commas.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from .lines import Record, TextLines
from .table import MAX_LINE, FileFault

BATCH = 1000
MAX_DEPTH = 5

_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


class Damaged(Exception):
    """The text is no JSON from here on: a line and a word."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(line, detail)
        self.fault = FileFault("damaged_json", line, detail)


class Scanner:
    """JSON values one after another from a text that need not fit into memory."""

    def __init__(self, lines: TextLines) -> None:
        self._lines = lines
        self._text = ""
        self._at = 0
        self.line = 1

    def peek(self) -> str:
        """The next character that is not white space, or nothing at the end."""
        while True:
            if space := _SPACE.match(self._text, self._at):
                self._go_to(space.end())
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, expected: str) -> str:
        """Go past one of the expected characters. Raises Damaged at any other."""
        found = self.peek()
        if not found or found not in expected:
            raise Damaged(self.line, f"{expected} expected" if found else "truncated")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value. Raises Damaged where there is none, or one of over a mebibyte."""
        self.peek()
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise Damaged(self.line, "too deep") from None
            except json.JSONDecodeError as error:
                value, end = error, len(self._text)
            # Until more is read, a number at the end of the text may be the half of one.
            whole = end < len(self._text) or not self._more()
            if whole and isinstance(value, json.JSONDecodeError):
                raise Damaged(self.line, value.msg)
            if whole:
                self._go_to(end)
                return value
            if len(self._text) - self._at > MAX_LINE:
                raise Damaged(self.line, "too long")

    def _go_to(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self) -> bool:
        block = self._lines.block()
        if block is None:
            return False
        if not block.plain:
            detail = "nul_bytes" if "\0" in block.text else "bad_encoding"
            fits = len(block.text) <= MAX_LINE
            raise Damaged(block.number, detail if fits else "too long")
        self._text = self._text[self._at :] + block.text
        self._at = 0
        return True


def values(lines: TextLines) -> Iterator[tuple[int, Any]]:
    """(line, element) of the file's array, or of the first array within its object.

    Raises Damaged.
    """
    scanner = Scanner(lines)
    if scanner.peek() == "{":
        _enter_array(scanner)
    else:
        scanner.take("[")
    if scanner.peek() == "]":
        return
    while True:
        scanner.peek()
        yield scanner.line, scanner.value()
        if scanner.take(",]") == "]":
            return


def _enter_array(scanner: Scanner) -> None:
    scanner.take("{")
    while scanner.peek() == '"':
        scanner.value()
        scanner.take(":")
        if scanner.peek() == "[":
            scanner.take("[")
            return
        scanner.value()
        if scanner.take(",}") == "}":
            break
    raise Damaged(scanner.line, "no array")


def line_values(lines: TextLines) -> Iterator[tuple[int, Any]]:
    """(line, value) of each line that is not blank; an `Exception` for one that is no JSON."""
    while (line := lines.next()) is not None:
        if line.fault is not None:
            yield line.number, ValueError(line.fault)
        elif line.text.strip():
            try:
                yield line.number, _decoder.decode(line.text)
            except (ValueError, RecursionError):
                yield line.number, ValueError("bad_json")


def json_batches(lines: TextLines, headers: Sequence[str]) -> Iterator[list[Record] | FileFault]:
    """An array's records, in lists, up to a `FileFault` where the text is damaged."""
    found = values(lines)
    batch: list[Record] = []
    try:
        for line, value in found:
            batch.append(_record(line, value, headers))
            if len(batch) == BATCH:
                yield batch
                batch = []
    except Damaged as damaged:
        yield batch
        yield damaged.fault
    else:
        yield batch


def json_line_batches(lines: TextLines, headers: Sequence[str]) -> Iterator[list[Record]]:
    """The records of JSON Lines, in lists; a line that is no object has the fault `bad_json`."""
    found = line_values(lines)
    while batch := list(itertools.islice(found, BATCH)):
        yield [_record(line, value, headers) for line, value in batch]


def keys_of(found: Iterator[tuple[int, Any]], count: int) -> tuple[str, ...]:
    """The keys of the first `count` elements in the order in which they first stand."""
    keys: dict[str, None] = {}
    for _line, value in itertools.islice(found, count):
        if isinstance(value, dict):
            keys.update(dict.fromkeys(flat(value)))
    return tuple(keys)


def flat(value: dict[str, Any], *, prefix: str = "", depth: int = 1) -> dict[str, str]:
    """An object's values as text."""
    cells: dict[str, str] = {}
    for key, inner in value.items():
        name = prefix + (key if key.isprintable() else storable(key))
        if type(inner) is str:
            cells[name] = inner if inner.isprintable() else storable(inner)
        elif isinstance(inner, dict) and depth < MAX_DEPTH:
            cells |= flat(inner, prefix=f"{name}.", depth=depth + 1)
        else:
            cells[name] = storable(_text(inner))
    return cells


def storable(text: str) -> str:
    """Without what JSON can spell and no database takes: NUL and halves of characters."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return ", ".join(map(_text, value))
    return json.dumps(value, ensure_ascii=False)


def _record(line: int, value: Any, headers: Sequence[str]) -> Record:
    if not isinstance(value, dict):
        known = isinstance(value, ValueError) and value.args[0]
        return Record(line, [], known or "bad_json")
    try:
        cells = flat(value)
    except RecursionError:
        return Record(line, [], "bad_json")
    return Record(line, [cells.get(header, "") for header in headers])
