"""Data rows of a sniffed file, streamed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from .delimited import record_batches
from .lines import Batch, PlainRecords, Record, TextLines
from .listed import listed_batches
from .objects import json_batches, json_line_batches
from .packing import UNREADABLE, Contents, packing_fault
from .table import MAX_COLUMNS, WORKBOOKS, FileFault, Row, Source
from .vcards import card_batches
from .workbook import sheet_batches


def read_rows(
    path: Path, source: Source, *, skip: int = 0
) -> Generator[Row | FileFault, None, None]:
    """Yield the data rows after the first `skip`, which are those already committed.

    Numbers and lines are those of the whole file. A `FileFault` can only come last, where the
    rest cannot be read. Close the generator (or exhaust it) to release the file. Raises OSError.
    """
    with closing(read_blocks(path, source, skip=skip)) as blocks:
        for block in blocks:
            if isinstance(block, FileFault):
                yield block
            else:
                yield from block


def read_blocks(
    path: Path, source: Source, *, skip: int = 0, size: int = 1000
) -> Generator[list[Row] | FileFault, None, None]:
    """The rows of `read_rows` in lists of `size`, the last one shorter; several times as fast."""
    waiting: list[Row] = []
    with closing(_batches(path, source)) as batches, closing(data_rows(batches, source)) as found:
        for rows in found:
            if isinstance(rows, FileFault):
                if waiting:
                    yield waiting
                yield rows
                return
            if not rows or rows[-1].number <= skip:
                continue
            waiting += rows[max(0, skip + 1 - rows[0].number) :]
            whole = len(waiting) - len(waiting) % size
            for start in range(0, whole, size):
                yield waiting[start : start + size]
            del waiting[:whole]
    if waiting:
        yield waiting


def data_rows(
    batches: Iterable[Batch | FileFault], source: Source
) -> Generator[list[Row] | FileFault, None, None]:
    """Number the records below the header that are not blank, and check their cells."""
    shape = _Shape(source)
    number = 0
    for batch in batches:
        if isinstance(batch, FileFault):
            yield batch
            return
        rows = shape.rows(number, batch)
        number += len(rows)
        yield rows


def is_blank(cells: list[str]) -> bool:
    """Whether no cell holds anything but white space."""
    return not any(cell and not cell.isspace() for cell in cells)


def _batches(path: Path, source: Source) -> Generator[Batch | FileFault, None, None]:
    contents = Contents(path, source.packing, source.member)
    try:
        if source.kind in WORKBOOKS:
            with contents.on_disk() as book, closing(sheet_batches(book)) as batches:
                yield from batches
        else:
            with contents.opened() as stream:
                yield from text_batches(TextLines(stream, source.encoding), source)
    except UNREADABLE as error:
        yield packing_fault(error)


def text_batches(lines: TextLines, source: Source) -> Iterator[Batch | FileFault]:
    """Records of any kind of text file, in lists."""
    match source.kind:
        case "txt":
            return listed_batches(lines)
        case "vcf":
            return card_batches(lines)
        case "json":
            return json_batches(lines, source.headers)
        case "jsonl":
            return json_line_batches(lines, source.headers)
        case _:
            return record_batches(
                lines,
                delimiter=source.delimiter,
                quotechar=source.quotechar,
                fits=_Shape(source).fits,
            )


# Row's own constructor takes twice as long.
_row: Callable[[tuple[object, ...]], Row] = functools.partial(tuple.__new__, Row)


class _Shape:
    """How many cells a row may have under the source's headers."""

    def __init__(self, source: Source) -> None:
        named = [i for i, header in enumerate(source.headers, 1) if header]
        self._header_line = source.header_line
        self._most = len(source.headers)
        # A sheet is a rectangle: cells at a row's end are empty there, never missing.
        self._least = named[-1] if source.kind == "csv" else 0

    def fits(self, cells: list[str]) -> bool:
        """Surplus cells must be blank; missing ones must belong to blank headers."""
        count = len(cells)
        if count == self._most:
            return True
        return self._least <= count and is_blank(cells[self._most :])

    def rows(self, number: int, batch: Batch) -> list[Row]:
        """The data rows of a batch, numbered from `number` + 1."""
        if isinstance(batch, PlainRecords):
            if self._all_fit(batch):
                numbers, lines = itertools.count(number + 1), itertools.count(batch.line)
                cells = map(tuple, batch.cells)
                return list(map(_row, zip(numbers, lines, cells, itertools.repeat(None))))
            batch = list(map(Record, itertools.count(batch.line), batch.cells))
        rows = []
        for record in batch:
            line, cells, fault = record
            if line <= self._header_line:
                continue
            if fault is None:
                # Most rows begin with a filled cell.
                if not (cells and cells[0].strip()) and is_blank(cells):
                    continue
                if len(cells) == self._most:
                    number += 1
                    rows.append(Row(number, line, tuple(cells)))
                    continue
            number += 1
            rows.append(self._odd_row(number, record))
        return rows

    def _all_fit(self, batch: PlainRecords) -> bool:
        """Whether each record is a row, by what can be seen without looking at each by itself."""
        if batch.line <= self._header_line or set(map(len, batch.cells)) != {self._most}:
            return False
        firsts = [cells[0] for cells in batch.cells]
        return all(firsts) and not any(map(str.isspace, firsts))

    def _odd_row(self, number: int, record: Record) -> Row:
        cells, fault = record.cells, record.fault
        if fault is None and not self.fits(cells):
            fault = "wrong_cell_count"
        if fault is not None:
            return Row(number, record.line, tuple(cells[:MAX_COLUMNS]), fault)
        cells = cells[: self._most] + [""] * (self._most - len(cells))
        return Row(number, record.line, tuple(cells))
