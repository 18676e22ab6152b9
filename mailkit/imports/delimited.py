"""Records of a delimited text file, in constant memory whatever the file holds."""

from __future__ import annotations

import csv
import itertools
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from .table import MAX_LINE, MAX_RECORD_LINES

Fits = Callable[[list[str]], bool]

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
    fault: str | None


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


def read_lines(path: Path, encoding: str) -> Generator[Line, None, None]:
    """Physical lines, ended by LF, CR LF or CR. Closing the iterator closes the file."""
    # UTF-16 code units cannot be carried by surrogateescape.
    wide = encoding == "utf-16"
    undecodable = re.compile(_REPLACEMENT) if wide else _LONE_SURROGATE
    errors = "replace" if wide else "surrogateescape"
    with path.open(encoding=encoding, errors=errors, newline="") as stream:
        for number in itertools.count(1):
            text = stream.readline(MAX_LINE + 1)
            if not text:
                return
            fault = None
            if len(text) > MAX_LINE and not text.endswith("\n"):
                _skip_rest_of_line(stream)
                text, fault = "", "line_too_long"
            if "\0" in text:
                fault = "nul_bytes"
            if not text.isascii() and undecodable.search(text):
                text = _LONE_SURROGATE.sub(_REPLACEMENT, text)
                fault = "bad_encoding"
            yield Line(number, text, fault)


def _skip_rest_of_line(stream: TextIO) -> None:
    while piece := stream.readline(MAX_LINE):
        if len(piece) < MAX_LINE or piece.endswith("\n"):
            return


def records(
    lines: Lines, *, delimiter: str, quotechar: str, fits: Fits | None = None
) -> Iterator[Record]:
    """Split lines into records (RFC 4180, and the looser files that people have).

    A record spans lines only where it parses strictly and `fits` accepts its cells. Otherwise its
    quote was never closed and would swallow good rows: the record is its first line alone, with
    the fault `broken_quote`, and the following lines are read again as records of their own.
    (A stray quote that a later one closes into a sound record looks like a cell of many lines.)
    """
    single_until = 0
    while (line := lines.next()) is not None:
        if quotechar not in line.text:
            cells = line.text.rstrip("\r\n").split(delimiter)
            yield Record(line.number, cells, line.fault)
            continue
        taken = [line]
        spans = line.number > single_until
        record = _strict(lines, taken, delimiter, quotechar, fits, spans=spans)
        if record is None:
            if len(taken) > 1:
                # These lines closed no quote, so none of them opens a record that spans lines,
                # save perhaps the last. Trying each again would make reading quadratic.
                single_until = taken[-1].number - 1
                lines.give_back(taken[1:])
            record = _lenient(line, delimiter, quotechar)
        yield record


def _strict(
    lines: Lines,
    taken: list[Line],
    delimiter: str,
    quotechar: str,
    fits: Fits | None,
    *,
    spans: bool,
) -> Record | None:
    """The record that begins with `taken[0]`; lines read for it are added to `taken`."""

    def feed() -> Iterator[str]:
        yield taken[0].text
        size = len(taken[0].text)
        while spans and (line := lines.next()) is not None:
            taken.append(line)
            size += len(line.text)
            too_long = size > MAX_LINE or line.fault == "line_too_long"
            if too_long or len(taken) > MAX_RECORD_LINES:
                return
            yield line.text

    try:
        cells = next(csv.reader(feed(), delimiter=delimiter, quotechar=quotechar, strict=True))
    except csv.Error:
        return None
    if len(taken) > 1 and fits is not None and not fits(cells):
        return None
    fault = next((line.fault for line in taken if line.fault), None)
    return Record(taken[0].number, cells, fault)


def _lenient(line: Line, delimiter: str, quotechar: str) -> Record:
    """One line by itself: a quote may be followed by text, as in `"Acme" Ltd`."""
    unterminated = False

    def feed() -> Iterator[str]:
        nonlocal unterminated
        yield line.text
        unterminated = True

    try:
        cells = next(csv.reader(feed(), delimiter=delimiter, quotechar=quotechar))
    except csv.Error:
        # What is left to fail is a cell over csv.field_size_limit(), 128 KiB.
        return Record(line.number, [], "line_too_long")
    return Record(line.number, cells, "broken_quote" if unterminated else line.fault)
