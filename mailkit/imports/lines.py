"""Physical lines of a text, one by one with their faults, or in whole blocks where they are plain."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import BinaryIO, NamedTuple, TextIO

from .table import MAX_LINE

BLOCK = 1 << 18

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


class Line(NamedTuple):
    """A physical line with its terminator; a line over the limit has no text."""

    number: int
    text: str
    fault: str | None


class Record(NamedTuple):
    """The cells of one record and the line on which it begins."""

    line: int
    cells: list[str]
    fault: str | None = None


class PlainRecords(NamedTuple):
    """Records without a fault that take a line each, the first of them `line`."""

    line: int
    cells: list[list[str]]


Batch = list[Record] | PlainRecords
"""Consecutive records."""


class Block(NamedTuple):
    """Whole lines: as they stand, and without their ends. `plain`: none has a fault."""

    number: int
    text: str
    lines: list[str]
    plain: bool


class Lines:
    """An iterator of lines that takes lines back."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._returned: deque[Line] = deque()

    def next(self) -> Line | None:
        """The next line, or None at the end."""
        if self._returned:
            return self._returned.popleft()
        return next(self._lines, None)

    def give_back(self, lines: Sequence[Line]) -> None:
        """Make `next` return these, in their order, before anything else."""
        self._returned.extendleft(reversed(lines))

    @property
    def pending(self) -> bool:
        """Whether lines were given back that `next` has not returned yet."""
        return bool(self._returned)


class TextLines(Lines):
    """The lines of a binary stream, ended by LF, CR LF or CR."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        super().__init__(())
        # UTF-16 code units cannot be carried by surrogateescape.
        self._wide = encoding.startswith("utf-16")
        errors = "replace" if self._wide else "surrogateescape"
        self._stream: TextIO = io.TextIOWrapper(stream, encoding, errors, newline="")
        self._number = 1

    def next(self) -> Line | None:
        while not self._returned:
            if (block := self.block()) is None:
                return None
            self.take_apart(block)
        return self._returned.popleft()

    def block(self) -> Block | None:
        """The next whole lines, or None at the end. Only while none is `pending`."""
        text = self._stream.read(BLOCK)
        if not text:
            return None
        text += self._stream.readline(MAX_LINE + 1)
        if self._number == 1:
            text = text.removeprefix("\ufeff")
        lines = split_lines(text)
        block = Block(self._number, text, lines, self._is_plain(text, lines))
        self._number += len(lines)
        return block

    def take_apart(self, block: Block) -> None:
        """Make `next` return the lines of this block."""
        for number, line in enumerate(io.StringIO(block.text, newline=""), block.number):
            self._returned.append(self._checked(number, line))

    def _is_plain(self, text: str, lines: list[str]) -> bool:
        if "\0" in text or (len(text) > MAX_LINE and max(map(len, lines)) > MAX_LINE):
            return False
        return text.isascii() or not self._undecodable(text)

    def _undecodable(self, text: str) -> bool:
        if self._wide:
            return _REPLACEMENT in text
        try:
            text.encode()
        except UnicodeEncodeError:
            return True
        return False

    def _checked(self, number: int, text: str) -> Line:
        fault = None
        if len(text) > MAX_LINE and len(text.rstrip("\r\n")) > MAX_LINE:
            if not text.endswith(("\n", "\r")):
                self._skip_rest_of_line()
            text, fault = "", "line_too_long"
        if "\0" in text:
            fault = "nul_bytes"
        if not text.isascii() and self._undecodable(text):
            text = _LONE_SURROGATE.sub(_REPLACEMENT, text)
            fault = "bad_encoding"
        return Line(number, text, fault)

    def _skip_rest_of_line(self) -> None:
        while piece := self._stream.readline(MAX_LINE):
            if len(piece) < MAX_LINE or piece.endswith("\n"):
                return


def split_lines(text: str) -> list[str]:
    """Lines without their terminators, as few as there are."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines
