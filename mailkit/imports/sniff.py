"""Find out how a contact file is to be read, from its content and never from its name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from . import encoding as encodings
from .delimited import Line, Lines, Record, read_lines, records
from .formats import workbook_or_fault
from .readers import data_rows, is_blank, read_rows
from .table import MAX_COLUMNS, MAX_LINE, SAMPLE_ROWS, FileFault, Row, Source
from .workbook import sheet_records

HEAD = 1 << 16
SNIFFED_LINES = 200
# In the order of preference where two split the lines equally well: commas and bars are
# common within text, tabs and semicolons are not.
DELIMITERS = ("\t", ";", "|", ",")

_SEPARATOR_HINT = re.compile(r"sep=([,;|\t])[\r\n]*")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


def sniff(path: Path, *, name: str) -> Source | FileFault:
    """Describe the file at `path`, uploaded as `name`, or say why it cannot be read.

    The name decides nothing that the content can tell; its `.tsv` or `.tab` only makes a file of
    one column a tab-separated one. Reads the beginning of a text file and, to find its encoding,
    on to the first megabyte beyond ASCII; a workbook is parsed. Raises OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return FileFault("empty_file")
    found = workbook_or_fault(path, head)
    if isinstance(found, FileFault):
        return found
    return _sniff_workbook(path, size) if found else _sniff_text(path, size, name)


def _sniff_workbook(path: Path, size: int) -> Source | FileFault:
    with closing(sheet_records(path)) as sheet:
        header = next(sheet, None)
        source = _headed(Source("xlsx", "utf-8", "", "", (), (), 0, size), header)
        if isinstance(source, FileFault):
            return source
        return _sampled(source, data_rows(sheet, source))


def _sniff_text(path: Path, size: int, name: str) -> Source | FileFault:
    encoding = encodings.detect(path)
    if encoding is None:
        return FileFault("unreadable_encoding")
    lines = _first_lines(path, encoding)
    delimiter, quotechar = _dialect(lines, "\t" if _says_tabs(name) else ",")
    header = next(_filled(lines, delimiter, quotechar), None)
    source = _headed(Source("csv", encoding, delimiter, quotechar, (), (), 0, size), header)
    if isinstance(source, FileFault):
        return source
    with closing(read_rows(path, source)) as rows:
        return _sampled(source, rows)


def _headed(source: Source, header: Record | FileFault | None) -> Source | FileFault:
    if isinstance(header, FileFault):
        return header
    if header is None:
        return FileFault("empty_file")
    if header.fault is not None:
        code = {"broken_quote": "no_header", "bad_encoding": "unreadable_encoding"}
        return FileFault(code.get(header.fault, header.fault), header.line, header.fault)
    headers = tuple(cell.strip() for cell in header.cells)
    if any(_ADDRESS.fullmatch(cell) for cell in headers):
        return FileFault("no_header", header.line, "address")
    if len(headers) > MAX_COLUMNS:
        return FileFault("too_many_columns", header.line, str(len(headers)))
    return replace(source, headers=headers, header_line=header.line)


def _sampled(source: Source, rows: Iterator[Row | FileFault]) -> Source | FileFault:
    sample: list[tuple[str, ...]] = []
    for row in itertools.islice(rows, SAMPLE_ROWS):
        if isinstance(row, FileFault):
            return row
        if row.fault is None:
            sample.append(row.cells)
    return replace(source, sample=tuple(sample))


def _says_tabs(name: str) -> bool:
    return name.lower().endswith((".tsv", ".tab"))


def _first_lines(path: Path, encoding: str) -> list[Line]:
    """Up to 200 lines from the first one with text, about 1 MiB at most."""
    found: list[Line] = []
    size = 0
    with closing(read_lines(path, encoding)) as lines:
        for line in lines:
            if not found and line.fault is None and line.text.isspace():
                continue
            found.append(line)
            size += len(line.text)
            if size > MAX_LINE or len(found) == SNIFFED_LINES:
                break
    return found


def _dialect(lines: list[Line], default: str) -> tuple[str, str]:
    """Delimiter and quote of the lines; drops Excel's `sep=;` line from them."""
    if lines and (hint := _SEPARATOR_HINT.fullmatch(lines[0].text)):
        del lines[0]
        return hint[1], '"'
    candidates = [(delimiter, _quotechar(lines, delimiter)) for delimiter in DELIMITERS]
    scored = [(_score(lines, *candidate), candidate) for candidate in candidates]
    best, dialect = max(scored, key=lambda pair: pair[0])
    if best > (0.0, 0):
        return dialect
    return default, _quotechar(lines, default)


def _quotechar(lines: list[Line], delimiter: str) -> str:
    """An apostrophe only where every header is within a pair: O'Brien is a name."""
    cells = lines[0].text.strip().split(delimiter) if lines else [""]
    quoted = all(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in cells)
    return "'" if quoted else '"'


def _score(lines: list[Line], delimiter: str, quotechar: str) -> tuple[float, int]:
    """How well a delimiter fits: the share of records as wide as the header, and that width."""
    widths = [len(record.cells) for record in _filled(lines, delimiter, quotechar)]
    if not widths or widths[0] < 2:
        return 0.0, 0
    return widths.count(widths[0]) / len(widths), widths[0]


def _filled(lines: list[Line], delimiter: str, quotechar: str) -> Iterator[Record]:
    for record in records(Lines(lines), delimiter=delimiter, quotechar=quotechar):
        if record.fault is not None or not is_blank(record.cells):
            yield record
