"""Records of a delimited text file, in constant memory whatever the file holds."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator

from .lines import Batch, Block, Line, Lines, PlainRecords, Record, TextLines
from .table import MAX_LINE, MAX_RECORD_LINES

LONGEST_BATCH = 1000

Fits = Callable[[list[str]], bool]


def record_batches(
    lines: TextLines, *, delimiter: str, quotechar: str, fits: Fits | None = None
) -> Iterator[Batch]:
    """The same records as `records` gives, together: blocks without a fault are read at once."""
    careful = records(lines, delimiter=delimiter, quotechar=quotechar, fits=fits)
    while (block := lines.block()) is not None:
        cells = _plain_cells(block, delimiter, quotechar) if block.plain else None
        if cells is not None:
            yield PlainRecords(block.number, cells)
            continue
        lines.take_apart(block)
        while lines.pending:
            yield list(itertools.islice(_while_pending(lines, careful), LONGEST_BATCH))


def _while_pending(lines: Lines, careful: Iterator[Record]) -> Iterator[Record]:
    while lines.pending and (record := next(careful, None)) is not None:
        yield record


def _plain_cells(block: Block, delimiter: str, quotechar: str) -> list[list[str]] | None:
    """The cells of each line, or None unless every line is a sound record by itself."""
    if quotechar not in block.text:
        return [line.split(delimiter) for line in block.lines]
    try:
        cells = list(csv.reader(block.lines, delimiter=delimiter, quotechar=quotechar, strict=True))
    except csv.Error:
        return None
    return cells if len(cells) == len(block.lines) else None


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


