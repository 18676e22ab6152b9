"""Data rows of a sniffed file, streamed."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path

from .delimited import Lines, Record, read_lines, records
from .table import MAX_COLUMNS, FileFault, Row, Source
from .workbook import sheet_records


def read_rows(
    path: Path, source: Source, *, skip: int = 0
) -> Generator[Row | FileFault, None, None]:
    """Yield the data rows after the first `skip`, which are those already committed.

    Numbers and lines are those of the whole file. A `FileFault` can only come last, where the
    rest cannot be read. Close the generator (or exhaust it) to release the file. Raises OSError.
    """
    with closing(_records(path, source)) as found:
        for row in data_rows(found, source):
            if isinstance(row, FileFault) or row.number > skip:
                yield row


def data_rows(
    found: Iterable[Record | FileFault], source: Source
) -> Generator[Row | FileFault, None, None]:
    """Number the records below the header that are not blank, and check their cells."""
    shape = _Shape(source)
    number = 0
    for record in found:
        if isinstance(record, FileFault):
            yield record
            return
        if record.line <= source.header_line or (record.fault is None and is_blank(record.cells)):
            continue
        number += 1
        yield shape.row(number, record)


def is_blank(cells: list[str]) -> bool:
    """Whether no cell holds anything but white space."""
    return not any(cell and not cell.isspace() for cell in cells)


def _records(path: Path, source: Source) -> Generator[Record | FileFault, None, None]:
    if source.kind == "xlsx":
        yield from sheet_records(path)
        return
    with closing(read_lines(path, source.encoding)) as lines:
        yield from records(
            Lines(lines),
            delimiter=source.delimiter,
            quotechar=source.quotechar,
            fits=_Shape(source).fits,
        )


class _Shape:
    """How many cells a row may have under the source's headers."""

    def __init__(self, source: Source) -> None:
        named = [i for i, header in enumerate(source.headers, 1) if header]
        self._most = len(source.headers)
        # A sheet is a rectangle: cells at a row's end are empty there, never missing.
        self._least = 0 if source.kind == "xlsx" else named[-1]

    def fits(self, cells: list[str]) -> bool:
        """Surplus cells must be blank; missing ones must belong to blank headers."""
        count = len(cells)
        if count == self._most:
            return True
        return self._least <= count and is_blank(cells[self._most :])

    def row(self, number: int, record: Record) -> Row:
        cells, fault = record.cells, record.fault
        if fault is None and not self.fits(cells):
            fault = "wrong_cell_count"
        if fault is not None:
            return Row(number, record.line, tuple(cells[:MAX_COLUMNS]), fault)
        if len(cells) != self._most:
            cells = cells[: self._most] + [""] * (self._most - len(cells))
        return Row(number, record.line, tuple(cells))
